//! Packets that read like a sentence: `from(BLUE_A.v4).to(DB.v4).tcp(5432)`.
//!
//! The family follows from the addresses. Everything not said has a harmless default; everything said
//! may be wrong on purpose. [`Packet::bytes`] is the frame as it lies on the wire, [`Packet`]'s
//! `Display` one line about it, [`Packet::hex`] all of it.

mod extension;
mod neighbor;
mod parties;
mod quote;
mod segment;
mod wire;

use std::{fmt, net::IpAddr};

use extension::Extension;
pub use neighbor::*;
pub use parties::*;
use segment::Flags;
pub use wire::WORKLOAD_MAC;

/// Where packets come from unless said otherwise.
pub const CLIENT_PORT: u16 = 40_000;
/// The identifier of an echo.
pub const ECHO_ID: u16 = 0x0e0e;

/// A frame, described.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    src: IpAddr,
    dst: IpAddr,
    body: Body,
    src_port: u16,
    flags: Flags,
    payload: usize,
    hop_limit: u8,
    /// Of the datagram that it is or may be a part of.
    id: u16,
    /// Bytes of IPv4 options.
    options: usize,
    extensions: Vec<Extension>,
    /// Offset in units of eight bytes, and whether more fragments follow.
    fragment: Option<(u16, bool)>,
    /// Tag protocol and VLAN, outermost first.
    vlans: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    declared: Option<u16>,
    overwritten: Vec<(usize, u8)>,
    padding: usize,
    truncated_at: Option<usize>,
}

/// What the network header carries.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Body {
    /// Destination ports.
    Tcp(u16),
    Udp(u16),
    Sctp(u16),
    /// ICMP of the family.
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
        data: Vec<u8>,
    },
    /// Any other protocol.
    Protocol(u8),
    /// No network header at all; source and destination are the packet's.
    Arp {
        request: bool,
    },
}

/// Half a sentence.
#[derive(Clone, Copy, Debug)]
pub struct From(IpAddr);

/// Begins a packet.
pub fn from(address: impl Into<IpAddr>) -> From {
    From(address.into())
}

impl From {
    /// The packet's destination, of the same family.
    pub fn to(self, address: impl Into<IpAddr>) -> Packet {
        let (src, dst) = (self.0, address.into());
        assert_eq!(Family::of(src), Family::of(dst), "both addresses are of one family");
        Packet {
            src,
            dst,
            body: Body::Udp(9),
            src_port: CLIENT_PORT,
            flags: Flags::SYN,
            payload: 32,
            hop_limit: 64,
            id: 1,
            options: 0,
            extensions: Vec::new(),
            fragment: None,
            vlans: Vec::new(),
            ethertype: None,
            declared: None,
            overwritten: Vec::new(),
            padding: 0,
            truncated_at: None,
        }
    }
}

/// What the packet is.
impl Packet {
    /// A TCP segment that opens a connection to `port`.
    pub fn tcp(self, port: u16) -> Self {
        Self { body: Body::Tcp(port), ..self }
    }

    /// A UDP datagram to `port`.
    pub fn udp(self, port: u16) -> Self {
        Self { body: Body::Udp(port), ..self }
    }

    /// An SCTP packet to `port`.
    pub fn sctp(self, port: u16) -> Self {
        Self { body: Body::Sctp(port), ..self }
    }

    /// An echo request.
    pub fn ping(self) -> Self {
        self.echo(8, 128)
    }

    /// An echo reply.
    pub fn pong(self) -> Self {
        self.echo(0, 129)
    }

    fn echo(self, v4: u8, v6: u8) -> Self {
        let kind = if self.src.is_ipv4() { v4 } else { v6 };
        let [a, b] = ECHO_ID.to_be_bytes();
        self.icmp_with(kind, 0, [a, b, 0, 1], Vec::new())
    }

    /// Any other ICMP of the family.
    pub fn icmp(self, kind: u8, code: u8) -> Self {
        self.icmp_with(kind, code, [0; 4], Vec::new())
    }

    fn icmp_with(self, kind: u8, code: u8, rest: [u8; 4], data: Vec<u8>) -> Self {
        Self { body: Body::Icmp { kind, code, rest, data }, ..self }
    }

    /// A protocol without ports.
    pub fn protocol(self, number: u8) -> Self {
        Self { body: Body::Protocol(number), ..self }
    }

    /// The source port.
    pub fn from_port(self, port: u16) -> Self {
        Self { src_port: port, ..self }
    }

    /// Bytes behind the transport header.
    pub fn payload(self, bytes: usize) -> Self {
        Self { payload: bytes, ..self }
    }

    /// What its receiver would answer: addresses and ports change places, a ping becomes a pong.
    pub fn answer(&self) -> Self {
        let mut answer = Self { src: self.dst, dst: self.src, ..self.clone() };
        if matches!(self.body, Body::Tcp(_)) {
            answer.flags = self.flags.answer();
        }
        match &mut answer.body {
            Body::Tcp(port) | Body::Udp(port) | Body::Sctp(port) => {
                std::mem::swap(port, &mut answer.src_port);
            }
            Body::Icmp { kind, .. } => *kind = if self.src.is_ipv4() { 0 } else { 129 },
            Body::Protocol(_) | Body::Arp { .. } => {}
        }
        answer
    }
}

/// What the network header says.
impl Packet {
    /// TTL or hop limit.
    pub fn hop_limit(self, hops: u8) -> Self {
        Self { hop_limit: hops, ..self }
    }

    /// So many bytes of IPv4 options.
    pub fn options(self, bytes: usize) -> Self {
        Self { options: bytes, ..self }
    }

    /// A hop-by-hop extension header.
    pub fn hop_by_hop(self) -> Self {
        self.extension(Extension::HopByHop)
    }

    /// A routing extension header.
    pub fn routing(self) -> Self {
        self.extension(Extension::Routing)
    }

    /// An authentication extension header.
    pub fn authentication(self) -> Self {
        self.extension(Extension::Authentication)
    }

    /// A destination options extension header with `more` times eight bytes behind its first eight.
    pub fn dst_options(self, more: u8) -> Self {
        self.extension(Extension::DestinationOptions(more))
    }

    /// A fragment: offset in units of eight bytes, and whether more follow. One behind the first has no
    /// transport header.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        let fragment = Some((offset, more));
        match Family::of(self.src) {
            Family::V4 => Self { fragment, ..self },
            Family::V6 => Self { fragment, ..self }.extension(Extension::Fragment(offset, more)),
        }
    }

    /// The datagram is not the first from its source, but this one.
    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    fn extension(mut self, extension: Extension) -> Self {
        assert!(self.src.is_ipv6(), "extension headers are IPv6's");
        self.extensions.push(extension);
        self
    }

    /// The network header declares so many bytes behind it, whatever is there.
    pub fn declaring(self, bytes: u16) -> Self {
        Self { declared: Some(bytes), ..self }
    }
}

/// What happens to the frame.
impl Packet {
    /// A tag in the frame (802.1Q).
    pub fn vlan(self, id: u16) -> Self {
        self.tagged(0x8100, id)
    }

    /// A tag of any kind in the frame; the first call makes the outermost.
    pub fn tagged(mut self, protocol: u16, id: u16) -> Self {
        self.vlans.push((protocol, id));
        self
    }

    /// An ethertype that contradicts what follows.
    pub fn ethertype(self, ethertype: u16) -> Self {
        Self { ethertype: Some(ethertype), ..self }
    }

    /// The byte at `index` of the frame is `value`.
    pub fn byte(mut self, index: usize, value: u8) -> Self {
        self.overwritten.push((index, value));
        self
    }

    /// Bytes behind the packet's end, as Ethernet pads short frames.
    pub fn padded(self, bytes: usize) -> Self {
        Self { padding: bytes, ..self }
    }

    /// The frame ends after so many bytes.
    pub fn truncated_at(self, bytes: usize) -> Self {
        Self { truncated_at: Some(bytes), ..self }
    }
}

/// What others ask of it.
impl Packet {
    /// Its source address.
    pub const fn src(&self) -> IpAddr {
        self.src
    }

    /// Its destination address.
    pub const fn dst(&self) -> IpAddr {
        self.dst
    }

    /// Bytes behind its last header.
    pub const fn payload_bytes(&self) -> u64 {
        self.payload as u64
    }

    /// Source and destination port as a flow record has them: the identifier of an echo in both, none
    /// in a later fragment.
    pub fn ports(&self) -> (u16, u16) {
        if self.is_later_fragment() {
            return (0, 0);
        }
        match &self.body {
            Body::Tcp(port) | Body::Udp(port) | Body::Sctp(port) => (self.src_port, *port),
            Body::Icmp { rest: [a, b, ..], .. } => {
                (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*a, *b]))
            }
            Body::Protocol(_) | Body::Arp { .. } => (0, 0),
        }
    }

    /// Its protocol's number; 0 for ARP.
    pub const fn protocol_number(&self) -> u8 {
        match &self.body {
            Body::Tcp(_) => 6,
            Body::Udp(_) => 17,
            Body::Sctp(_) => 132,
            Body::Icmp { .. } => {
                if self.src.is_ipv4() {
                    1
                } else {
                    58
                }
            }
            Body::Protocol(number) => *number,
            Body::Arp { .. } => 0,
        }
    }

    const fn is_later_fragment(&self) -> bool {
        matches!(self.fragment, Some((1.., _)))
    }

    /// All bytes, sixteen a line.
    pub fn hex(&self) -> String {
        let bytes = self.bytes();
        let lines = bytes.chunks(16).enumerate().map(|(line, bytes)| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{:04x}  {}", line * 16, bytes.join(" "))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl std::convert::From<&Self> for Packet {
    fn from(packet: &Self) -> Self {
        packet.clone()
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src_port, dst_port) = self.ports();
        let name = match &self.body {
            Body::Tcp(_) => "tcp",
            Body::Udp(_) => "udp",
            Body::Sctp(_) => "sctp",
            Body::Icmp { .. } => "icmp",
            Body::Protocol(_) => "protocol",
            Body::Arp { request: true } => "arp request",
            Body::Arp { request: false } => "arp reply",
        };
        write!(f, "{name} [{}]:{src_port} -> [{}]:{dst_port}", self.src, self.dst)?;
        match &self.body {
            Body::Icmp { kind, code, .. } => write!(f, ", type {kind} code {code}")?,
            Body::Protocol(number) => write!(f, ", number {number}")?,
            _ => {}
        }
        if let Some((offset, more)) = self.fragment {
            write!(f, ", fragment at {offset}{}", if more { " and more" } else { "" })?;
        }
        for extension in &self.extensions {
            write!(f, ", {extension:?}")?;
        }
        for (protocol, id) in &self.vlans {
            write!(f, ", vlan {protocol:04x}/{id}")?;
        }
        for (index, value) in &self.overwritten {
            write!(f, ", byte {index} = {value:#04x}")?;
        }
        write!(f, ", {} bytes", self.bytes().len())
    }
}

//! A frame's headers, one after the other, from the outside in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::verdict::DropReason;
use etherparse::{ArpPacketSlice, Ethernet2Slice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};

use super::{Conversation, ICMP, ICMPV6, SCTP, TCP, UDP, Why, link::is_of_link, scope::Scope};

/// IPv6 extension headers that are walked, and where the last one must have ended: so many bytes
/// behind the frame's start.
const MAX_EXTENSIONS: usize = 6;
const MAX_DEPTH: usize = 256;

/// What was in a frame.
pub(super) struct Frame {
    /// Its sender's.
    pub(super) mac: [u8; 6],
    pub(super) content: Content,
}

pub(super) enum Content {
    Arp { mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr },
    Ip(Datagram),
}

/// A packet of either family.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    /// Zero where there are none; the identifier of an echo twice.
    pub(super) ports: (u16, u16),
    /// Type and code, of the family's own ICMP.
    icmp: Option<(u8, u8)>,
    pub(super) discovery: Option<Discovery>,
    fragment: Fragment,
    hop_limit: u8,
}

/// What a link needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Discovery {
    Solicitation(Ipv6Addr),
    Advertisement(Ipv6Addr),
    /// For routers, or about groups.
    Asking,
    /// What only routers say.
    Routing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fragment {
    /// None, or all of it.
    Whole,
    First,
    Later,
}

impl Fragment {
    const fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

/// Reads a whole frame.
pub(super) fn read(bytes: &[u8]) -> Result<Frame, Why> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(bytes).map_err(malformed)?;
    let behind = &bytes[14..];
    let content = match ethernet.ether_type().0 {
        0x0800 => Content::Ip(ipv4(behind)?),
        0x86dd => Content::Ip(ipv6(behind)?),
        0x0806 => arp(behind)?,
        0x8100 | 0x88a8 | 0x9100 => return Err(Why::Exactly(DropReason::VlanTag)),
        _ => return Err(Why::Exactly(DropReason::Ethertype)),
    };
    Ok(Frame { mac: ethernet.source(), content })
}

fn malformed<E>(_: E) -> Why {
    Why::Malformed
}

fn arp(bytes: &[u8]) -> Result<Content, Why> {
    let arp = ArpPacketSlice::from_slice(bytes).map_err(malformed)?;
    if arp.hw_addr_type().0 != 1 || arp.proto_addr_type().0 != 0x0800 {
        return Err(Why::Malformed);
    }
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).map_err(malformed);
    Ok(Content::Arp {
        mac: arp.sender_hw_addr().try_into().map_err(malformed)?,
        sender: address(arp.sender_protocol_addr())?,
        target: address(arp.target_protocol_addr())?,
    })
}

fn ipv4(bytes: &[u8]) -> Result<Datagram, Why> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(malformed)?;
    let payload = bytes.get(header.slice().len()..usize::from(header.total_len())).ok_or(Why::Malformed)?;
    let mut packet = Datagram::new(header.source_addr().into(), header.destination_addr().into());
    packet.hop_limit = header.ttl();
    packet.protocol = header.protocol().0;
    packet.fragment = Fragment::new(header.fragments_offset().value(), header.more_fragments());
    packet.transport(payload)?;
    Ok(packet)
}

fn ipv6(bytes: &[u8]) -> Result<Datagram, Why> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(malformed)?;
    let payload = bytes.get(40..40 + usize::from(header.payload_length())).ok_or(Why::Malformed)?;
    let (src, dst) = (header.source_addr(), header.destination_addr());
    if src.to_ipv4_mapped().or(dst.to_ipv4_mapped()).is_some() {
        return Err(Why::Exactly(DropReason::MappedAddress));
    }
    let mut packet = Datagram::new(src.into(), dst.into());
    packet.hop_limit = header.hop_limit();
    packet.protocol = header.next_header().0;
    let behind = packet.extensions(payload)?;
    packet.transport(behind)?;
    Ok(packet)
}

impl Datagram {
    const fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self {
            src,
            dst,
            protocol: 0,
            ports: (0, 0),
            icmp: None,
            discovery: None,
            fragment: Fragment::Whole,
            hop_limit: 0,
        }
    }

    /// Walks the extension headers; what is behind the last one.
    fn extensions<'a>(&mut self, payload: &'a [u8]) -> Result<&'a [u8], Why> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const AUTHENTICATION: u8 = 51;
        const OPTIONS: u8 = 60;
        let mut rest = payload;
        for walked in 0.. {
            let kind = self.protocol;
            if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | OPTIONS) {
                break;
            }
            if walked == MAX_EXTENSIONS || (kind == HOP_BY_HOP && walked > 0) {
                return Err(Why::Malformed);
            }
            let &[next, length, ..] = rest else { return Err(Why::Malformed) };
            let length = match kind {
                FRAGMENT => 8,
                AUTHENTICATION => (usize::from(length) + 2) * 4,
                _ => (usize::from(length) + 1) * 8,
            };
            let header = rest.get(..length).ok_or(Why::Malformed)?;
            rest = &rest[length..];
            if 14 + 40 + payload.len() - rest.len() > MAX_DEPTH {
                return Err(Why::Malformed);
            }
            self.protocol = next;
            if kind == FRAGMENT {
                let header = Ipv6FragmentHeaderSlice::from_slice(header).map_err(malformed)?;
                match Fragment::new(header.fragment_offset().value(), header.more_fragments()) {
                    // Nobody knows what is behind it.
                    Fragment::Later => {
                        self.fragment = Fragment::Later;
                        break;
                    }
                    Fragment::First => self.fragment = Fragment::First,
                    Fragment::Whole => {}
                }
            }
        }
        Ok(rest)
    }

    /// Reads the header behind the network header, if there is one that matters.
    fn transport(&mut self, payload: &[u8]) -> Result<(), Why> {
        if self.is_later_fragment() {
            return Ok(());
        }
        let smallest = match (self.protocol, self.src) {
            (TCP, _) => 20,
            (UDP | SCTP, _) | (ICMP, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_)) => 8,
            _ => return Ok(()),
        };
        let header = payload.get(..smallest).ok_or(Why::Malformed)?;
        let pair = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        match self.protocol {
            TCP if header[12] >> 4 < 5 => return Err(Why::Malformed),
            TCP | UDP | SCTP => self.ports = (pair(0), pair(2)),
            _ => {
                self.icmp = Some((header[0], header[1]));
                if matches!((self.protocol, header[0]), (ICMP, 0 | 8) | (ICMPV6, 128 | 129)) {
                    self.ports = (pair(4), pair(4));
                }
                self.discovery = self.discovery(payload)?;
            }
        }
        Ok(())
    }

    /// Tells what a link needs from what only looks like it.
    fn discovery(&self, payload: &[u8]) -> Result<Option<Discovery>, Why> {
        let (Some((kind, code)), IpAddr::V6(dst)) = (self.icmp, self.dst) else { return Ok(None) };
        // RFC 4861 §7.1 and RFC 6980: never forwarded, never in pieces.
        let on_link = self.hop_limit == 255 && code == 0 && self.fragment == Fragment::Whole;
        if matches!(kind, 133..=137) && !on_link {
            return Err(Why::Malformed);
        }
        let target = || {
            let bytes: &[u8] = payload.get(8..24).ok_or(Why::Malformed)?;
            let target = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).map_err(malformed)?);
            match target.to_ipv4_mapped() {
                Some(_) => Err(Why::Exactly(DropReason::MappedAddress)),
                None => Ok(target),
            }
        };
        // RFC 3810 §5: from this link, for this link, whole, and on two dozen groups at most.
        let from_link = matches!(Scope::of(self.src), Scope::LinkLocal | Scope::Unspecified);
        let modest = code == 0 && self.fragment == Fragment::Whole && payload.len() <= 512;
        let of_listeners = self.hop_limit == 1 && from_link && is_of_link(dst) && modest;
        // Both addresses' options and a nonce; what is longer carries something else.
        let short = payload.len() <= 48;
        Ok(match kind {
            135 if short => Some(Discovery::Solicitation(target()?)),
            136 if short => Some(Discovery::Advertisement(target()?)),
            133 if short => Some(Discovery::Asking),
            134 | 137 => Some(Discovery::Routing),
            130 if of_listeners => Some(Discovery::Routing),
            131 | 132 | 143 if of_listeners => Some(Discovery::Asking),
            _ => None,
        })
    }

    pub(super) fn is_later_fragment(&self) -> bool {
        self.fragment == Fragment::Later
    }

    /// A request of the family's own ping.
    pub(super) const fn is_echo_request(&self) -> bool {
        matches!((self.protocol, self.icmp), (ICMP, Some((8, _))) | (ICMPV6, Some((128, _))))
    }

    pub(super) fn is_udp(&self, src: u16, dst: u16) -> bool {
        self.protocol == UDP && self.ports == (src, dst)
    }

    pub(super) fn conversation(&self) -> Conversation {
        let code = self.icmp.map_or(0, |(_, code)| code);
        Conversation { src: self.src, dst: self.dst, protocol: self.protocol, ports: self.ports, code }
    }

    /// What this packet would be an answer to; of ICMP only an echo's reply answers anything.
    pub(super) fn question(&self) -> Option<Conversation> {
        match (self.protocol, self.icmp) {
            (ICMP, Some((0, _))) | (ICMPV6, Some((129, _))) => {}
            (ICMP | ICMPV6, _) => return None,
            _ => {}
        }
        let (src_port, dst_port) = self.ports;
        let same = self.conversation();
        Some(Conversation { src: self.dst, dst: self.src, ports: (dst_port, src_port), ..same })
    }
}

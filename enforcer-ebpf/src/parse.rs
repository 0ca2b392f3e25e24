//! One parser for both families and every hook. It fails closed: what it cannot walk is dropped with a
//! reason. This file knows the frame and the transport headers, [`crate::network`] what lies between them,
//! [`crate::icmp`] the messages.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use enforcer_common::{
    address::Address,
    flow::{FlowKey, protocol},
    forgotten::Forgotten,
    host,
    limits::MAX_HEADER_BYTES,
    verdict::DropReason,
};

use crate::{
    icmp,
    journey::Journey,
    network::{self, Payload},
    packet::{Arp, Cursor, Dhcp, Ethernet, Frame, Header, Ports, Tcp},
    skb::Skb,
    xdp::XdpFrame,
};

/// Ethertypes (IEEE 802).
const ETH_IPV4: u16 = 0x0800;
const ETH_ARP: u16 = 0x0806;
const ETH_IPV6: u16 = 0x86dd;
const ETH_8021Q: u16 = 0x8100;
const ETH_8021AD: u16 = 0x88a8;
const ETH_QINQ_OLD: u16 = 0x9100;

/// What the parser understood of a packet. Aligned for whoever clears it word by word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub struct Packet {
    /// Addresses, protocol and ports.
    pub key: FlowKey,
    /// How the packet is to be judged.
    pub kind: Kind,
    /// Flags of a TCP header; 0 for everything else.
    pub tcp_flags: u8,
    /// Bytes from the Ethernet header to the end of the transport header of TCP or UDP; of no meaning for others.
    pub payload_at: Forgotten<u16>,
    /// Source of the frame.
    pub mac: [u8; 6],
    /// 1 where a neighbour packet says that its sender's MAC is another than the frame's, or a DHCP client that its own is.
    pub claims_other_mac: Forgotten<u16>,
    /// Where it belongs in a larger datagram.
    pub fragment: Fragment,
    /// The address that a [`Kind::Neighbor`] packet speaks for, besides its source.
    pub claim: Address,
    /// How far the walk over extension headers has come.
    pub walk: Walk,
    /// Where the quoted packet of a [`Kind::Error`] begins, in bytes from the Ethernet header.
    pub quote_at: u32,
    /// Bytes that the error quotes.
    pub quote_length: u32,
}

impl Packet {
    #[inline(always)]
    fn claims_mac(&mut self, mac: [u8; 6]) {
        self.claims_other_mac.set(u16::from(mac != self.mac));
    }
}

/// A packet's place in a larger datagram.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Fragment {
    pub place: Forgotten<Place>,
    pub reserved: u8,
    /// Of a first fragment: bytes of the datagram up to the end of the transport header.
    pub header_bytes: Forgotten<u16>,
    /// 1 behind an IPv6 fragment header.
    cut: Forgotten<u16>,
    /// Bytes of the datagram before this fragment.
    pub offset: u16,
    /// Identification, as it lies in the packet.
    pub id: u32,
}

/// The walk over extension headers.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Walk {
    /// Where the next header begins, in bytes from the Ethernet header.
    pub offset: Forgotten<u32>,
    /// Bytes of the payload from there on.
    pub left: Forgotten<u32>,
}

impl Walk {
    #[inline(always)]
    pub fn start(&mut self, offset: u32, left: u32) {
        self.offset.set(offset);
        self.left.set(left);
    }

    /// Moves behind a header; `None` beyond what any header may lie at.
    #[inline(always)]
    pub fn step(&mut self, bytes: u32) -> Option<()> {
        let offset = self.offset.get() + bytes;
        self.offset.set(offset);
        self.left.set(self.left.get() - bytes);
        (offset <= MAX_HEADER_BYTES).then_some(())
    }
}

impl Fragment {
    /// Notes a fragment header.
    #[inline(always)]
    pub fn cut(&mut self, id: u32) {
        self.id = id;
        self.cut.set(1);
    }

    /// Whether a fragment header was walked.
    #[inline(always)]
    pub fn was_cut(&self) -> bool {
        self.cut.get() != 0
    }

    /// Counts another header if it belongs to the fragmentable part; without a branch, because the walk over
    /// extension headers goes on from here.
    #[inline(always)]
    pub fn walk(&mut self, bytes: u16) {
        self.header_bytes.set(self.header_bytes.get().wrapping_add(bytes * self.cut.get()));
    }
}

/// Which part of a datagram a packet is.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// All of it.
    #[default]
    Whole,
    /// Its beginning, with the transport header.
    First,
    /// Something behind it.
    Later,
}

/// How a packet is to be judged.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// By addresses and, where they are known, ports.
    #[default]
    Plain,
    /// ARP, neighbour discovery or multicast listener report: by whose address it speaks for.
    Neighbor,
    /// Router advertisement or redirect.
    Router,
    /// ICMP error: by the packet that it quotes.
    Error,
}

/// Begins the packet's journey and reads its headers into it, and asks the kernel for them only where they lie outside of
/// what is readable: then it begins once more.
#[inline(always)]
pub fn read(frame: impl Frame) -> Result<(), u8> {
    const TRUNCATED: u8 = DropReason::Truncated as u8;
    const BAD_QUOTE: u8 = DropReason::BadQuote as u8;
    let reason = match frame.parse() {
        TRUNCATED | BAD_QUOTE if frame.pull_headers() => frame.parse(),
        reason => reason,
    };
    if reason == 0 { Ok(()) } else { Err(reason) }
}

/// The packet was understood, and quotes another.
const QUOTES: u32 = 1 << 8;

/// The packet and, where it is an error, the packet that it quotes; the two are stations of their own.
#[inline(always)]
pub fn read_all(headers: impl Fn() -> u32, quote: impl Fn() -> u32) -> u8 {
    match headers() {
        QUOTES => quote() as u8,
        reason => reason as u8,
    }
}

/// A station of its own: verified once, and the second try costs no second copy of the code. Returns 0, [`QUOTES`] or
/// the number of a [`DropReason`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_skb(context: *mut __sk_buff) -> u32 {
    let skb = Skb::from_context(context);
    leave(skb.cursor(), skb.length(), skb.has_accelerated_vlan(), false)
}

/// See [`parse_skb`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_xdp(context: *mut xdp_md) -> u32 {
    let frame = XdpFrame::from_context(context);
    leave(frame.cursor(), frame.length(), false, true)
}

/// The packet that an error quotes; a station of its own, too.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_skb_quote(context: *mut __sk_buff) -> u32 {
    leave_quote(Skb::from_context(context).cursor())
}

/// See [`parse_skb_quote`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_xdp_quote(context: *mut xdp_md) -> u32 {
    leave_quote(XdpFrame::from_context(context).cursor())
}

#[inline(always)]
fn leave(mut cursor: Cursor, length: u32, tagged: bool, looks_only: bool) -> u32 {
    let Some(journey) = Journey::current() else { return DropReason::Truncated as u32 };
    journey.begin(looks_only);
    journey.packet = Packet::default();
    match parse(&mut cursor, length, tagged, &mut journey.packet) {
        Ok(()) if journey.packet.kind == Kind::Error => QUOTES,
        Ok(()) => 0,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn leave_quote(mut cursor: Cursor) -> u32 {
    let Some(journey) = Journey::current() else { return DropReason::BadQuote as u32 };
    journey.quote = Packet::default();
    let (at, length) = (journey.packet.quote_at, journey.packet.quote_length);
    let v4 = journey.packet.key.src.is_v4();
    let quote = cursor.skip(at).and_then(|()| parse_quote(&mut cursor, length, v4, &mut journey.quote).ok());
    if quote.is_some() { 0 } else { DropReason::BadQuote as u32 }
}

#[inline(always)]
fn parse(cursor: &mut Cursor, length: u32, tagged: bool, packet: &mut Packet) -> Result<(), DropReason> {
    let ethernet = cursor.take::<Ethernet>().ok_or(DropReason::Truncated)?;
    if tagged {
        return Err(DropReason::VlanTag);
    }
    packet.mac = ethernet.src;
    let l3_length = length.wrapping_sub(size_of::<Ethernet>() as u32);
    let payload = match u16::from_be(ethernet.ethertype) {
        ETH_IPV4 => network::ipv4(cursor, l3_length, false, packet)?,
        ETH_IPV6 => network::ipv6(cursor, l3_length, false, packet)?,
        ETH_ARP => return arp(cursor, packet),
        ETH_8021Q | ETH_8021AD | ETH_QINQ_OLD => return Err(DropReason::VlanTag),
        _ => return Err(DropReason::Ethertype),
    };
    if packet.fragment.place.get() == Place::Later {
        return Ok(());
    }
    transport(cursor, &payload, packet)
}

/// The header of an IP packet of the same family, and eight bytes of what is behind it (RFC 792, RFC 4443
/// §2.4 promise no more): all that is needed to know its flow.
#[inline(always)]
fn parse_quote(cursor: &mut Cursor, length: u32, v4: bool, quote: &mut Packet) -> Result<(), DropReason> {
    let payload = if v4 {
        network::ipv4(cursor, length, true, quote)?
    } else {
        network::ipv6(cursor, length, true, quote)?
    };
    if quote.fragment.place.get() == Place::Later {
        return Ok(());
    }
    match quote.key.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let ports = whole::<Ports>(cursor, &payload)?;
            (quote.key.src_port, quote.key.dst_port) = (ports.src, ports.dst);
            Ok(())
        }
        protocol::ICMP | protocol::ICMPV6 => icmp::quoted(cursor, &payload, quote),
        _ => Ok(()),
    }
}

#[inline(always)]
fn arp(cursor: &mut Cursor, packet: &mut Packet) -> Result<(), DropReason> {
    const ETHERNET: u16 = 1_u16.to_be();
    let arp = cursor.take::<Arp>().ok_or(DropReason::Truncated)?;
    if arp.hardware != ETHERNET
        || arp.protocol != ETH_IPV4.to_be()
        || arp.hardware_len != 6
        || arp.protocol_len != 4
    {
        return Err(DropReason::BadHeader);
    }
    packet.key.src = Address::from_v4(word(arp.sender));
    packet.key.dst = Address::from_v4(word(arp.target));
    packet.claim = packet.key.src;
    packet.claims_mac(arp.sender_mac);
    packet.kind = Kind::Neighbor;
    Ok(())
}

/// Joins an address that lies at an odd multiple of two bytes.
#[inline(always)]
const fn word(halves: [u16; 2]) -> u32 {
    let [a, b] = halves[0].to_ne_bytes();
    let [c, d] = halves[1].to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[inline(always)]
fn transport(cursor: &mut Cursor, payload: &Payload, packet: &mut Packet) -> Result<(), DropReason> {
    let key = &mut packet.key;
    let header_bytes = match key.protocol {
        protocol::TCP => {
            let tcp = whole::<Tcp>(cursor, payload)?;
            // The header's own length, in words of four bytes.
            if tcp.data_offset >> 4 < 5 {
                return Err(DropReason::BadHeader);
            }
            (key.src_port, key.dst_port) = (tcp.src, tcp.dst);
            packet.tcp_flags = tcp.flags;
            let options = u32::from(tcp.data_offset >> 4) * 4 - size_of::<Tcp>() as u32;
            packet.payload_at.set((cursor.offset() + options) as u16);
            size_of::<Tcp>()
        }
        protocol::UDP | protocol::SCTP => {
            let ports = whole::<Ports>(cursor, payload)?;
            (key.src_port, key.dst_port) = (ports.src, ports.dst);
            packet.payload_at.set(cursor.offset() as u16);
            if key.src.is_v4() && host::is_dhcp_request(key) {
                dhcp(cursor, payload, packet)?;
            }
            size_of::<Ports>()
        }
        protocol::ICMP | protocol::ICMPV6 => {
            icmp::read(cursor, payload, packet)?;
            8
        }
        // Of what nobody reads nothing can be rewritten; eight bytes as for the others.
        _ => 8,
    };
    let walked = packet.fragment.header_bytes.get();
    packet.fragment.header_bytes.set(walked.wrapping_add(header_bytes as u16));
    Ok(())
}

/// Whose address a client asks for, if it says so.
#[inline(always)]
fn dhcp(cursor: &mut Cursor, payload: &Payload, packet: &mut Packet) -> Result<(), DropReason> {
    let behind_udp = payload.behind(size_of::<Ports>() as u32);
    if behind_udp.length >= size_of::<Dhcp>() as u32 {
        packet.claims_mac(whole::<Dhcp>(cursor, &behind_udp)?.chaddr);
    }
    Ok(())
}

/// A transport header that lies wholly within what the network header declares. A first fragment too
/// small for it is no fragment anybody needs (RFC 1858, RFC 7112).
#[inline(always)]
pub fn whole<'a, T: Header>(cursor: &mut Cursor, payload: &Payload) -> Result<&'a T, DropReason> {
    if payload.length < size_of::<T>() as u32 {
        return Err(DropReason::Truncated);
    }
    cursor.take::<T>().ok_or(DropReason::Truncated)
}

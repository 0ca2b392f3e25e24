//! One parser for both families. It fails closed: what it cannot walk is dropped with a reason.

use enforcer_common::{
    address::{Address, Scope},
    flow::{FlowKey, icmp, protocol},
    limits::MAX_EXTENSION_HEADERS,
    verdict::DropReason,
};

use aya_ebpf::bindings::__sk_buff;

use crate::journey::Journey;
use crate::packet::{Arp, Cursor, Ethernet, Extension, Icmp, Ipv4, Ipv6, NeighborTarget, Ports, Skb, Tcp};

/// Ethertypes (IEEE 802).
const ETH_IPV4: u16 = 0x0800;
const ETH_ARP: u16 = 0x0806;
const ETH_IPV6: u16 = 0x86dd;
const ETH_8021Q: u16 = 0x8100;
const ETH_8021AD: u16 = 0x88a8;
const ETH_QINQ_OLD: u16 = 0x9100;

/// A solicitation or advertisement with a link-layer address and a nonce (RFC 4861 §4.3, RFC 7527), rounded
/// up.
const MAX_DISCOVERY_BYTES: u32 = 48;

/// A multicast listener report on two dozen groups (RFC 3810 §5.2).
const MAX_REPORT_BYTES: u32 = 512;

/// IPv6 extension headers (IANA).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// What the parser understood of a packet.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Packet {
    /// Addresses, protocol and ports.
    pub key: FlowKey,
    /// How the packet is to be judged.
    pub kind: Kind,
    /// The address that a [`Kind::Neighbor`] packet speaks for, besides its source.
    pub claim: Address,
    /// Source of the frame.
    pub mac: [u8; 6],
    /// What a neighbour packet says its sender's MAC is; the frame's source where it says nothing.
    pub claimed_mac: [u8; 6],
}

/// How a packet is to be judged.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// By addresses and ports.
    #[default]
    Whole,
    /// By addresses only: a fragment behind the first has no ports.
    LaterFragment,
    /// ARP, neighbour discovery or multicast listener report: by whose address it speaks for.
    Neighbor,
    /// Router advertisement or redirect.
    Router,
}

/// Reads the headers into the journey, and asks the kernel for them only where they lie outside the
/// linear part: that may copy, so it is the second try.
#[inline(always)]
pub fn read(skb: Skb) -> Result<(), u8> {
    const TRUNCATED: u8 = DropReason::Truncated as u8;
    match parse_headers(skb.context()) as u8 {
        0 => Ok(()),
        TRUNCATED if skb.hides_headers() => {
            skb.pull_headers().map_err(|()| DropReason::Truncated as u8)?;
            match parse_headers(skb.context()) as u8 {
                0 => Ok(()),
                reason => Err(reason),
            }
        }
        reason => Err(reason),
    }
}

/// A station of its own: verified once, and the second try costs no second copy of the code. Returns 0
/// or the number of a [`DropReason`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_headers(context: *mut __sk_buff) -> u32 {
    let Some(journey) = Journey::current() else { return DropReason::Truncated as u32 };
    journey.packet = Packet::default();
    match parse(Skb::from_context(context), &mut journey.packet) {
        Ok(()) => 0,
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn parse(skb: Skb, packet: &mut Packet) -> Result<(), DropReason> {
    let mut cursor = skb.cursor();
    let ethernet = cursor.take::<Ethernet>().ok_or(DropReason::Truncated)?;
    if skb.has_accelerated_vlan() {
        return Err(DropReason::VlanTag);
    }
    packet.mac = ethernet.src;
    packet.claimed_mac = ethernet.src;
    let l3_length = skb.length().wrapping_sub(size_of::<Ethernet>() as u32);
    let payload = match u16::from_be(ethernet.ethertype) {
        ETH_IPV4 => ipv4(&mut cursor, l3_length, packet)?,
        ETH_IPV6 => ipv6(&mut cursor, l3_length, packet)?,
        ETH_ARP => return arp(&mut cursor, packet),
        ETH_8021Q | ETH_8021AD | ETH_QINQ_OLD => return Err(DropReason::VlanTag),
        _ => return Err(DropReason::Ethertype),
    };
    if packet.kind == Kind::LaterFragment {
        return Ok(());
    }
    transport(&mut cursor, payload, packet)
}

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
    packet.claimed_mac = arp.sender_mac;
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

/// What the transport header may rely on.
#[derive(Clone, Copy)]
struct Payload {
    /// Bytes behind the network header, as that header declares them.
    length: u32,
    /// The packet is a first fragment: more follows.
    fragmented: bool,
    hop_limit: u8,
}

#[inline(always)]
fn ipv4(cursor: &mut Cursor, available: u32, packet: &mut Packet) -> Result<Payload, DropReason> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let ip = cursor.take::<Ipv4>().ok_or(DropReason::Truncated)?;
    let header = u32::from(ip.version_ihl & 0x0f) * 4;
    let total = u32::from(u16::from_be(ip.total_length));
    if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() as u32 || total < header {
        return Err(DropReason::BadHeader);
    }
    if total > available {
        return Err(DropReason::Truncated);
    }
    // Options are not looked at; the next header's bounds check covers their bytes.
    cursor.skip(header - size_of::<Ipv4>() as u32).ok_or(DropReason::BadHeader)?;
    packet.key.src = Address::from_v4(ip.src);
    packet.key.dst = Address::from_v4(ip.dst);
    packet.key.protocol = ip.protocol;
    let fragment = u16::from_be(ip.fragment);
    if fragment & FRAGMENT_OFFSET != 0 {
        packet.kind = Kind::LaterFragment;
    }
    Ok(Payload { length: total - header, fragmented: fragment & MORE_FRAGMENTS != 0, hop_limit: ip.ttl })
}

#[inline(always)]
fn ipv6(cursor: &mut Cursor, available: u32, packet: &mut Packet) -> Result<Payload, DropReason> {
    let ip = cursor.take::<Ipv6>().ok_or(DropReason::Truncated)?;
    let length = u32::from(u16::from_be(ip.payload_length));
    if u32::from_be(ip.version_class_label) >> 28 != 6 {
        return Err(DropReason::BadHeader);
    }
    if length + size_of::<Ipv6>() as u32 > available {
        return Err(DropReason::Truncated);
    }
    packet.key.src = Address(ip.src);
    packet.key.dst = Address(ip.dst);
    // From here on a mapped address means IPv4, so one on the wire must not get further.
    if packet.key.src.is_v4() || packet.key.dst.is_v4() {
        return Err(DropReason::MappedAddress);
    }
    let payload = Payload { length, fragmented: false, hop_limit: ip.hop_limit };
    extensions(cursor, ip.next_header, payload, packet)
}

/// Walks the extension headers up to the transport header or to a later fragment.
#[inline(always)]
fn extensions(
    cursor: &mut Cursor,
    mut next: u8,
    mut payload: Payload,
    packet: &mut Packet,
) -> Result<Payload, DropReason> {
    for position in 0..=MAX_EXTENSION_HEADERS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS) {
            packet.key.protocol = next;
            return Ok(payload);
        }
        // RFC 8200 §4.1: hop-by-hop options stand first or not at all.
        if position == MAX_EXTENSION_HEADERS || (next == HOP_BY_HOP && position > 0) {
            return Err(DropReason::ExtensionHeaders);
        }
        let header = cursor.take::<Extension>().ok_or(DropReason::Truncated)?;
        let length = match next {
            FRAGMENT => 8,
            AUTHENTICATION => (u32::from(header.length) + 2) * 4,
            _ => (u32::from(header.length) + 1) * 8,
        };
        // An authentication header of 4 bytes less than a whole extension header cannot exist.
        if length < 8 || length > payload.length {
            return Err(DropReason::BadHeader);
        }
        payload.length -= length;
        cursor.skip(length - 8).ok_or(DropReason::ExtensionHeaders)?;
        if next == FRAGMENT {
            let offset_and_more = u16::from_be_bytes([header.data[0], header.data[1]]);
            payload.fragmented |= offset_and_more & 1 != 0;
            if offset_and_more & 0xfff8 != 0 {
                packet.key.protocol = header.next_header;
                packet.kind = Kind::LaterFragment;
                return Ok(payload);
            }
        }
        next = header.next_header;
    }
    Err(DropReason::ExtensionHeaders)
}

#[inline(always)]
fn transport(cursor: &mut Cursor, payload: Payload, packet: &mut Packet) -> Result<(), DropReason> {
    let key = &mut packet.key;
    match key.protocol {
        protocol::TCP => {
            let tcp = whole::<Tcp>(cursor, &payload)?;
            // The header's own length, in words of four bytes.
            if tcp.data_offset >> 4 < 5 {
                return Err(DropReason::BadHeader);
            }
            (key.src_port, key.dst_port) = (tcp.src, tcp.dst);
        }
        protocol::UDP | protocol::SCTP => {
            let ports = whole::<Ports>(cursor, &payload)?;
            (key.src_port, key.dst_port) = (ports.src, ports.dst);
        }
        protocol::ICMP if key.src.is_v4() => icmp(cursor, &payload, packet)?,
        protocol::ICMPV6 if !key.src.is_v4() => icmp(cursor, &payload, packet)?,
        _ => {}
    }
    Ok(())
}

/// A transport header that lies wholly within what the network header declares. A first fragment too
/// small for it is no fragment anybody needs (RFC 1858, RFC 7112).
#[inline(always)]
fn whole<'a, T: crate::packet::Header>(cursor: &mut Cursor, payload: &Payload) -> Result<&'a T, DropReason> {
    if payload.length < size_of::<T>() as u32 {
        return Err(DropReason::Truncated);
    }
    cursor.take::<T>().ok_or(DropReason::Truncated)
}

#[inline(always)]
fn icmp(cursor: &mut Cursor, payload: &Payload, packet: &mut Packet) -> Result<(), DropReason> {
    let header = whole::<Icmp>(cursor, payload)?;
    let (kind, v4) = (header.kind, packet.key.src.is_v4());
    packet.key.icmp_type = kind;
    packet.key.icmp_code = header.code;
    let echo = if v4 {
        matches!(kind, icmp::ECHO | icmp::ECHO_REPLY)
    } else {
        matches!(kind, icmp::V6_ECHO | icmp::V6_ECHO_REPLY)
    };
    if echo {
        (packet.key.src_port, packet.key.dst_port) = (header.id, header.id);
    } else if !v4 {
        neighbor_discovery(cursor, payload, packet)?;
    }
    Ok(())
}

/// Tells the packets that IPv6 cannot live without from other ICMPv6. What is longer than they need to be
/// carries something else, and is judged like anything else.
#[inline(always)]
fn neighbor_discovery(cursor: &mut Cursor, payload: &Payload, packet: &mut Packet) -> Result<(), DropReason> {
    // RFC 4861 §7.1: proof that no router forwarded it; RFC 6980: never in fragments.
    let on_link = payload.hop_limit == 255 && packet.key.icmp_code == 0 && !payload.fragmented;
    let short = payload.length <= MAX_DISCOVERY_BYTES;
    packet.claim = packet.key.src;
    match packet.key.icmp_type {
        icmp::NEIGHBOR_SOLICITATION | icmp::NEIGHBOR_ADVERTISEMENT if on_link && short => {
            let rest = Payload { length: payload.length - size_of::<Icmp>() as u32, ..*payload };
            let target = Address(whole::<NeighborTarget>(cursor, &rest)?.address);
            if target.is_v4() {
                return Err(DropReason::MappedAddress);
            }
            let probes = packet.key.src.scope() == Scope::Unspecified;
            if packet.key.icmp_type == icmp::NEIGHBOR_ADVERTISEMENT || probes {
                packet.claim = target;
            }
            packet.kind = Kind::Neighbor;
        }
        icmp::ROUTER_SOLICITATION if on_link && short => packet.kind = Kind::Neighbor,
        icmp::ROUTER_ADVERTISEMENT | icmp::REDIRECT if on_link => packet.kind = Kind::Router,
        icmp::NEIGHBOR_SOLICITATION | icmp::NEIGHBOR_ADVERTISEMENT | icmp::ROUTER_SOLICITATION if on_link => {
        }
        icmp::ROUTER_SOLICITATION..=icmp::REDIRECT => return Err(DropReason::BadHeader),
        icmp::MLD_QUERY if is_link_scope_report(packet, payload) => packet.kind = Kind::Router,
        icmp::MLD_REPORT | icmp::MLD_DONE | icmp::MLD2_REPORT if is_link_scope_report(packet, payload) => {
            packet.kind = Kind::Neighbor;
        }
        _ => {}
    }
    Ok(())
}

/// RFC 3810 §5: from this link, for this link.
#[inline(always)]
const fn is_link_scope_report(packet: &Packet, payload: &Payload) -> bool {
    payload.hop_limit == 1
        && payload.length <= MAX_REPORT_BYTES
        && !payload.fragmented
        && packet.key.icmp_code == 0
        && matches!(packet.key.src.scope(), Scope::LinkLocal | Scope::Unspecified)
        && packet.key.dst.is_link_scope_multicast()
}

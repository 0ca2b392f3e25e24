//! The network headers of both families, of a packet and of one that an ICMP error quotes.
//!
//! A quote is cut short, and lengths in it speak of what was sent and not of what is here: only what is here
//! counts.

use enforcer_common::{
    address::{Address, Scope},
    flow::{FlowKey, protocol},
    limits::MAX_EXTENSION_HEADERS,
    verdict::DropReason,
};

use crate::{
    packet::{Cursor, Extension, Ipv4, Ipv6, Tcp},
    parse::{Packet, Place},
};

/// IPv6 extension headers (IANA).
pub const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// What the transport header may rely on.
#[derive(Clone, Copy)]
pub struct Payload {
    /// Bytes behind the network header, as that header declares them.
    pub length: u32,
    pub hop_limit: u8,
}

impl Payload {
    /// The same behind a header of `bytes`.
    #[inline(always)]
    pub const fn behind(&self, bytes: u32) -> Self {
        Self { length: self.length.saturating_sub(bytes), ..*self }
    }
}

/// Reads an IPv4 header.
#[inline(always)]
pub fn ipv4(
    cursor: &mut Cursor,
    available: u32,
    quoted: bool,
    packet: &mut Packet,
) -> Result<Payload, DropReason> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let ip = cursor.take::<Ipv4>().ok_or(DropReason::Truncated)?;
    // Even of a header that is refused: whose packet it is says who drops it.
    packet.key.src = Address::from_v4(ip.src);
    packet.key.dst = Address::from_v4(ip.dst);
    let header = u32::from(ip.version_ihl & 0x0f) * 4;
    let total = if quoted { available } else { u32::from(u16::from_be(ip.total_length)) };
    if ip.version_ihl >> 4 != 4 || header < size_of::<Ipv4>() as u32 || total < header {
        return Err(DropReason::BadHeader);
    }
    if total > available {
        return Err(DropReason::Truncated);
    }
    cursor.skip(header - size_of::<Ipv4>() as u32).ok_or(DropReason::BadHeader)?;
    // Source routes lie, and nothing else is needed (RFC 7126) but by routers who listen to groups.
    if header > size_of::<Ipv4>() as u32 && !quoted && packet.key.dst.scope() != Scope::Multicast {
        return Err(DropReason::IpOptions);
    }
    packet.key.protocol = ip.protocol;
    if ip.protocol == protocol::ICMPV6 {
        return Err(DropReason::BadHeader);
    }
    let fragment = u16::from_be(ip.fragment);
    packet.fragment.id = u32::from(ip.id);
    place(packet, (fragment & FRAGMENT_OFFSET) * 8, fragment & MORE_FRAGMENTS != 0)?;
    Ok(Payload { length: total - header, hop_limit: ip.ttl })
}

/// Reads an IPv6 header and its extension headers.
#[inline(always)]
pub fn ipv6(
    cursor: &mut Cursor,
    available: u32,
    quoted: bool,
    packet: &mut Packet,
) -> Result<Payload, DropReason> {
    const HEADER: u32 = size_of::<Ipv6>() as u32;
    let ip = cursor.take::<Ipv6>().ok_or(DropReason::Truncated)?;
    // From here on a mapped address means IPv4, so one on the wire must not get further.
    let (src, dst) = (Address(ip.src), Address(ip.dst));
    let mapped = src.is_v4() || dst.is_v4();
    if !src.is_v4() {
        packet.key.src = src;
    }
    if !dst.is_v4() {
        packet.key.dst = dst;
    }
    let declared = u32::from(u16::from_be(ip.payload_length));
    let length = if quoted { available.saturating_sub(HEADER) } else { declared };
    if u32::from_be(ip.version_class_label) >> 28 != 6 {
        return Err(DropReason::BadHeader);
    }
    if length + HEADER > available {
        return Err(DropReason::Truncated);
    }
    if mapped {
        return Err(DropReason::MappedAddress);
    }
    let payload = Payload { length, hop_limit: ip.hop_limit };
    let payload = extensions(cursor, ip.next_header, payload, packet)?;
    if packet.key.protocol == protocol::ICMP {
        return Err(DropReason::BadHeader);
    }
    Ok(payload)
}

/// Walks the extension headers up to the transport header or to a later fragment.
///
/// What one round leaves to the next lies in the journey ([`Walk`]) and not in registers: there the verifier
/// would follow every way that a header's length can come about, to the power of the rounds.
#[inline(always)]
fn extensions(
    cursor: &mut Cursor,
    mut next: u8,
    payload: Payload,
    packet: &mut Packet,
) -> Result<Payload, DropReason> {
    packet.walk.start(cursor.offset(), payload.length);
    for position in 0..=MAX_EXTENSION_HEADERS {
        cursor.seek(packet.walk.offset.get()).ok_or(DropReason::ExtensionHeaders)?;
        let left = packet.walk.left.get();
        if !protocol::is_extension(next) {
            packet.key.protocol = next;
            return Ok(Payload { length: left, ..payload });
        }
        // RFC 8200 §4.1: hop-by-hop options stand first or not at all, and a datagram is cut once.
        let again = (next == HOP_BY_HOP && position > 0) || (next == FRAGMENT && packet.fragment.was_cut());
        if position == MAX_EXTENSION_HEADERS || again {
            return Err(DropReason::ExtensionHeaders);
        }
        // Behind it the packet goes somewhere else than its destination says (RFC 5095).
        if next == ROUTING {
            return Err(DropReason::RoutingHeader);
        }
        let header = cursor.take::<Extension>().ok_or(DropReason::Truncated)?;
        let length = match next {
            FRAGMENT => 8,
            AUTHENTICATION => (u32::from(header.length) + 2) * 4,
            _ => (u32::from(header.length) + 1) * 8,
        };
        // An authentication header of 4 bytes less than a whole extension header cannot exist.
        if length < 8 || length > left {
            return Err(DropReason::BadHeader);
        }
        packet.walk.step(length).ok_or(DropReason::ExtensionHeaders)?;
        if next == FRAGMENT {
            let [high, low, a, b, c, d] = header.data;
            let offset_and_more = u16::from_be_bytes([high, low]);
            packet.key.protocol = header.next_header;
            packet.fragment.cut(u32::from_ne_bytes([a, b, c, d]));
            place(packet, offset_and_more & 0xfff8, offset_and_more & 1 != 0)?;
            if packet.fragment.place.get() == Place::Later {
                return Ok(payload);
            }
        } else {
            packet.fragment.walk(length as u16);
        }
        next = header.next_header;
    }
    Err(DropReason::ExtensionHeaders)
}

/// Where a packet belongs in its datagram. A later fragment within the reach of a TCP header would rewrite
/// what the first one was judged by (RFC 3128).
#[inline(always)]
fn place(packet: &mut Packet, offset: u16, more: bool) -> Result<(), DropReason> {
    packet.fragment.offset = offset;
    if offset > 0 {
        packet.fragment.place.set(Place::Later);
        packet.key.flags = FlowKey::NO_PORTS;
        if packet.key.protocol == protocol::TCP && u32::from(offset) < size_of::<Tcp>() as u32 {
            return Err(DropReason::OverlappingFragment);
        }
    } else if more {
        packet.fragment.place.set(Place::First);
    }
    Ok(())
}

//! ICMP of both families: what a link needs, what reports errors, and the rest.

use enforcer_common::{
    address::{Address, Scope},
    flow::icmp,
    verdict::DropReason,
};

use crate::{
    network::Payload,
    packet::{Cursor, Icmp, NeighborTarget},
    parse::{Kind, Packet, Place, whole},
};

/// A solicitation or advertisement with a link-layer address and a nonce (RFC 4861 §4.3, RFC 7527), rounded
/// up.
const MAX_DISCOVERY_BYTES: u32 = 48;

/// A multicast listener report on two dozen groups (RFC 3810 §5.2).
const MAX_REPORT_BYTES: u32 = 512;

/// A message of the packet's own family.
#[inline(always)]
pub fn read(cursor: &mut Cursor, payload: &Payload, packet: &mut Packet) -> Result<(), DropReason> {
    let v4 = packet.key.src.is_v4();
    kind_and_identifier(cursor, payload, packet)?;
    let kind = packet.key.icmp_type;
    if icmp::is_error(v4, kind) {
        packet.kind = Kind::Error;
        packet.quote_at = cursor.offset();
        packet.quote_length = payload.behind(size_of::<Icmp>() as u32).length;
    } else if !v4 {
        neighbor_discovery(cursor, payload, packet)?;
    } else if kind == icmp::V4_REDIRECT {
        packet.kind = Kind::Router;
    }
    Ok(())
}

/// The message of a quoted packet. Nobody answers an error with an error (RFC 1122 §3.2.2).
#[inline(always)]
pub fn quoted(cursor: &mut Cursor, payload: &Payload, quote: &mut Packet) -> Result<(), DropReason> {
    kind_and_identifier(cursor, payload, quote)?;
    if icmp::is_error(quote.key.src.is_v4(), quote.key.icmp_type) {
        Err(DropReason::BadQuote)
    } else {
        Ok(())
    }
}

#[inline(always)]
fn kind_and_identifier(
    cursor: &mut Cursor,
    payload: &Payload,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    let header = whole::<Icmp>(cursor, payload)?;
    packet.key.icmp_type = header.kind;
    packet.key.icmp_code = header.code;
    let echo = if packet.key.src.is_v4() {
        matches!(header.kind, icmp::ECHO | icmp::ECHO_REPLY)
    } else {
        matches!(header.kind, icmp::V6_ECHO | icmp::V6_ECHO_REPLY)
    };
    if echo {
        (packet.key.src_port, packet.key.dst_port) = (header.id, header.id);
    }
    Ok(())
}

/// Tells the packets that IPv6 cannot live without from other ICMPv6. What is longer than they need to be
/// carries something else, and is judged like anything else.
#[inline(always)]
fn neighbor_discovery(cursor: &mut Cursor, payload: &Payload, packet: &mut Packet) -> Result<(), DropReason> {
    // RFC 4861 §7.1: proof that no router forwarded it; RFC 6980: never in fragments.
    let fragmented = packet.fragment.place.get() != Place::Whole;
    let on_link = payload.hop_limit == 255 && packet.key.icmp_code == 0 && !fragmented;
    let short = payload.length <= MAX_DISCOVERY_BYTES;
    packet.claim = packet.key.src;
    match packet.key.icmp_type {
        icmp::NEIGHBOR_SOLICITATION | icmp::NEIGHBOR_ADVERTISEMENT if on_link && short => {
            let rest = payload.behind(size_of::<Icmp>() as u32);
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
fn is_link_scope_report(packet: &Packet, payload: &Payload) -> bool {
    payload.hop_limit == 1
        && payload.length <= MAX_REPORT_BYTES
        && packet.fragment.place.get() == Place::Whole
        && packet.key.icmp_code == 0
        && matches!(packet.key.src.scope(), Scope::LinkLocal | Scope::Unspecified)
        && packet.key.dst.is_link_scope_multicast()
}

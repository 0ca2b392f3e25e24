//! Straight into the interface of the workload that a packet is for. What the host would have done on the way is done
//! here; what needs more than that, its stack does.

use enforcer_common::{
    address::Scope,
    endpoint::EndpointId,
    flow::FlowKey,
    shortcut::{Shortcut, Way},
};

use crate::{
    account,
    journey::Journey,
    maps,
    packet::{self, Frame, RoutedV4, RoutedV6},
    parse::Kind,
    skb::Skb,
};

/// The end of a journey that passed `from_endpoint`: what the hook returns for a frame that took its shortcut; `None`
/// where it is the stack's, unchanged.
#[inline(always)]
pub fn take(skb: Skb) -> Option<i32> {
    let journey = Journey::current()?;
    let dst = journey.judgement.dst;
    let is_local = dst != EndpointId::REMOTE && dst != EndpointId::HOST;
    if !is_local || journey.judgement.would_drop() || journey.packet.kind != Kind::Plain {
        return None;
    }
    let (from, to) = (maps::SHORTCUTS.get_ptr_mut(journey.endpoint.0)?, maps::SHORTCUTS.get_ptr_mut(dst.0)?);
    // SAFETY: array entries live as long as the program. The daemon changes one while nobody has a lease, so that it
    // is never seen half-written.
    let (from, to) = unsafe { (&mut *from, &*to) };
    let lease = maps::LEASE.get(0)?;
    let kinds = lease.flags & from.flags & to.flags;
    let now = journey.now;
    if kinds == 0 || now >= lease.until || !is_between_globals(&journey.packet.key) {
        return None;
    }
    let is_v4 = journey.packet.key.src.is_v4();
    match from.way(to, kinds, skb.destination()?, is_v4, largest_packet(skb, journey)) {
        Way::Stack => return None,
        Way::Routed => hand_on(skb, to, is_v4)?,
        Way::Bridged if now >= from.refresh => {
            from.refresh = now + Shortcut::REFRESH;
            return None;
        }
        Way::Bridged => {}
    }
    // Before 6.15 the receiver's stack would take it for somebody else's.
    skb.is_for_us();
    account::count_received(dst, account::weight(skb, journey));
    Some(skb.redirect_peer(to.ifindex))
}

/// What is only of a link gets nowhere else, and is not worth a shortcut there.
#[inline(always)]
fn is_between_globals(key: &FlowKey) -> bool {
    key.src.scope() == Scope::Global && key.dst.scope() == Scope::Global
}

/// Bytes of the largest packet that the frame becomes, from the IP header on.
#[inline(always)]
fn largest_packet(skb: Skb, journey: &Journey) -> u32 {
    let headers = u32::from(journey.packet.payload_at.get());
    match skb.segment() {
        0 => skb.length() - packet::ETHERNET,
        // Where its headers end is known of what can be cut into segments; else nothing would fit.
        _ if headers == 0 => u32::MAX,
        payload => headers - packet::ETHERNET + payload,
    }
}

/// A router's work (RFC 1812 §5.3.1, RFC 8200 §3): one hop less, and a frame of the next link. Who has no hop left
/// is told so by the stack.
#[inline(always)]
fn hand_on(skb: Skb, to: &Shortcut, is_v4: bool) -> Option<()> {
    let mut cursor = skb.cursor();
    if is_v4 {
        let front = cursor.take::<RoutedV4>()?;
        let front = RoutedV4 {
            dst: to.mac,
            src: to.gateway,
            ttl: less(front.ttl)?,
            checksum: one_less(front.checksum),
            ..*front
        };
        skb.rewrite(&front)
    } else {
        let front = cursor.take::<RoutedV6>()?;
        let front = RoutedV6 { dst: to.mac, src: to.gateway, hop_limit: less(front.hop_limit)?, ..*front };
        skb.rewrite(&front)
    }
}

#[inline(always)]
const fn less(hops: u8) -> Option<u8> {
    if hops > 1 { Some(hops - 1) } else { None }
}

/// The checksum of an IPv4 header whose time to live is one less (RFC 1624).
#[inline(always)]
const fn one_less(checksum: u16) -> u16 {
    let sum = checksum as u32 + 0x0100_u16.to_be() as u32;
    (sum + (sum >= 0xffff) as u32) as u16
}

//! Straight into the interface of the workload that a packet is for. What the host would have done on the way is done
//! here; what needs more than that, its stack does.

use enforcer_common::{
    endpoint::EndpointId,
    flow::{FlowEntry, protocol},
    shortcut::{Shortcut, Way},
};

use crate::{
    account,
    journey::Journey,
    maps,
    network::HOP_BY_HOP,
    outside,
    packet::{self, Ethernet, Frame, Framed, Ipv4Front, Ipv6Front},
    parse::Kind,
    skb::Skb,
};

/// The end of a journey that passed `from_endpoint`: what the hook returns for a frame that took its shortcut; `None`
/// where it is the stack's, unchanged.
#[inline(always)]
pub fn take(skb: Skb, journey: &Journey) -> Option<i32> {
    let dst = journey.judgement.dst;
    let is_between_globals = journey.judgement.flags & FlowEntry::GLOBAL != 0;
    if journey.judgement.would_drop() || journey.packet.kind != Kind::Plain || !is_between_globals {
        return None;
    }
    if dst == EndpointId::REMOTE {
        return outside::leave(skb);
    }
    if dst == EndpointId::HOST || dst == journey.endpoint {
        return None;
    }
    let (from, to) = (maps::SHORTCUTS.get_ptr_mut(journey.endpoint.0)?, maps::SHORTCUTS.get_ptr_mut(dst.0)?);
    // SAFETY: two array entries, which live as long as the program. While the daemon changes one its kinds are unset.
    let (from, to) = unsafe { (&mut *from, &*to) };
    let lease = maps::LEASE.get(0)?;
    let kinds = lease.flags & from.flags & to.flags;
    let now = journey.now;
    if kinds == 0 || now >= lease.until {
        return None;
    }
    let is_v4 = journey.packet.key.src.is_v4();
    let way = from.way(to, kinds, skb.destination()?, is_v4, largest_for(to, skb, journey));
    if way == Way::Stack {
        return None;
    }
    if from.bridge != 0 && now >= from.refresh {
        from.refresh = now + Shortcut::REFRESH;
        return None;
    }
    if way == Way::Routed {
        hand_on(skb, is_v4, |ethernet| next_link(to, ethernet))?;
    }
    // Before 6.15 the receiver's stack would take it for somebody else's.
    skb.is_now_for_us();
    account::count_received(dst, journey.weight);
    Some(skb.redirect_peer(to.ifindex))
}

/// [`largest_packet`] towards an endpoint. There the kernel may tell what only the stack would have known.
#[inline(always)]
pub fn largest_for(to: &Shortcut, skb: Skb, journey: &Journey) -> u32 {
    match largest_packet(skb, journey) {
        UNKNOWN if skb.pieces_fit(to.mtu, to.ifindex) => to.mtu,
        bytes => bytes,
    }
}

/// Bytes of the largest packet that the frame becomes, from the IP header on.
#[inline(always)]
pub fn largest_packet(skb: Skb, journey: &Journey) -> u32 {
    let headers = u32::from(journey.packet.payload_at.get());
    match skb.segment() {
        0 => skb.length() - packet::ETHERNET,
        // Of others it may be what a tunnel carries that is cut: only the stack knows how large the pieces are.
        _ if journey.packet.key.protocol != protocol::TCP => UNKNOWN,
        payload => headers - packet::ETHERNET + payload,
    }
}

/// Larger than any packet.
const UNKNOWN: u32 = u32::MAX;

/// A router's work (RFC 1812 §5.3.1, RFC 8200 §3): one hop less, and a frame of the next link. Who has no hop left
/// is told so by the stack.
#[inline(always)]
pub fn hand_on(skb: Skb, is_v4: bool, next_link: impl Fn(&mut Ethernet)) -> Option<()> {
    if is_v4 {
        let Framed { ethernet, inner: ip } = skb.front::<Framed<Ipv4Front>>()?;
        ip.ttl = less(ip.ttl)?;
        // The header sums up to the same.
        ip.checksum = one_less(ip.checksum);
        next_link(ethernet);
        return Some(());
    }
    let Framed { ethernet, inner: ip } = skb.front::<Framed<Ipv6Front>>()?;
    // Its options are for every router (RFC 8200 §4.3).
    if ip.next_header == HOP_BY_HOP {
        return None;
    }
    ip.hop_limit = less(ip.hop_limit)?;
    next_link(ethernet);
    skb.add_to_sum(ONE_HOP_LESS);
    Some(())
}

#[inline(always)]
pub const fn next_link(to: &Shortcut, ethernet: &mut Ethernet) {
    let Shortcut { mac, gateway, .. } = *to;
    (ethernet.dst, ethernet.src) = (mac, gateway);
}

/// What one hop less adds to the sum over an IPv6 packet: the complement of the old word, and the new one, in which the
/// hop limit is the last byte (RFC 1624).
const ONE_HOP_LESS: u32 = 0xffff_fffe_u32.to_be();

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

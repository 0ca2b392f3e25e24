//! Fragments: what the first one says, the later ones are judged by. Nothing is reassembled.

use enforcer_common::{
    flow::FlowKey,
    fragment::{FRAGMENT_TIMEOUT, FragmentEntry, FragmentKey},
};

use crate::{
    journey::Journey,
    maps, packet,
    parse::{Packet, Place},
};

/// Gives a later fragment the ports of its datagram, when its first fragment has passed. Without, it stays
/// [`FlowKey::NO_PORTS`]. False when it would overwrite what the first one was judged by.
#[inline(always)]
pub fn resolve(packet: &Packet) -> bool {
    packet.fragment.place.get() != Place::Later || resolve_later() != 0
}

/// A station of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn resolve_later() -> u32 {
    let Some(Journey { packet, .. }) = Journey::current() else { return 0 };
    // SAFETY: the kernel keeps the entry readable until this program ends.
    let Some(first) = (unsafe { maps::FRAGMENTS.get(datagram(packet)) }) else { return 1 };
    // Another CPU may have seen the first one after `now` was read.
    let age = packet::now().wrapping_sub(first.seen) as i64;
    if age >= FRAGMENT_TIMEOUT as i64 {
        return 1;
    }
    if packet.fragment.offset < first.header_bytes {
        return 0;
    }
    packet.key = FlowKey {
        src_port: first.src_port,
        dst_port: first.dst_port,
        protocol: first.protocol,
        icmp_type: first.icmp_type,
        icmp_code: first.icmp_code,
        flags: 0,
        ..packet.key
    };
    1
}

/// Remembers what a first fragment that goes on says.
#[inline(always)]
pub fn remember(packet: &Packet) {
    if packet.fragment.place.get() == Place::First {
        remember_first();
    }
}

/// A station of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn remember_first() -> u32 {
    let Some(Journey { packet, .. }) = Journey::current() else { return 0 };
    let key = &packet.key;
    let entry = FragmentEntry {
        seen: packet::now(),
        src_port: key.src_port,
        dst_port: key.dst_port,
        header_bytes: packet.fragment.header_bytes.get(),
        protocol: key.protocol,
        icmp_type: key.icmp_type,
        icmp_code: key.icmp_code,
        reserved: [0; 7],
    };
    // Fails only for want of memory; then the later ones have no ports.
    let _ = maps::FRAGMENTS.insert(datagram(packet), entry, 0);
    0
}

#[inline(always)]
fn datagram(packet: &Packet) -> FragmentKey {
    let FlowKey { src, dst, protocol, .. } = packet.key;
    let protocol = if src.is_v4() { u32::from(protocol) } else { 0 };
    FragmentKey { src, dst, id: packet.fragment.id, protocol }
}

//! From a workload to the outside and back, past the host's stack but by its routes. What needs more than that, and what
//! nobody said may be done without the stack, goes by it.
//!
//! A packet that leaves passes the queues and programs of its interface as ever. One that enters is put into the
//! workload's interface as the stack would put it there: `to_endpoint` judges and counts it.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup, bpf_redir_neigh},
    helpers::bpf_fib_lookup as look_up_route,
};
use enforcer_common::{address, shortcut::Shortcut};

use crate::{
    NEXT_PROGRAM, endpoint,
    journey::Journey,
    maps,
    packet::{Frame, Framed, Ipv4Front, Ipv6Front},
    parse::Kind,
    shortcut::{hand_on, largest_for, largest_packet, next_link},
    skb::Skb,
};

/// Address families of linux/socket.h.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `BPF_FIB_LKUP_RET_SUCCESS`: there is a route, the packet is not too big for it, and its neighbour is known.
const FOUND: i64 = 0;
/// Traffic class and flow label (RFC 8200 §3), as they lie in the packet.
const FLOW_INFO: u32 = 0x0fff_ffff_u32.to_be();

/// What an endpoint sends to somebody who is not of this host: what the hook returns, or `None` where it is the stack's.
#[inline(always)]
pub fn leave(skb: Skb) -> Option<i32> {
    told(forward_out(skb.context()))
}

/// What comes from outside, was understood, and is perhaps for an endpoint of this host: the same.
#[inline(always)]
pub fn enter(skb: Skb) -> Option<i32> {
    told(forward_in(skb.context()))
}

#[inline(always)]
fn told(action: i32) -> Option<i32> {
    (action != NEXT_PROGRAM).then_some(action)
}

/// A station of its own, for its room on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_out(context: *mut __sk_buff) -> i32 {
    out(Skb::from_context(context)).unwrap_or(NEXT_PROGRAM)
}

/// See [`forward_out`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_in(context: *mut __sk_buff) -> i32 {
    into(Skb::from_context(context)).unwrap_or(NEXT_PROGRAM)
}

#[inline(always)]
fn out(skb: Skb) -> Option<i32> {
    let journey = Journey::current()?;
    let kinds = leased(journey)?;
    let from = maps::SHORTCUTS.get_ptr_mut(journey.endpoint.0)?;
    // SAFETY: an array entry lives as long as the program. While the daemon changes it its kinds are unset.
    let from = unsafe { &mut *from };
    let kinds = kinds & from.flags;
    if kinds == 0 || skb.destination()? != from.gateway {
        return None;
    }
    if from.bridge != 0 && journey.now >= from.refresh {
        from.refresh = journey.now + Shortcut::REFRESH;
        return None;
    }
    let ingress = if from.bridge == 0 { from.ifindex } else { from.bridge };
    let mut route = question(skb, journey, ingress)?;
    // SAFETY: the helper reads and writes within the size that it is told.
    let found =
        unsafe { look_up_route(skb.context().cast(), &raw mut route, size_of::<bpf_fib_lookup>() as i32, 0) };
    // The stack asks for neighbours, and tells senders of those who do not answer.
    if found != FOUND {
        return None;
    }
    // SAFETY: the daemon replaces values whole; a freed one stays readable until this program ends.
    let allowed = unsafe { maps::OUTSIDE.get(route.ifindex)? };
    if kinds & allowed == 0 {
        return None;
    }
    hand_on(skb, journey.packet.key.src.is_v4(), |_| ())?;
    skb.set_stamp(journey.stamp);
    Some(skb.redirect_neighbor(route.ifindex, &mut neighbor(&route)))
}

#[inline(always)]
fn into(skb: Skb) -> Option<i32> {
    let journey = Journey::current()?;
    let kinds = leased(journey)?;
    let key = &journey.packet.key;
    // SAFETY: see `out`.
    let kinds = kinds & unsafe { maps::OUTSIDE.get(skb.ifindex())? };
    if kinds == 0 || !skb.is_for_us() || !address::are_global(key.src, key.dst) {
        return None;
    }
    let to = maps::SHORTCUTS.get(endpoint::owner(key.dst).endpoint.0)?;
    if kinds & to.flags == 0 || largest_for(to, skb, journey) > to.mtu {
        return None;
    }
    hand_on(skb, key.src.is_v4(), |ethernet| next_link(to, ethernet))?;
    Some(skb.redirect(to.ifindex))
}

/// The kind of way that the packet needs, if any of it may be taken now.
#[inline(always)]
fn leased(journey: &Journey) -> Option<u32> {
    let lease = maps::LEASE.get(0)?;
    if lease.flags == 0 || journey.now >= lease.until || journey.packet.kind != Kind::Plain {
        return None;
    }
    let kinds = lease.flags & Shortcut::routed(journey.packet.key.src.is_v4());
    (kinds != 0).then_some(kinds)
}

/// What the host's routes are asked: as its stack would ask for a packet that came in by `ingress`.
#[inline(always)]
fn question(skb: Skb, journey: &Journey, ingress: u32) -> Option<bpf_fib_lookup> {
    let key = &journey.packet.key;
    let bytes = largest_packet(skb, journey);
    if bytes > u32::from(u16::MAX) {
        return None;
    }
    // SAFETY: numbers, for which zero is a value.
    let mut route: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    (route.l4_protocol, route.sport, route.dport) = (key.protocol, key.src_port, key.dst_port);
    route.ifindex = ingress;
    route.__bindgen_anon_1.tot_len = bytes as u16;
    let mut cursor = skb.cursor();
    if key.src.is_v4() {
        route.family = AF_INET;
        route.__bindgen_anon_2.tos = cursor.take::<Framed<Ipv4Front>>()?.inner.tos;
        route.__bindgen_anon_3.ipv4_src = key.src.0[3];
        route.__bindgen_anon_4.ipv4_dst = key.dst.0[3];
    } else {
        route.family = AF_INET6;
        let front = cursor.take::<Framed<Ipv6Front>>()?;
        route.__bindgen_anon_2.flowinfo = front.inner.version_class_label & FLOW_INFO;
        route.__bindgen_anon_3.ipv6_src = key.src.0;
        route.__bindgen_anon_4.ipv6_dst = key.dst.0;
    }
    Some(route)
}

/// Who is next on a route: a router, or the destination itself. A router may be of the other family.
#[inline(always)]
fn neighbor(route: &bpf_fib_lookup) -> bpf_redir_neigh {
    // SAFETY: numbers, for which zero is a value; the helper has written the address of the family.
    unsafe {
        let mut next: bpf_redir_neigh = core::mem::zeroed();
        next.nh_family = u32::from(route.family);
        next.__bindgen_anon_1.ipv6_nh = route.__bindgen_anon_4.ipv6_dst;
        next
    }
}

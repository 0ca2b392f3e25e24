//! Flow records: what a packet costs when its flow is known. Two tables, so that denied traffic cannot
//! push out allowed flows; both are observation and cache, never truth.

use core::{arch::asm, ptr};

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::LruHashMap};
use enforcer_common::{
    control::Control,
    counter::Weight,
    endpoint::EndpointId,
    flow::{FlowEntry, FlowKey},
    verdict::Verdict,
};

use crate::{
    journey::{Journey, Judgement},
    maps,
    parse::Packet,
};

/// Which side of a flow asks for its record.
#[derive(Clone, Copy)]
pub enum Asking {
    /// The endpoint that sends.
    Sender(EndpointId),
    /// The endpoint that receives, and the stamp that the packet carries.
    Receiver { dst: EndpointId, stamp: u32 },
}

/// The judgement of an earlier packet of this direction, not relaxed, while it stands: same generation, same facts,
/// and the address checks were made for the endpoints that ask. With it comes the record to count in.
#[inline(always)]
pub fn recall(journey: &mut Journey, asking: Asking, ifindex: u32) -> Option<(Judgement, *mut FlowEntry)> {
    let (key, control) = (&journey.packet.key, &journey.control);
    if let Some(entry) = maps::FLOWS.get_ptr_mut(key)
        && let Some(judgement) = standing(entry, control, asking)
    {
        return Some((judgement, entry));
    }
    journey.denied_key = denied(key, ifindex);
    let denied_key = &journey.denied_key;
    let entry = maps::DENIED.get_ptr_mut(denied_key)?;
    Some((standing(entry, &journey.control, asking)?, entry))
}

#[inline(always)]
fn standing(entry: *mut FlowEntry, control: &Control, asking: Asking) -> Option<Judgement> {
    // SAFETY: the kernel keeps the entry readable until this program ends. Another CPU may be renewing
    // it: `facts` is read first here, and written last there.
    let entry = unsafe {
        if ptr::read_volatile(&raw const (*entry).facts) != control.facts {
            return None;
        }
        &*entry
    };
    let checked = match asking {
        Asking::Sender(src) => entry.src_endpoint == src,
        Asking::Receiver { dst, stamp } => entry.dst_endpoint == dst && entry.stamp == stamp,
    };
    // What somebody sends to itself meets both hooks of one interface, which ask different questions.
    let to_itself = entry.src_endpoint == entry.dst_endpoint;
    if !checked || to_itself || entry.control != control.active || entry.flags & FlowEntry::CACHED == 0 {
        return None;
    }
    Some(Judgement {
        network: entry.network,
        rule: entry.rule,
        src: entry.src_endpoint,
        dst: entry.dst_endpoint,
        stamp: entry.stamp,
        // Relaxed by the mode of that moment; today's may be another.
        verdict: Verdict::strict_code(entry.verdict),
        flags: entry.flags,
        reserved: [0; 2],
    })
}

/// Counts the first packet that a judgement was made for, and keeps the judgement for the next one. A
/// station of its own, for the room on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_record(ifindex: u32, packets: u32, bytes: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Journey { packet: Packet { key, .. }, judgement, denied_key, .. } = journey;
    let weight = Weight { packets, bytes };
    if judgement.is_pass() && !judgement.would_drop() {
        record_in(&maps::FLOWS, &journey.packet.key, journey, weight);
    } else {
        *denied_key = denied(key, ifindex);
        record_in(&maps::DENIED, &journey.denied_key, journey, weight);
    }
    0
}

#[inline(always)]
fn record_in<const N: usize>(
    table: &LruHashMap<FlowKey, FlowEntry, N>,
    key: &FlowKey,
    journey: &Journey,
    weight: Weight,
) {
    let Journey { control, judgement, now, .. } = journey;
    if let Some(entry) = table.get_ptr_mut(key) {
        start_anew(entry, journey);
        renew(entry, control, judgement);
        return count(entry, *now, weight);
    }
    let entry = FlowEntry {
        packets: u64::from(weight.packets),
        bytes: u64::from(weight.bytes),
        first_seen: *now,
        last_seen: *now,
        control: control.active,
        facts: control.facts,
        network: judgement.network,
        rule: judgement.rule,
        src_endpoint: judgement.src,
        dst_endpoint: judgement.dst,
        verdict: judgement.verdict,
        flags: judgement.flags,
        reserved: [0; 2],
        stamp: judgement.stamp,
    };
    if table.insert(key, entry, u64::from(BPF_NOEXIST)).is_err()
        // Another CPU was first with the same flow.
        && let Some(entry) = table.get_ptr_mut(key)
    {
        count(entry, *now, weight);
    }
}

/// Gives an old record the judgement of today. No other CPU may take a half-written one for valid:
/// `facts` never has this value while the rest is being written.
#[inline(always)]
fn renew(entry: *mut FlowEntry, control: &Control, judgement: &Judgement) {
    // SAFETY: see `standing`; volatile keeps the order.
    unsafe {
        ptr::write_volatile(&raw mut (*entry).facts, !control.facts);
        ptr::write_volatile(&raw mut (*entry).control, control.active);
        ptr::write_volatile(&raw mut (*entry).network, judgement.network);
        ptr::write_volatile(&raw mut (*entry).rule, judgement.rule);
        ptr::write_volatile(&raw mut (*entry).src_endpoint, judgement.src);
        ptr::write_volatile(&raw mut (*entry).dst_endpoint, judgement.dst);
        ptr::write_volatile(&raw mut (*entry).verdict, judgement.verdict);
        ptr::write_volatile(&raw mut (*entry).flags, judgement.flags);
        ptr::write_volatile(&raw mut (*entry).stamp, judgement.stamp);
        ptr::write_volatile(&raw mut (*entry).facts, control.facts);
    }
}

/// Counts a packet of a recorded flow, whose judgement was recalled.
#[inline(always)]
pub fn count_known(entry: *mut FlowEntry, journey: &Journey, weight: Weight) {
    start_anew(entry, journey);
    count(entry, journey.now, weight);
}

/// A record of what is not admitted counts packets of one verdict: another mode begins another count.
#[inline(always)]
fn start_anew(entry: *mut FlowEntry, journey: &Journey) {
    let judgement = &journey.judgement;
    let admitted = judgement.is_pass() && !judgement.would_drop();
    // SAFETY: see `standing`; a packet that another CPU counts meanwhile may be lost.
    unsafe {
        if admitted || (*entry).verdict == judgement.verdict {
            return;
        }
        ptr::write_volatile(&raw mut (*entry).verdict, judgement.verdict);
        ptr::write_volatile(&raw mut (*entry).packets, 0);
        ptr::write_volatile(&raw mut (*entry).bytes, 0);
        ptr::write_volatile(&raw mut (*entry).first_seen, journey.now);
    }
}

/// Counts a frame.
#[inline(always)]
fn count(entry: *mut FlowEntry, now: u64, weight: Weight) {
    // SAFETY: see `standing`; the counts are only ever added to, atomically.
    unsafe {
        atomic_add(&raw mut (*entry).packets, u64::from(weight.packets));
        atomic_add(&raw mut (*entry).bytes, u64::from(weight.bytes));
        (*entry).last_seen = now;
    }
}

/// Several CPUs may carry packets of one flow at once, and a count that loses packets is none.
///
/// # Safety
/// `counter` points to an aligned, live u64.
#[inline(always)]
unsafe fn atomic_add(counter: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {v}", p = in(reg) counter, v = in(reg) value) }
}

/// Denials are kept apart by interface: who spoofs a flow must not touch its owner's record.
#[inline(always)]
const fn denied(key: &FlowKey, ifindex: u32) -> FlowKey {
    FlowKey { ifindex, ..*key }
}

//! Flow records: what a packet costs when its flow is known. What is denied lies in a table of its own, so that it
//! cannot push out allowed flows; all are observation and cache, never truth.

use core::ptr;

use aya_ebpf::{bindings::BPF_NOEXIST, btf_maps::LruHashMap};
use enforcer_common::{
    control::Control,
    counter::Weight,
    endpoint::EndpointId,
    flow::{FlowEntry, FlowKey, SECOND, ShortId, Why, tick},
    limits::DENIED_PER_SECOND,
    verdict::Verdict,
};

use crate::{
    config, flow_table,
    journey::{Journey, Judgement},
    maps, policy, state,
};

/// Endpoints that have an [`Allowance`] of their own; others share one. A power of two.
pub const ALLOWANCES: usize = 256;

/// What one CPU has spent of [`DENIED_PER_SECOND`] on an endpoint.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Allowance {
    second: u32,
    spent: u32,
}

/// Which side of a flow asks for its record.
#[derive(Clone, Copy)]
pub enum Asking {
    /// The endpoint that sends.
    Sender(EndpointId),
    /// The endpoint that receives, and the stamp that the packet carries.
    Receiver { dst: EndpointId, stamp: u32 },
}

/// Leaves in the journey the judgement of an earlier packet of this direction, not relaxed, while it stands: same facts,
/// the same generation or one since which neither address means anything else, and the address checks were made for the
/// endpoints that ask. Returns the record to count in.
#[inline(always)]
pub fn recall(journey: &mut Journey, asking: Asking, ifindex: u32) -> Option<*mut FlowEntry> {
    if let Some(entry) = flow_table::find(journey)
        && stands(entry, journey, asking)
    {
        return Some(entry);
    }
    let entry = flow_table::find_denied(journey, ifindex)?;
    stands(entry, journey, asking).then_some(entry)
}

#[inline(always)]
fn stands(entry: *mut FlowEntry, journey: &mut Journey, asking: Asking) -> bool {
    // SAFETY: the kernel keeps the entry readable until this program ends. In the kernel's tables another CPU may be
    // renewing it: `facts` is read first here, and written last there.
    let facts = unsafe { ptr::read_volatile(&raw const (*entry).facts) };
    if facts != journey.control.facts as u32 {
        return false;
    }
    // SAFETY: see above.
    let known = unsafe { &*entry };
    let checked = match asking {
        Asking::Sender(src) => {
            known.src_endpoint == ShortId::new(src) && known.flags & FlowEntry::RECEIVED == 0
        }
        Asking::Receiver { dst, stamp } => known.dst_endpoint == ShortId::new(dst) && known.stamp == stamp,
    };
    // What somebody sends to itself meets both hooks of one interface, which ask different questions.
    let to_itself = known.src_endpoint == known.dst_endpoint;
    let is_kept = checked && !to_itself && known.flags & FlowEntry::CACHED != 0 && known.verdict != 0;
    if !is_kept || !still_holds(entry, &journey.control) {
        return false;
    }
    journey.judgement = Judgement {
        network: known.why.network(),
        rule: known.why.rule(),
        src: known.src_endpoint.id(),
        dst: known.dst_endpoint.id(),
        stamp: known.stamp,
        // Relaxed by the mode of that moment; today's may be another.
        verdict: Verdict::strict_code(known.verdict),
        flags: known.flags,
        reserved: [0; 2],
    };
    true
}

/// Whether what an entry says under the facts of today holds under the generation that decides now. It is from then on of
/// that generation; not in the kernel's tables, where another CPU may have made it another judgement by then.
#[inline(always)]
fn still_holds(entry: *mut FlowEntry, control: &Control) -> bool {
    let today = control.active.generation() as u32;
    // SAFETY: see `stands`.
    let generation = unsafe { ptr::read_volatile(&raw const (*entry).generation) };
    if generation == today {
        return true;
    }
    if config::kernel_tables() || policy::means_the_same_since(generation) == 0 {
        return false;
    }
    // SAFETY: see `stands`; no other CPU writes there.
    unsafe { ptr::write_volatile(&raw mut (*entry).generation, today) };
    true
}

/// Whether what an entry says was said under the generation and the facts that decide now.
#[inline(always)]
fn is_of_today(entry: *mut FlowEntry, control: &Control) -> bool {
    // SAFETY: see `stands`.
    unsafe {
        ptr::read_volatile(&raw const (*entry).facts) == control.facts as u32
            && (*entry).generation == control.active.generation() as u32
    }
}

/// Counts the first packet that a judgement was made for, and keeps the judgement for the next one. No packets: it was
/// counted on another CPU, where the next of its flow will not be looked for.
#[inline(always)]
pub fn record(journey: &Journey, ifindex: u32, weight: Weight) {
    let admits = journey.judgement.is_admitted();
    let only_kept = weight.packets == 0;
    // Any address may be forged: with a record each there would be none for anybody else.
    if Verdict::is_forged_code(journey.judgement.verdict) {
        return;
    }
    if only_kept && (!admits || journey.judgement.flags & FlowEntry::CACHED == 0 || config::kernel_tables()) {
        return;
    }
    // Two stations, and neither calls the other: kernels before 6.8 count the stack of both then.
    if !config::kernel_tables() {
        if admits {
            flow_table::flow_place()
        } else {
            flow_table::flow_place_denied(ifindex)
        };
    }
    flow_record(ifindex, weight.packets, weight.bytes);
}

/// A station of its own, for the room on the stack: [`record`] where the flow has its place.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_record(ifindex: u32, packets: u32, bytes: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let weight = Weight { packets, bytes };
    if journey.judgement.is_admitted() {
        record_allowed(journey, weight);
    } else {
        record_denied(journey, ifindex, weight);
    }
    0
}

#[inline(always)]
fn record_allowed(journey: &Journey, weight: Weight) {
    let only_kept = weight.packets == 0;
    let found = if config::kernel_tables() {
        let key = &journey.packet.key;
        maps::FLOWS.get_ptr_mut(key).or_else(|| made(&maps::FLOWS, key, journey))
    } else {
        flow_table::placed(journey)
    };
    let Some(entry) = found else { return };
    // What stands is the sender's, who sees another side of it.
    if !only_kept || !is_of_today(entry, &journey.control) {
        renew(entry, journey, if only_kept { FlowEntry::RECEIVED } else { 0 });
    }
    count_admitted(entry, journey, weight);
}

#[inline(always)]
fn record_denied(journey: &mut Journey, ifindex: u32, weight: Weight) {
    let found = if config::kernel_tables() {
        shared_denied(journey, ifindex)
    } else {
        flow_table::placed_denied(journey)
    };
    let Some(entry) = found else { return };
    start_anew(entry, journey);
    renew(entry, journey, 0);
    count(entry, journey, weight);
}

#[inline(always)]
fn shared_denied(journey: &mut Journey, ifindex: u32) -> Option<*mut FlowEntry> {
    let known = flow_table::find_denied(journey, ifindex);
    if known.is_some() || !has_room(journey) {
        return known;
    }
    made(&maps::DENIED, &journey.denied_key, journey)
}

/// Whether one more denied flow at an endpoint is remembered: who tries all ports is counted and told of, but must not
/// push out what others are denied. What only a policy is against and a mode lets go on is wanted whole, for the policy
/// that is made of it.
#[inline(always)]
pub fn has_room(journey: &mut Journey) -> bool {
    let Journey { now, endpoint, judgement, allowances, .. } = journey;
    if judgement.would_drop() && judgement.is_of_proven_source() {
        return true;
    }
    let allowance = &mut allowances[endpoint.0 as usize % ALLOWANCES];
    let second = (*now >> SECOND) as u32;
    if allowance.second != second {
        *allowance = Allowance { second, spent: 0 };
    }
    allowance.spent += 1;
    allowance.spent <= DENIED_PER_SECOND
}

/// A new entry in a table that all CPUs share.
#[inline(always)]
fn made<const N: usize>(
    table: &LruHashMap<FlowKey, FlowEntry, N>,
    key: &FlowKey,
    journey: &Journey,
) -> Option<*mut FlowEntry> {
    let (first_seen, facts) = (tick(journey.now), !journey.control.facts as u32);
    // Of this verdict, so that nobody takes its counts for another's.
    let blank = FlowEntry { facts, first_seen, verdict: journey.judgement.verdict, ..FlowEntry::default() };
    // It fails where another CPU is first with the same flow, which is as good.
    let _ = table.insert(key, blank, u64::from(BPF_NOEXIST));
    table.get_ptr_mut(key)
}

/// Makes an entry say nothing, not under the `facts` of today either.
#[inline(always)]
pub fn wipe(entry: *mut FlowEntry, now: u32, facts: u32) {
    // SAFETY: see `stands`. A reader in user space takes it for nothing from its verdict on.
    unsafe {
        ptr::write_volatile(&raw mut (*entry).verdict, 0);
        ptr::write_volatile(&raw mut (*entry).facts, !facts);
        ptr::write_volatile(&raw mut (*entry).packets, 0);
        ptr::write_volatile(&raw mut (*entry).bytes, 0);
        ptr::write_volatile(&raw mut (*entry).first_seen, now);
    }
}

/// Gives an entry the judgement of today. No other CPU may take a half-written one for valid: `facts` never has this
/// value while the rest is being written. A reader in user space takes it for one from its verdict on.
#[inline(always)]
fn renew(entry: *mut FlowEntry, journey: &Journey, more_flags: u8) {
    let Journey { control, judgement, .. } = journey;
    let facts = control.facts as u32;
    // SAFETY: see `stands`; volatile keeps the order.
    unsafe {
        ptr::write_volatile(&raw mut (*entry).facts, !facts);
        ptr::write_volatile(&raw mut (*entry).generation, control.active.generation() as u32);
        ptr::write_volatile(&raw mut (*entry).why, Why::new(judgement.network, judgement.rule));
        ptr::write_volatile(&raw mut (*entry).src_endpoint, ShortId::new(judgement.src));
        ptr::write_volatile(&raw mut (*entry).dst_endpoint, ShortId::new(judgement.dst));
        ptr::write_volatile(&raw mut (*entry).flags, judgement.flags | more_flags);
        ptr::write_volatile(&raw mut (*entry).stamp, judgement.stamp);
        // Not what another flow left there.
        ptr::write_volatile(&raw mut (*entry).refreshed, FlowEntry::stale(journey.now));
        ptr::write_volatile(&raw mut (*entry).verdict, judgement.verdict);
        ptr::write_volatile(&raw mut (*entry).facts, facts);
    }
}

/// Of a packet, before it looks: what another CPU sees meanwhile, the next packet looks at.
#[inline(always)]
pub fn freshness(journey: &Journey) -> u16 {
    FlowEntry::freshness(journey.now, state::turns(&journey.packet.key))
}

/// Whether the conversation of a recorded flow was refreshed in this second, and behind all turns that it may have taken.
#[inline(always)]
pub fn is_fresh(entry: *mut FlowEntry, journey: &Journey, freshness: u16) -> bool {
    // SAFETY: see `stands`.
    unsafe { (*entry).is_fresh(journey.now, freshness) }
}

/// The conversation of a recorded flow was refreshed.
#[inline(always)]
pub fn refresh(entry: *mut FlowEntry, journey: &Journey, freshness: u16) {
    if !journey.looks_only {
        // SAFETY: see `stands`; whoever else writes there has refreshed it, too.
        unsafe { ptr::write_volatile(&raw mut (*entry).refreshed, freshness) }
    }
}

/// A packet of a recorded flow that was counted elsewhere.
#[inline(always)]
pub fn touch(entry: *mut FlowEntry, journey: &Journey) {
    // SAFETY: see `stands`.
    unsafe { (*entry).last_seen = tick(journey.now) }
}

/// Counts a packet of a recorded flow that is admitted.
#[inline(always)]
pub fn count_admitted(entry: *mut FlowEntry, journey: &Journey, weight: Weight) {
    count(entry, journey, weight);
}

/// Counts a packet of a recorded flow that is not admitted.
#[inline(always)]
pub fn count_refused(entry: *mut FlowEntry, journey: &Journey, weight: Weight) {
    start_anew(entry, journey);
    count(entry, journey, weight);
}

/// A record of what is not admitted counts packets of one verdict: another mode begins another count.
#[inline(always)]
fn start_anew(entry: *mut FlowEntry, journey: &Journey) {
    // SAFETY: see `stands`; a packet that another CPU counts meanwhile may be lost.
    unsafe {
        let verdict = (*entry).verdict;
        // What says nothing counts nothing.
        if verdict == journey.judgement.verdict || verdict == 0 {
            return;
        }
        ptr::write_volatile(&raw mut (*entry).packets, 0);
        ptr::write_volatile(&raw mut (*entry).bytes, 0);
        ptr::write_volatile(&raw mut (*entry).first_seen, tick(journey.now));
        ptr::write_volatile(&raw mut (*entry).verdict, journey.judgement.verdict);
    }
}

/// In tables of ours a flow is this CPU's alone.
#[inline(always)]
fn count(entry: *mut FlowEntry, journey: &Journey, weight: Weight) {
    let (packets, bytes) = (u64::from(weight.packets), u64::from(weight.bytes));
    // SAFETY: see `stands`; what is shared is only ever added to, atomically.
    unsafe {
        if !config::kernel_tables() {
            (*entry).packets = (*entry).packets.wrapping_add(packets);
            (*entry).bytes = (*entry).bytes.wrapping_add(bytes);
        } else {
            maps::atomic_add(&raw mut (*entry).packets, packets);
            maps::atomic_add(&raw mut (*entry).bytes, bytes);
        }
        (*entry).last_seen = tick(journey.now);
    }
}

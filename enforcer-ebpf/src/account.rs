//! The one exit: every packet is counted here, whatever happened to it.

use enforcer_common::{
    counter::Counter, endpoint::EndpointId, event::Hook, flow::FlowEntry, verdict::Verdict,
};

use aya_ebpf::btf_maps::PerCpuArray;

use crate::{datapath::Role, event, flow, journey::Journey, maps, packet::Frame};

/// Where a packet's flow record comes from, if it has one.
#[derive(Clone, Copy)]
pub enum FlowRecord {
    /// Not IP, not readable, or counted by the sender's own hook.
    None,
    /// The judgement was recalled from it.
    Known(*mut FlowEntry),
    /// The judgement was just made.
    New,
}

/// Counts the packet. `counted` says that it was at another hook, unless it is dropped at this one.
#[inline(always)]
pub fn account(
    frame: impl Frame,
    hook: Hook,
    role: Role,
    journey: &Journey,
    record: FlowRecord,
    counted: bool,
) {
    let bytes = frame.length();
    let judgement = &journey.judgement;
    if judgement.is_pass() {
        // What the guard lets through meets the hook that counts it.
        if matches!(hook, Hook::Guard) {
            return;
        }
        count_endpoint(role, journey, bytes);
        if counted {
            return;
        }
    } else {
        count_endpoint(role, journey, bytes);
    }
    if judgement.is_pass() && !judgement.would_drop() {
        count(&maps::REASONS, u32::from(judgement.verdict), bytes);
    } else {
        count_refused(bytes);
        event::event_dropped(frame.ifindex(), bytes, hook as u32);
    }
    // Slot 0 belongs to no network and to no rule; counting there is cheaper than not doing it.
    count(&maps::NETWORK_COUNTERS, journey.judgement.network, bytes);
    count(&maps::RULE_COUNTERS, journey.judgement.rule, bytes);
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::count_known(entry, &journey.judgement, bytes),
        FlowRecord::New => {
            flow::flow_record(frame.ifindex(), bytes);
        }
    }
}

/// The same at an uplink: what passes is the host's business, and no flow of ours.
#[inline(always)]
pub fn account_outside(frame: impl Frame, journey: &Journey) {
    let (bytes, judgement) = (frame.length(), &journey.judgement);
    if judgement.is_pass() && !judgement.would_drop() {
        return count(&maps::REASONS, u32::from(judgement.verdict), bytes);
    }
    count_refused(bytes);
    event::event_dropped(frame.ifindex(), bytes, Hook::FromUplink as u32);
    flow::flow_record(frame.ifindex(), bytes);
}

/// A station of its own: counts the reason of what is dropped, or would be.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_refused(bytes: u32) -> u32 {
    let Some(Journey { judgement, .. }) = Journey::current() else { return 0 };
    let reason = u32::from(Verdict::strict_code(judgement.verdict));
    if judgement.would_drop() {
        count(&maps::WOULD_DROPS, reason, bytes);
    } else {
        count(&maps::REASONS, reason, bytes);
    }
    0
}

#[inline(always)]
fn count<const N: usize>(counters: &PerCpuArray<Counter, N>, slot: u32, bytes: u32) {
    if let Some(counter) = counters.get_ptr_mut(slot) {
        // SAFETY: this CPU's own slot; so for every counter below.
        unsafe { (*counter).add(bytes) }
    }
}

/// Counts for the receiver what does not pass its own hook.
#[inline(always)]
pub fn count_received(receiver: EndpointId, bytes: u32) {
    if let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(receiver.0) {
        // SAFETY: see `count`.
        unsafe { (*counters).received.add(bytes) }
    }
}

#[inline(always)]
fn count_endpoint(role: Role, journey: &Journey, bytes: u32) {
    let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(journey.endpoint.0) else { return };
    // SAFETY: see `count`.
    let counters = unsafe { &mut *counters };
    let counter = match (role, journey.judgement.is_pass()) {
        (Role::Sender, true) => &mut counters.sent,
        (Role::Sender, false) => &mut counters.sent_dropped,
        (Role::Receiver, true) => &mut counters.received,
        (Role::Receiver, false) => &mut counters.received_dropped,
    };
    counter.add(bytes);
}

//! The one exit: every packet is counted here, whatever happened to it.

use enforcer_common::{counter::Counter, event::Hook, flow::FlowEntry};

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

/// Counts the packet. `counted` says that a pass was, at another hook.
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
    if journey.judgement.is_pass() {
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
        event::event_dropped(frame.ifindex(), bytes, hook as u32);
    }
    count(&maps::REASONS, u32::from(journey.judgement.verdict), bytes);
    // Slot 0 belongs to no network and to no rule; counting there is cheaper than not doing it.
    count(&maps::NETWORK_COUNTERS, journey.judgement.network, bytes);
    count(&maps::RULE_COUNTERS, journey.judgement.rule, bytes);
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::count(entry, bytes),
        FlowRecord::New => {
            flow::flow_record(frame.ifindex(), bytes);
        }
    }
}

#[inline(always)]
fn count<const N: usize>(counters: &PerCpuArray<Counter, N>, slot: u32, bytes: u32) {
    if let Some(counter) = counters.get_ptr_mut(slot) {
        // SAFETY: this CPU's own slot; so for every counter below.
        unsafe { (*counter).add(bytes) }
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

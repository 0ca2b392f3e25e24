//! The one exit: every packet is counted here, whatever happened to it.

use enforcer_common::{
    counter::{Counter, Weight},
    endpoint::EndpointId,
    event::Hook,
    flow::FlowEntry,
    verdict::Verdict,
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
    let weight = weight(frame, journey);
    let judgement = &journey.judgement;
    if judgement.is_pass() {
        // What the guard lets through meets the hook that counts it.
        if matches!(hook, Hook::Guard) {
            return;
        }
        count_endpoint(role, journey, weight);
        if counted {
            match record {
                FlowRecord::None => {}
                FlowRecord::Known(entry) => flow::touch(entry, journey),
                FlowRecord::New => {
                    flow::record(journey, frame.ifindex(), Weight { packets: 0, bytes: 0 });
                }
            }
            return;
        }
    } else {
        count_endpoint(role, journey, weight);
    }
    if judgement.is_pass() && !judgement.would_drop() {
        count(&maps::REASONS, u32::from(judgement.verdict), weight);
    } else {
        count_refused(weight.packets, weight.bytes);
        event::event_dropped(frame.ifindex(), frame.length(), hook as u32);
    }
    if judgement.network != 0 {
        count(&maps::NETWORK_COUNTERS, judgement.network, weight);
    }
    if judgement.rule != 0 {
        count(&maps::RULE_COUNTERS, judgement.rule, weight);
    }
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::count_known(entry, journey, weight),
        FlowRecord::New => flow::record(journey, frame.ifindex(), weight),
    }
}

/// The same at an uplink: what passes is the host's business, and no flow of ours.
#[inline(always)]
pub fn account_outside(frame: impl Frame, journey: &Journey) {
    let (weight, judgement) = (weight(frame, journey), &journey.judgement);
    if judgement.is_pass() && !judgement.would_drop() {
        return count(&maps::REASONS, u32::from(judgement.verdict), weight);
    }
    count_refused(weight.packets, weight.bytes);
    event::event_dropped(frame.ifindex(), frame.length(), Hook::FromUplink as u32);
    flow::record(journey, frame.ifindex(), weight);
}

/// A station of its own: counts the reason of what is dropped, or would be.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_refused(packets: u32, bytes: u32) -> u32 {
    let weight = Weight { packets, bytes };
    let Some(Journey { judgement, .. }) = Journey::current() else { return 0 };
    let reason = u32::from(Verdict::strict_code(judgement.verdict));
    if judgement.would_drop() {
        count(&maps::WOULD_DROPS, reason, weight);
    } else {
        count(&maps::REASONS, reason, weight);
    }
    0
}

/// What the frame counts for on the wire.
#[inline(always)]
pub fn weight(frame: impl Frame, journey: &Journey) -> Weight {
    Weight::of(frame.length(), frame.segments(), u32::from(journey.packet.payload_at.get()))
}

#[inline(always)]
fn count<const N: usize>(counters: &PerCpuArray<Counter, N>, slot: u32, weight: Weight) {
    if let Some(counter) = counters.get_ptr_mut(slot) {
        // SAFETY: this CPU's own slot; so for every counter below.
        unsafe { (*counter).add(weight) }
    }
}

/// Counts for the receiver what does not pass its own hook.
#[inline(always)]
pub fn count_received(receiver: EndpointId, weight: Weight) {
    if let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(receiver.0) {
        // SAFETY: see `count`.
        unsafe { (*counters).received.add(weight) }
    }
}

#[inline(always)]
fn count_endpoint(role: Role, journey: &Journey, weight: Weight) {
    let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(journey.endpoint.0) else { return };
    // SAFETY: see `count`.
    let counters = unsafe { &mut *counters };
    let counter = match (role, journey.judgement.is_pass()) {
        (Role::Sender, true) => &mut counters.sent,
        (Role::Sender, false) => &mut counters.sent_dropped,
        (Role::Receiver, true) => &mut counters.received,
        (Role::Receiver, false) => &mut counters.received_dropped,
    };
    counter.add(weight);
}

//! The one exit: every packet is counted here, whatever happened to it.

use enforcer_common::{
    counter::{Counter, EndpointCounters, Weight},
    endpoint::EndpointId,
    event::Hook,
    flow::FlowEntry,
    verdict::Verdict,
};

use aya_ebpf::btf_maps::PerCpuArray;

use crate::{
    datapath::Role,
    event, flow,
    journey::{Journey, Judgement},
    maps,
    packet::Frame,
};

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

/// Counts what nothing is against. `counted` says that another hook did.
#[inline(always)]
pub fn admitted(frame: impl Frame, role: Role, journey: &mut Journey, record: FlowRecord, counted: bool) {
    let weight = weight(frame, journey);
    journey.weight = weight;
    count_endpoint(journey, weight, |counters| match role {
        Role::Sender => &mut counters.sent,
        Role::Receiver => &mut counters.received,
    });
    if counted {
        return count_again(frame, journey, record);
    }
    count(&maps::REASONS, u32::from(journey.judgement.verdict), weight);
    count_deciders(journey, weight);
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::count_admitted(entry, journey, weight),
        FlowRecord::New => flow::record(journey, frame.ifindex(), weight),
    }
}

/// The same of what is dropped, or would be.
#[inline(always)]
pub fn refused(
    frame: impl Frame,
    hook: Hook,
    role: Role,
    journey: &Journey,
    record: FlowRecord,
    counted: bool,
) {
    let weight = weight(frame, journey);
    count_endpoint(journey, weight, |counters| match (role, journey.judgement.is_pass()) {
        (Role::Sender, true) => &mut counters.sent,
        (Role::Sender, false) => &mut counters.sent_dropped,
        (Role::Receiver, true) => &mut counters.received,
        (Role::Receiver, false) => &mut counters.received_dropped,
    });
    if counted {
        return count_again(frame, journey, record);
    }
    count_refused(weight.packets, weight.bytes);
    event::event_dropped(frame.ifindex(), frame.length(), hook as u32);
    count_deciders(journey, weight);
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::count_refused(entry, journey, weight),
        FlowRecord::New => flow::record(journey, frame.ifindex(), weight),
    }
}

/// Of a packet that another hook counted the flow is only known to be alive.
#[inline(always)]
fn count_again(frame: impl Frame, journey: &Journey, record: FlowRecord) {
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::touch(entry, journey),
        FlowRecord::New => flow::record(journey, frame.ifindex(), Weight { packets: 0, bytes: 0 }),
    }
}

/// The same at an uplink: what passes is the host's business, and no flow of ours.
#[inline(always)]
pub fn outside(frame: impl Frame, journey: &Journey) {
    let (weight, judgement) = (weight(frame, journey), &journey.judgement);
    if judgement.is_admitted() {
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
fn weight(frame: impl Frame, journey: &Journey) -> Weight {
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

/// Counts for the network that admits, or the rule that decides.
#[inline(always)]
fn count_deciders(journey: &Journey, weight: Weight) {
    let Judgement { network, rule, .. } = journey.judgement;
    if network != 0 {
        count(&maps::NETWORK_COUNTERS, network, weight);
    }
    if rule != 0 {
        count(&maps::RULE_COUNTERS, rule, weight);
    }
}

/// Counts for the endpoint at this hook.
#[inline(always)]
fn count_endpoint(journey: &Journey, weight: Weight, choose: impl Fn(&mut EndpointCounters) -> &mut Counter) {
    if let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(journey.endpoint.0) {
        // SAFETY: see `count`.
        choose(unsafe { &mut *counters }).add(weight);
    }
}

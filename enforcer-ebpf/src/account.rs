//! How packets are counted, whatever happened to them.

use core::ptr;

use enforcer_common::{
    counter::{Counter, EndpointCounters, Weight},
    endpoint::EndpointId,
    flow::FlowEntry,
    verdict::Verdict,
};

use aya_ebpf::btf_maps::PerCpuArray;

use crate::{
    datapath::Role,
    flow,
    journey::{Journey, Judgement},
    maps,
    packet::Frame,
};

/// Where a packet's flow record comes from, if it has one.
#[derive(Clone, Copy)]
pub struct FlowRecord {
    exists: bool,
    /// Null where there is none to point at, and not nothing, as in an enum: kernels before 6.3 refuse to read from the
    /// stack what was written there on some ways only.
    known: *mut FlowEntry,
}

impl FlowRecord {
    /// Not IP, not readable, or counted by the sender's own hook.
    pub const NONE: Self = Self { exists: false, known: ptr::null_mut() };
    /// The judgement was just made.
    pub const NEW: Self = Self { exists: true, known: ptr::null_mut() };

    /// The judgement was recalled from it.
    #[inline(always)]
    pub const fn known(entry: *mut FlowEntry) -> Self {
        Self { exists: true, known: entry }
    }

    /// Whether there is a flow.
    #[inline(always)]
    pub const fn exists(self) -> bool {
        self.exists
    }

    /// Counts a packet there by `count`, or in a new one.
    #[inline(always)]
    pub fn take(self, frame: impl Frame, journey: &Journey, weight: Weight, count: impl Fn(*mut FlowEntry)) {
        if !self.known.is_null() {
            count(self.known);
        } else if self.exists {
            flow::record(journey, frame.ifindex(), weight);
        }
    }
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
    record.take(frame, journey, weight, |entry| flow::count_admitted(entry, journey, weight));
}

/// Of a packet that another hook counted the flow is only known to be alive.
#[inline(always)]
pub fn count_again(frame: impl Frame, journey: &Journey, record: FlowRecord) {
    record.take(frame, journey, Weight { packets: 0, bytes: 0 }, |entry| flow::touch(entry, journey));
}

/// The same at an uplink: what passes is the host's business, and no flow of ours.
#[inline(always)]
pub fn outside(frame: impl Frame, journey: &Journey) {
    count(&maps::REASONS, u32::from(journey.judgement.verdict), weight(frame, journey));
}

/// Counts what is dropped, or would be: for its reason, and for who decided so.
#[inline(always)]
pub fn count_refused(journey: &Journey, weight: Weight) {
    let reason = u32::from(Verdict::strict_code(journey.judgement.verdict));
    if journey.judgement.would_drop() {
        count(&maps::WOULD_DROPS, reason, weight);
    } else {
        count(&maps::REASONS, reason, weight);
    }
    count_deciders(journey, weight);
}

/// Counts what is dropped, or would be, for the endpoint at this hook.
#[inline(always)]
pub fn count_at_endpoint(role: Role, journey: &Journey, weight: Weight) {
    count_endpoint(journey, weight, |counters| match (role, journey.judgement.is_pass()) {
        (Role::Sender, true) => &mut counters.sent,
        (Role::Sender, false) => &mut counters.sent_dropped,
        (Role::Receiver, true) => &mut counters.received,
        (Role::Receiver, false) => &mut counters.received_dropped,
    });
}

/// What the frame counts for on the wire.
#[inline(always)]
fn weight(frame: impl Frame, journey: &Journey) -> Weight {
    let headers = u32::from(journey.packet.payload_at.get());
    Weight::of(frame.length(), frame.segments(headers), headers)
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

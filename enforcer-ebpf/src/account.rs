//! The one exit: every packet is counted here, whatever happened to it.

use enforcer_common::{event::Hook, flow::FlowEntry};

use crate::{event, flow, journey::Journey, maps, packet::Skb};

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

#[inline(always)]
pub fn account(skb: Skb, hook: Hook, journey: &Journey, record: FlowRecord, counted: bool) {
    let passes = journey.judgement.is_pass();
    let bytes = skb.length();
    count_endpoint(hook, journey, bytes);
    if !passes {
        count_reason(journey, bytes);
        event::dropped(skb, hook, journey);
    } else if !counted {
        count_reason(journey, bytes);
        count_network(journey, bytes);
    }
    match record {
        FlowRecord::None => {}
        FlowRecord::Known(entry) => flow::count(entry, bytes),
        FlowRecord::New => {
            flow::record(&journey.control, &journey.packet.key, &journey.judgement, skb.ifindex(), bytes);
        }
    }
}

#[inline(always)]
fn count_reason(journey: &Journey, bytes: u32) {
    if let Some(counter) = maps::REASONS.get_ptr_mut(u32::from(journey.judgement.verdict)) {
        // SAFETY: this CPU's own slot; so for every counter below.
        unsafe { (*counter).add(bytes) }
    }
}

#[inline(always)]
fn count_network(journey: &Journey, bytes: u32) {
    // Slot 0 belongs to no network; counting there is cheaper than not doing it.
    if let Some(counter) = maps::NETWORK_COUNTERS.get_ptr_mut(journey.judgement.network) {
        // SAFETY: see `count_reason`.
        unsafe { (*counter).add(bytes) }
    }
}

#[inline(always)]
fn count_endpoint(hook: Hook, journey: &Journey, bytes: u32) {
    let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(journey.endpoint.0) else { return };
    // SAFETY: see `count_reason`.
    let counters = unsafe { &mut *counters };
    let counter = match (hook, journey.judgement.is_pass()) {
        (Hook::FromEndpoint | Hook::Guard, true) => &mut counters.sent,
        (Hook::FromEndpoint | Hook::Guard, false) => &mut counters.sent_dropped,
        (Hook::ToEndpoint, true) => &mut counters.received,
        (Hook::ToEndpoint, false) => &mut counters.received_dropped,
    };
    counter.add(bytes);
}

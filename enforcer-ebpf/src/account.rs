//! The one exit: every packet is counted here, whatever happened to it.

use enforcer_common::{
    control::Control, endpoint::EndpointId, event::Hook, flow::FlowEntry, verdict::Verdict,
};

use crate::{event, flow, maps, packet::Skb, parse::Packet, policy::Judgement};

/// A judged packet, on its way out of the datapath.
pub struct Judged<'a> {
    pub skb: Skb,
    pub hook: Hook,
    pub control: &'a Control,
    /// The endpoint behind the hook; [`EndpointId::REMOTE`] where it is not known.
    pub endpoint: EndpointId,
    pub packet: &'a Packet,
    pub judgement: Judgement,
    /// The record that the judgement was recalled from.
    pub entry: Option<*mut FlowEntry>,
    /// The sender's own hook counted the packet already; only a drop is news.
    pub counted: bool,
    /// The packet has a flow: it is IP and was parsed to its end.
    pub has_flow: bool,
}

#[inline(always)]
pub fn account(judged: &Judged<'_>) {
    let verdict = judged.judgement.verdict;
    count_endpoint(judged);
    if !verdict.is_pass() {
        count_reason(judged);
        event::dropped(judged.skb, judged.hook, judged.control, judged.endpoint, &judged.packet.key, verdict);
    } else if !judged.counted {
        count_reason(judged);
        count_network(judged);
    }
    if judged.has_flow && !judged.counted {
        count_flow(judged);
    }
}

#[inline(always)]
fn count_flow(judged: &Judged<'_>) {
    let bytes = judged.skb.length();
    match judged.entry {
        Some(entry) => flow::count(entry, bytes),
        None => {
            flow::record(judged.control, &judged.packet.key, &judged.judgement, judged.skb.ifindex(), bytes)
        }
    }
}

#[inline(always)]
fn count_reason(judged: &Judged<'_>) {
    if let Some(counter) = maps::REASONS.get_ptr_mut(u32::from(judged.judgement.verdict.code())) {
        // SAFETY: this CPU's own slot; so for every counter below.
        unsafe { (*counter).add(judged.skb.length()) }
    }
}

#[inline(always)]
fn count_network(judged: &Judged<'_>) {
    if judged.judgement.network == 0 {
        return;
    }
    if let Some(counter) = maps::NETWORK_COUNTERS.get_ptr_mut(judged.judgement.network) {
        // SAFETY: see `count_reason`.
        unsafe { (*counter).add(judged.skb.length()) }
    }
}

#[inline(always)]
fn count_endpoint(judged: &Judged<'_>) {
    let Some(counters) = maps::ENDPOINT_COUNTERS.get_ptr_mut(judged.endpoint.0) else { return };
    // SAFETY: see `count_reason`.
    let counters = unsafe { &mut *counters };
    let counter = match (judged.hook, judged.judgement.verdict) {
        (Hook::FromEndpoint, Verdict::Pass(_)) => &mut counters.sent,
        (Hook::FromEndpoint, Verdict::Drop(_)) => &mut counters.sent_dropped,
        (Hook::ToEndpoint, Verdict::Pass(_)) => &mut counters.received,
        (Hook::ToEndpoint, Verdict::Drop(_)) => &mut counters.received_dropped,
    };
    counter.add(judged.skb.length());
}

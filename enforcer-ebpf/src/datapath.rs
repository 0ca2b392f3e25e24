//! The whole journey of a packet, on one screen.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use enforcer_common::{event::Hook, verdict::DropReason};

use crate::{
    account::{FlowRecord, account},
    endpoint,
    flow::{self, Asking},
    journey::{Journey, Judgement},
    neighbor,
    packet::Skb,
    parse, policy,
};

/// Judges the packet, counts it, and says whether it goes on.
#[inline(always)]
pub fn enforce(ctx: &TcContext, hook: Hook) -> bool {
    let skb = Skb::new(ctx);
    let Some(journey) = Journey::current() else { return false };
    journey.begin();
    // A stamped packet was counted where it entered; at its destination only a drop is news.
    let counted = matches!(hook, Hook::ToEndpoint) && skb.stamp() != 0;
    let record = judge(skb, hook, journey);
    account(skb, hook, journey, if counted { FlowRecord::None } else { record }, counted);
    trace(ctx, hook, journey);
    let passes = journey.judgement.is_pass();
    if passes && matches!(hook, Hook::FromEndpoint) {
        skb.set_stamp(journey.stamp);
    }
    passes
}

/// Leaves the judgement in the journey; returns where the packet is to be counted.
#[inline(always)]
fn judge(skb: Skb, hook: Hook, journey: &mut Journey) -> FlowRecord {
    let Some(endpoint) = endpoint::behind(skb.ifindex()) else {
        journey.judgement = Judgement::dropped(DropReason::NoEndpoint);
        return FlowRecord::None;
    };
    (journey.endpoint, journey.stamp) = (endpoint.id, endpoint.stamp);
    if let Err(reason) = parse::read(skb) {
        journey.judgement.verdict = reason;
        return FlowRecord::None;
    }
    if matches!(hook, Hook::FromEndpoint) && !endpoint::has_mac(endpoint, journey.packet.mac) {
        journey.judgement = Judgement::dropped(DropReason::SpoofedMac);
        return FlowRecord::None;
    }
    if let Some(judgement) = neighbor::judge(skb, hook, endpoint, &journey.packet) {
        journey.judgement = judgement;
        return FlowRecord::None;
    }
    let asking = match hook {
        Hook::FromEndpoint | Hook::Guard => Asking::Sender(endpoint.id),
        Hook::ToEndpoint => Asking::Receiver { dst: endpoint.id, stamp: skb.stamp() },
    };
    if let Some((judgement, entry)) =
        flow::recall(&journey.control, &journey.packet.key, asking, skb.ifindex())
    {
        journey.judgement = judgement;
        return FlowRecord::Known(entry);
    }
    match hook {
        Hook::FromEndpoint | Hook::Guard => policy::judge_sent(skb.context()),
        Hook::ToEndpoint => policy::judge_delivered(skb.context()),
    };
    FlowRecord::New
}

/// For debugging the datapath itself. The loader freezes the log level at *off* unless asked, and then
/// the verifier removes all of this.
#[inline(always)]
fn trace(ctx: &TcContext, hook: Hook, journey: &Journey) {
    debug!(
        ctx,
        "hook {} verdict {} protocol {} source port {} destination port {}",
        hook as u8,
        journey.judgement.verdict,
        journey.packet.key.protocol,
        u16::from_be(journey.packet.key.src_port),
        u16::from_be(journey.packet.key.dst_port)
    );
}

//! The whole journey of a packet, on one screen.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use enforcer_common::{endpoint::Endpoint, event::Hook, verdict::DropReason};

use crate::{
    account::{self, FlowRecord},
    endpoint,
    flow::{self, Asking},
    flow_table, fragment,
    journey::{Journey, Judgement},
    judge, masked, neighbor,
    packet::{Frame, Origin},
    parse::{self, Kind},
    refusal, uplink,
};

/// Which side of the packet the endpoint at this hook is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Sender,
    Receiver,
}

/// Judges the packet, counts it, and says whether it goes on; if so, with the journey that it has behind it.
#[inline(always)]
pub fn enforce(ctx: &impl EbpfContext, frame: impl Frame, hook: Hook) -> Option<&'static mut Journey> {
    let parsed = parse::read(frame);
    let journey = Journey::current()?;
    // What is sent is proven by the interface that it comes from, and by nothing else.
    let origin = if matches!(hook, Hook::ToEndpoint) { frame.origin() } else { Origin::default() };
    let (role, record) = match endpoint::seated(journey, frame.ifindex()) {
        Some(endpoint) if endpoint.flags & Endpoint::UPLINK == 0 => {
            let role = if matches!(hook, Hook::ToEndpoint) { Role::Receiver } else { Role::Sender };
            (role, judge(frame, parsed, role, endpoint, origin, journey))
        }
        // Of those who come through here only the guard stands on uplinks.
        Some(uplink) if matches!(hook, Hook::Guard) => uplink::judge(frame, parsed, uplink.flags, journey),
        _ => (Role::Sender, dropped(journey, DropReason::NoEndpoint as u8)),
    };
    if journey.judgement.is_admitted() {
        admit(frame, hook, role, origin, record, journey);
    } else {
        refusal::refuse(frame, hook, role, origin, record, journey);
    }
    trace(ctx, hook, journey);
    journey.judgement.is_pass().then_some(journey)
}

/// What nothing is against: most packets, and all that is fast.
#[inline(always)]
fn admit(
    frame: impl Frame,
    hook: Hook,
    role: Role,
    origin: Origin,
    record: FlowRecord,
    journey: &mut Journey,
) {
    if record.exists() {
        fragment::remember(&journey.packet);
    }
    // A stamped packet was counted where it entered; at its destination only a drop is news.
    let counted = origin.stamp != 0 && matches!(hook, Hook::ToEndpoint);
    // What the guard lets through meets the hook that counts it.
    if !matches!(hook, Hook::Guard) {
        account::admitted(frame, role, journey, record, counted);
    }
}

/// The same for what comes from outside, at an uplink. Nobody stamped it, so it bears no stamp from here on
/// either, but one of doubt where it goes on in spite of its judgement. Says, too, whether it was understood.
#[inline(always)]
pub fn receive(ctx: &impl EbpfContext, frame: impl Frame) -> Option<(u32, bool)> {
    let parsed = parse::read(frame);
    let journey = Journey::current()?;
    uplink::receive(frame, parsed.is_ok(), journey);
    if journey.judgement.is_admitted() {
        account::outside(frame, journey);
    } else {
        refusal::refuse(frame, Hook::FromUplink, Role::Sender, Origin::default(), FlowRecord::NEW, journey);
    }
    trace(ctx, Hook::FromUplink, journey);
    let doubt = if journey.judgement.would_drop() { journey.stamp } else { 0 };
    journey.judgement.is_pass().then_some((doubt, parsed.is_ok()))
}

/// Leaves the judgement in the journey; returns where the packet is to be counted.
#[inline(always)]
fn judge(
    frame: impl Frame,
    parsed: Result<(), u8>,
    role: Role,
    endpoint: &Endpoint,
    origin: Origin,
    journey: &mut Journey,
) -> FlowRecord {
    (journey.endpoint, journey.stamp) = (endpoint.id, endpoint.stamp);
    if let Err(reason) = parsed {
        return dropped(journey, reason);
    }
    let claims_other_mac = journey.packet.kind == Kind::Plain && journey.packet.claims_other_mac.get() != 0;
    if role == Role::Sender && (claims_other_mac || !endpoint::has_mac(endpoint, journey.packet.mac)) {
        return dropped(journey, DropReason::SpoofedMac as u8);
    }
    judge_parsed(role, endpoint, [frame.ifindex(); 2], origin, journey)
}

/// The same behind the parser. `ifindex` is the hook's, and then the endpoint's own.
#[inline(always)]
pub fn judge_parsed(
    role: Role,
    endpoint: &Endpoint,
    [hook, ifindex]: [u32; 2],
    origin: Origin,
    journey: &mut Journey,
) -> FlowRecord {
    if !fragment::resolve(&journey.packet) {
        return dropped(journey, DropReason::OverlappingFragment as u8);
    }
    if neighbor::judge(role, origin, ifindex, &journey.packet) {
        return FlowRecord::NONE;
    }
    if role == Role::Sender && judge::is_forged(journey, endpoint, ifindex) {
        return FlowRecord::NEW;
    }
    let record = recall(role, endpoint, hook, origin, journey).unwrap_or_else(|| {
        match role {
            Role::Sender => judge::judge_sent(ifindex),
            Role::Receiver => judge::judge_delivered(ifindex, origin.stamp, u32::from(origin.from_host)),
        };
        FlowRecord::NEW
    });
    let is_masked = journey.judgement.verdict == DropReason::MaskedSource as u8;
    if role == Role::Receiver && is_masked && origin.stamp != 0 && !origin.from_host {
        masked::judge_masked(endpoint.id.0, origin.stamp);
    }
    record
}

/// The judgement of an earlier packet of the flow. What an error quotes is not in its key.
#[inline(always)]
fn recall(
    role: Role,
    endpoint: &Endpoint,
    hook: u32,
    origin: Origin,
    journey: &mut Journey,
) -> Option<FlowRecord> {
    if journey.packet.kind == Kind::Error {
        return None;
    }
    let asking = match role {
        Role::Sender => Asking::Sender(endpoint.id),
        Role::Receiver => Asking::Receiver { dst: endpoint.id, stamp: origin.stamp },
    };
    let entry = flow::recall(journey, asking, hook)?;
    if !judge::still_holds(journey, entry) {
        journey.judgement = Judgement::default();
        return None;
    }
    // What the guard lets through meets the hook that counts it.
    if journey.judgement.is_admitted() && !journey.looks_only {
        flow_table::meet(journey, entry);
    }
    Some(FlowRecord::known(entry))
}

#[inline(always)]
fn dropped(journey: &mut Journey, reason: u8) -> FlowRecord {
    journey.judgement = Judgement { verdict: reason, ..Judgement::default() };
    FlowRecord::NONE
}

/// For debugging the datapath itself. The loader freezes the log level at *off* unless asked, and then
/// the verifier removes all of this.
#[inline(always)]
fn trace(ctx: &impl EbpfContext, hook: Hook, journey: &Journey) {
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

//! What becomes of a packet that is to be dropped, or goes on only because a mode relaxes that. Most packets never get here, so
//! all of it lies off their way.

use enforcer_common::{counter::Weight, event::Hook};

use crate::{
    account::{self, FlowRecord},
    datapath::Role,
    event, flow, fragment,
    journey::Journey,
    packet::{Frame, Origin},
    relax,
};

/// How a packet met a hook: the hook's number, and these.
const HOOK: u32 = 0xff;
/// It enters here.
const ENTERS: u32 = 1 << 8;
/// There is a flow to count it for.
const HAS_FLOW: u32 = 1 << 9;

/// Where a packet was counted: at no hook so far, at an earlier one, or at this one.
const NOWHERE: u32 = 0;
const BEFORE: u32 = 1;
const HERE: u32 = 2;

/// Relaxes the drop that the journey holds, if it is to be; counts it, and tells of it.
#[inline(always)]
pub fn refuse(
    frame: impl Frame,
    hook: Hook,
    role: Role,
    origin: Origin,
    record: FlowRecord,
    journey: &mut Journey,
) {
    let enters = if role == Role::Sender { ENTERS } else { 0 };
    let has_flow = if record.exists() { HAS_FLOW } else { 0 };
    let how = hook as u32 | enters | has_flow;
    let segments = frame.segments(u32::from(journey.packet.payload_at.get()));
    let counted = refuse_packet(how, origin.stamp, frame.ifindex(), frame.length(), segments);
    match counted {
        HERE => record.take(frame, journey, journey.weight, |entry| {
            flow::count_refused(entry, journey, journey.weight)
        }),
        BEFORE => account::count_again(frame, journey, record),
        _ => {}
    }
}

/// A station of its own, verified once for all hooks. Leaves in the journey what the frame counts for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refuse_packet(how: u32, stamp: u32, ifindex: u32, length: u32, segments: u32) -> u32 {
    let Some(journey) = Journey::current() else { return NOWHERE };
    let hook = how & HOOK;
    let role = if how & ENTERS != 0 { Role::Sender } else { Role::Receiver };
    relax::relax(journey, role);
    // Not what could not be read, and not whose sender is not known: others would be judged by its ports.
    if how & HAS_FLOW != 0 && journey.judgement.is_of_proven_source() {
        fragment::remember(&journey.packet);
    }
    let goes_on = journey.judgement.is_pass();
    // What the guard lets through meets the hook that counts it.
    if goes_on && hook == Hook::Guard as u32 {
        return NOWHERE;
    }
    let weight = Weight::of(length, segments, u32::from(journey.packet.payload_at.get()));
    journey.weight = weight;
    account::count_at_endpoint(role, journey, weight);
    if goes_on && hook == Hook::ToEndpoint as u32 && relax::is_relaxed_stamp(stamp) {
        return BEFORE;
    }
    account::count_refused(journey, weight);
    event::tell(journey, ifindex, length, hook);
    HERE
}

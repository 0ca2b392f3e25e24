//! Drop events for the daemon, within a budget per CPU and second; the counters know every drop.

use enforcer_common::{event::DropEvent, limits::EVENTS_PER_SECOND};

use crate::{journey::Journey, maps};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Tells of the packet that this CPU is judging.
#[inline(always)]
pub fn tell(journey: &Journey, ifindex: u32, length: u32, hook: u32) {
    let time = journey.now;
    let Some(budget) = maps::EVENT_BUDGET.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own slot, and the program is not preempted by itself.
    let budget = unsafe { &mut *budget };
    if time >= budget.since.wrapping_add(NANOSECONDS_PER_SECOND) {
        (budget.since, budget.sent) = (time, 0);
    }
    if budget.sent >= u64::from(EVENTS_PER_SECOND) {
        budget.lost += 1;
        return;
    }
    let Some(mut event) = maps::EVENTS.reserve(0) else {
        budget.lost += 1;
        return;
    };
    budget.sent += 1;
    event.write(DropEvent {
        time,
        generation: journey.control.active.generation(),
        key: journey.packet.key,
        ifindex,
        endpoint: journey.endpoint,
        length,
        verdict: journey.judgement.verdict,
        hook: hook as u8,
        reserved: [0; 2],
        rule: journey.judgement.rule,
    });
    event.submit(0);
}

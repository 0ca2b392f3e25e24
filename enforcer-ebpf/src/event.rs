//! Drop events for the daemon, within a budget per CPU and second; the counters know every drop.

use enforcer_common::{event::DropEvent, limits::EVENTS_PER_SECOND};

use crate::{journey::Journey, maps, packet};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Tells of the packet that this CPU is judging. A station of its own, verified once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn event_dropped(ifindex: u32, length: u32, hook: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let time = packet::now();
    let Some(budget) = maps::EVENT_BUDGET.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own slot, and the program is not preempted by itself.
    let budget = unsafe { &mut *budget };
    let second = time / NANOSECONDS_PER_SECOND;
    if budget.second != second {
        (budget.second, budget.sent) = (second, 0);
    }
    if budget.sent >= u64::from(EVENTS_PER_SECOND) {
        budget.lost += 1;
        return 0;
    }
    let Some(mut event) = maps::EVENTS.reserve(0) else {
        budget.lost += 1;
        return 0;
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
    1
}

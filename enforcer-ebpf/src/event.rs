//! Drop events for the daemon, within a budget per CPU and second; the counters know every drop.

use enforcer_common::{
    event::{DropEvent, Hook},
    limits::EVENTS_PER_SECOND,
};

use crate::{
    journey::Journey,
    maps,
    packet::{self, Skb},
};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

#[inline(always)]
pub fn dropped(skb: Skb, hook: Hook, journey: &Journey) {
    let time = packet::now();
    let Some(budget) = maps::EVENT_BUDGET.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own slot, and the program is not preempted by itself.
    let budget = unsafe { &mut *budget };
    let second = time / NANOSECONDS_PER_SECOND;
    if budget.second != second {
        (budget.second, budget.sent) = (second, 0);
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
        ifindex: skb.ifindex(),
        endpoint: journey.endpoint,
        length: skb.length(),
        verdict: journey.judgement.verdict,
        hook: hook as u8,
        reserved: [0; 6],
    });
    event.submit(0);
}

//! When to send: an even rate in small bursts, and never more under way than the kernel has room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::{processor, wait};

/// The pause between two bursts, at least.
const TICK: Duration = Duration::from_millis(1);
/// Packets of one flow under way. All flows together stay below the kernel's backlog (`netdev_max_backlog`, 1,000):
/// a receiver that waits for the processor slows its sender down, and loses nothing.
const WINDOW: u64 = 48;
/// How long packets may still be under way after the last one was sent.
pub const STRAGGLE: Duration = Duration::from_millis(400);
/// After this time packets that nobody answered count no longer as under way.
const UNANSWERED: Duration = Duration::from_millis(20);

/// The common word of all flows that it is over.
pub type Stop = Arc<AtomicBool>;

/// Numbers from 0 up to here were answered, or are lost: what the receiving end tells the sender.
pub type Answered = Arc<AtomicU64>;

/// When which number was sent: the first of each burst.
#[derive(Debug, Default, Clone)]
pub struct Sent {
    bursts: Vec<(u64, Instant)>,
    /// How many were sent.
    pub count: u64,
}

impl Sent {
    /// Notes a burst; returns the number of its first.
    pub fn note(&mut self, burst: u64, at: Instant) -> u64 {
        let first = self.count;
        self.bursts.push((first, at));
        self.count += burst;
        first
    }

    /// When a number was sent; `None` when it was not.
    pub fn at(&self, number: u64) -> Option<Instant> {
        let burst = self.bursts.partition_point(|(first, _)| *first <= number).checked_sub(1)?;
        (number < self.count).then(|| self.bursts[burst].1)
    }

    /// From the first burst to the last.
    pub fn duration(&self) -> Duration {
        let ends = self.bursts.first().zip(self.bursts.last());
        ends.map_or(Duration::ZERO, |(first, last)| last.1 - first.1)
    }
}

/// Sends the numbers from 0 at `rate` a second until `stop`. A sender that was late catches up, a window at a time.
pub fn send(rate: u32, answered: &Answered, stop: &Stop, mut each: impl FnMut(u64)) -> Sent {
    let (start, mut sent) = (Instant::now(), Sent::default());
    let mut window = Window { answered: 0, moved: start };
    while !stop.load(Ordering::Acquire) {
        let now = Instant::now();
        let due = (u128::from(rate) * (now - start).as_micros() / 1_000_000) as u64;
        let end = due.min(window.end(answered.load(Ordering::Relaxed), sent.count, now));
        if end > sent.count {
            let first = sent.note(end - sent.count, now);
            (first..end).for_each(&mut each);
        }
        sleep(wait::scaled(TICK).max(Duration::from_secs(1) / rate));
    }
    sent
}

/// How far a sender may go.
struct Window {
    answered: u64,
    moved: Instant,
}

impl Window {
    /// The first number that is to wait.
    fn end(&mut self, answered: u64, sent: u64, now: Instant) -> u64 {
        if answered > self.answered {
            (self.answered, self.moved) = (answered, now);
        } else if now - self.moved > UNANSWERED {
            (self.answered, self.moved) = (sent, now);
        }
        self.answered + WINDOW
    }
}

/// Starts a thread that stays on one of our processors, which seats take in turns: a sender that moves overtakes packets it left in the backlog
/// of the processor before.
pub fn spawn_pinned<T: Send + 'static>(
    seat: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || {
        let ours = processor::ours();
        processor::stay_on(ours[seat % ours.len()]);
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_the_time_of_its_burst() {
        let start = Instant::now();
        let later = start + TICK;
        let mut sent = Sent::default();
        assert_eq!((sent.note(10, start), sent.note(10, later)), (0, 10));
        assert_eq!(
            (sent.at(9), sent.at(10), sent.at(19), sent.at(20)),
            (Some(start), Some(later), Some(later), None)
        );
        assert_eq!(sent.duration(), TICK);
    }
}

//! Numbers as they arrive: which are missing, doubled or late. Its size does not grow with what arrives in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What arrived of the numbers from 0 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    /// How many numbers arrived, each counted once.
    pub arrived: u64,
    /// How many arrived after a higher one.
    pub reordered: u64,
    /// How many arrived again.
    pub duplicated: u64,
    /// The longest time between two arrivals.
    pub longest_silence: Duration,
    /// One more than the highest that arrived.
    next: u64,
    /// Those below `next` that did not arrive.
    gaps: BTreeSet<u64>,
    last: Option<Instant>,
}

impl Sequence {
    /// Notes one arrival.
    pub fn note(&mut self, number: u64, at: Instant) {
        if let Some(last) = self.last.replace(at) {
            self.longest_silence = self.longest_silence.max(at.saturating_duration_since(last));
        }
        if number >= self.next {
            self.gaps.extend(self.next..number);
            self.next = number + 1;
        } else if self.gaps.remove(&number) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
            return;
        }
        self.arrived += 1;
    }

    /// Whether a number arrived.
    pub fn has(&self, number: u64) -> bool {
        number < self.next && !self.gaps.contains(&number)
    }

    /// Those of the first `sent` numbers that did not arrive.
    pub fn missing(&self, sent: u64) -> impl Iterator<Item = u64> {
        self.gaps.iter().copied().chain(self.next..sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_disorder_and_doubling_are_told_apart() {
        let mut sequence = Sequence::default();
        let start = Instant::now();
        for (milliseconds, number) in [(0, 0), (1, 2), (2, 1), (12, 4), (13, 4)] {
            sequence.note(number, start + Duration::from_millis(milliseconds));
        }
        assert_eq!(sequence.missing(6).collect::<Vec<_>>(), [3, 5]);
        assert_eq!((sequence.arrived, sequence.reordered, sequence.duplicated), (4, 1, 1));
        assert_eq!(sequence.longest_silence, Duration::from_millis(10));
        assert!(sequence.has(2) && !sequence.has(3) && !sequence.has(5));
    }
}

//! What an interface says it has sent and received.

use std::fs;
use std::iter::Sum;
use std::ops::Sub;

use crate::netns::NetNs;

/// Packets of an interface, or of several.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
    /// Not sent: the receiver had no room for them.
    pub lost: u64,
}

impl Tally {
    /// What an interface of a namespace has counted so far.
    #[track_caller]
    pub fn of(netns: &NetNs, interface: &str) -> Self {
        let table = netns.enter(|| fs::read_to_string("/proc/thread-self/net/dev"));
        let table = table.expect("failed to read what interfaces count");
        Self::read(&table, interface)
            .unwrap_or_else(|| panic!("no {interface} in {}:\n{table}", netns.name()))
    }

    /// From the columns of `/proc/net/dev`.
    fn read(table: &str, interface: &str) -> Option<Self> {
        let lines = table.lines().filter_map(|line| line.split_once(':'));
        let (_, counts) = lines.into_iter().find(|(name, _)| name.trim() == interface)?;
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        Some(Self { received: *counts.get(1)?, sent: *counts.get(9)?, lost: *counts.get(11)? })
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            received: self.received - before.received,
            sent: self.sent - before.sent,
            lost: self.lost - before.lost,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |sum, one| Self {
            received: sum.received + one.received,
            sent: sum.sent + one.sent,
            lost: sum.lost + one.lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_these() {
        let table = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        assert_eq!(Tally::read(table, "lo"), Some(Tally { received: 2, sent: 10, lost: 12 }));
        assert_eq!(Tally::read(table, "eth0"), None);
    }
}

//! The one store that publishes a policy, and the record it points at.

use bytemuck::{Pod, Zeroable};

use crate::{limits::BANK_TABLES, map_layout, policy::Membership};

/// Which generation decides, in one word that a packet reads once: a packet sees one whole policy.
///
/// Bits 0–6: slot of the [`Generation`] record. Bit 7: the generation awaits confirmation, so look at its
/// deadline. Bits 8–63: generation number, counted from 1. Zero means that no policy was ever published.
/// Numbers are never reused, so equal words mean the same policy.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct ControlWord(pub u64);

impl ControlWord {
    const UNCONFIRMED: u64 = 1 << 7;

    /// The word for `generation`, whose record lies in `slot`.
    pub const fn new(generation: u64, slot: u32) -> Self {
        Self(generation << 8 | slot as u64)
    }

    /// The same generation, which decides only until its deadline.
    #[must_use]
    pub const fn unconfirmed(self) -> Self {
        Self(self.0 | Self::UNCONFIRMED)
    }

    /// The same generation, whether confirmed or not: what flows are judged under.
    #[inline(always)]
    #[must_use]
    pub const fn confirmed(self) -> Self {
        Self(self.0 & !Self::UNCONFIRMED)
    }

    /// Whether the generation awaits confirmation.
    #[inline(always)]
    pub const fn is_unconfirmed(self) -> bool {
        self.0 & Self::UNCONFIRMED != 0
    }

    /// Generation number; 0 before the first policy.
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        self.0 >> 8
    }

    /// Index into the table of generation records.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0 & 0x7f) as u32
    }
}

/// The single entry of the mmapped control table.
///
/// Both words are written with one aligned 64-bit store each and read once per packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Control {
    /// The deciding generation.
    pub active: ControlWord,
    /// Bumped after every change of endpoints or addresses; what a flow was judged under others is stale.
    pub facts: u64,
}

map_layout!(Control, 16);

/// An immutable record of one policy generation; written before its word is published.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Generation {
    /// The generation's number.
    pub number: u64,
    /// When it was applied, in seconds since the Unix epoch.
    pub applied_at: u64,
    /// SHA-256 of the canonical policy: what compares across hosts.
    pub digest: [u8; 32],
    /// Bank that holds its tables.
    pub bank: u32,
    /// Networks of the policy.
    pub networks: u32,
    /// Entries in the membership table.
    pub prefixes: u32,
    /// Distinct membership sets.
    pub sets: u32,
    /// Rules of the policy.
    pub rules: u32,
    /// What the host's own addresses are a member of: no network, but ends of rules.
    pub host: Membership,
    /// What decides instead once the deadline has passed: the last confirmed generation before this one, or
    /// nothing.
    pub fallback: ControlWord,
    /// When this generation ends unless it is confirmed, in nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline: u64,
    /// Kernel ids of the tables in the bank, in an order of their own; zero where there is none, and in a record of a
    /// version that did not note them.
    pub maps: [u32; BANK_TABLES],
}

map_layout!(Generation, 128);

impl Generation {
    /// In a byte of `host` that says nothing of a membership.
    const NO_LABELS: u8 = 1;

    /// The record of a policy that means the same whatever is known of containers.
    #[must_use]
    pub const fn without_labels(mut self) -> Self {
        self.host.reserved[0] |= Self::NO_LABELS;
        self
    }

    /// Whether the policy certainly means the same whatever is known of containers; an earlier version did not note it.
    pub const fn has_no_labels(&self) -> bool {
        self.host.reserved[0] & Self::NO_LABELS != 0
    }

    /// What decides at `now` (`CLOCK_BOOTTIME`, ns) while `word` is published with this as its record. A
    /// generation that nobody confirmed in time ends by itself, whoever runs or does not.
    #[inline(always)]
    pub const fn in_force(&self, word: ControlWord, now: u64) -> ControlWord {
        if !word.is_unconfirmed() || now < self.deadline { word.confirmed() } else { self.fallback }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GENERATION_SLOTS;

    #[test]
    fn a_word_names_its_generation_and_slot() {
        for (generation, slot) in [(1, 1), (7, 7), (8, 0), (1 << 40, GENERATION_SLOTS - 1)] {
            let word = ControlWord::new(generation, slot);
            for word in [word, word.unconfirmed()] {
                assert_eq!((word.generation(), word.slot()), (generation, slot));
            }
            assert_eq!(word.unconfirmed().confirmed(), word);
            assert!(word.unconfirmed().is_unconfirmed() && !word.is_unconfirmed());
        }
        assert_eq!(ControlWord::default().generation(), 0);
    }

    #[test]
    fn an_unconfirmed_generation_ends_at_its_deadline() {
        let fallback = ControlWord::new(4, 4);
        let record = Generation { number: 5, fallback, deadline: 1_000, ..Generation::default() };
        let word = ControlWord::new(5, 5);
        assert_eq!(record.in_force(word.unconfirmed(), 999), word);
        assert_eq!(record.in_force(word.unconfirmed(), 1_000), fallback);
        assert_eq!(record.in_force(word, 1_000), word, "confirmed");
    }
}

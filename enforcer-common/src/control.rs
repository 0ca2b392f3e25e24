//! The one store that publishes a policy, and the record it points at.

use bytemuck::{Pod, Zeroable};

use crate::{limits::GENERATION_SLOTS, map_layout, policy::Membership};

/// Which generation decides, in one word that a packet reads once: a packet sees one whole policy.
///
/// Bits 0–7: slot of the [`Generation`] record. Bits 8–63: generation number, counted from 1. Zero
/// means that no policy was ever published. Numbers are never reused, so equal words mean the same
/// policy.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct ControlWord(pub u64);

impl ControlWord {
    /// The word for `generation`, whose record lies in the slot that its number selects.
    pub const fn of(generation: u64) -> Self {
        Self((generation << 8) | (generation % GENERATION_SLOTS as u64))
    }

    /// Generation number; 0 before the first policy.
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        self.0 >> 8
    }

    /// Index into the table of generation records.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0 & 0xff) as u32
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
    /// Bumped after every change of endpoints or addresses; what a flow was judged under is stale
    /// when either word has moved on.
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
}

map_layout!(Generation, 88);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_its_generation_and_slot() {
        for generation in [1, 7, 8, 9, 1 << 40] {
            let word = ControlWord::of(generation);
            assert_eq!(word.generation(), generation);
            assert!(word.slot() < GENERATION_SLOTS);
        }
        assert_ne!(ControlWord::of(1), ControlWord::of(1 + u64::from(GENERATION_SLOTS)));
        assert_eq!(ControlWord::default().generation(), 0);
    }
}

//! Who initiated: kept only for conversations that a directional verdict admitted. State never holds
//! a verdict; it only lets the answer pass while the opening packet's verdict stands.
//!
//! The table is an array of small sets instead of the kernel's LRU table, because who fills it must not
//! cost anybody else a conversation: a full set gives up an entry of whoever has most in it
//! ([`StateSet::score`]).

use bytemuck::{Pod, Zeroable};

use crate::{
    flow::{FlowKey, protocol, tcp},
    map_layout,
};

const SECOND: u64 = 1_000_000_000;

/// Entries of one set.
pub const WAYS: usize = 8;

/// An open conversation, under the initiator's direction; one cache line. The reserved bytes let old and
/// new versions share the table during an upgrade.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct StateEntry {
    /// Latest packet in either direction that looked for it, nanoseconds of `CLOCK_MONOTONIC`; 0 for a free entry.
    pub last_seen: u64,
    /// The initiator's direction.
    pub key: FlowKey,
    /// [`digest`] of the key: entries are written without a lock, and one that two CPUs wrote at once is
    /// none.
    pub check: u32,
    /// Who pays for the entry, [`payer`].
    pub payer: u32,
    /// [`StateEntry::ANSWERED`] and the other flags.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

map_layout!(StateEntry, 64);

/// The entries that a key may lie in (value of the `STATE` table).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct StateSet {
    /// In no order.
    pub entries: [StateEntry; WAYS],
}

map_layout!(StateSet, 512);

/// Sets of a table for so many conversations: a power of two.
pub const fn sets(conversations: u32) -> u32 {
    conversations.div_ceil(WAYS as u32).next_power_of_two()
}

/// Who pays for a conversation: the endpoint that opened it or, where somebody from outside did, the one
/// that it was opened to, apart from its own.
#[inline(always)]
pub const fn payer(endpoint: u32, opened_from_outside: bool) -> u32 {
    if opened_from_outside { endpoint | 1 << 31 } else { endpoint }
}

/// A keyed digest; who does not know the seed cannot choose keys that meet in one set. Its low bits select
/// the set, its high bits are the entry's check.
#[inline(always)]
pub fn digest(key: &FlowKey, seed: u64) -> u64 {
    let words: &[u32; 11] = bytemuck::cast_ref(key);
    let mut sum = seed;
    let mut at = 0;
    while at < 11 {
        sum = mix(sum ^ u64::from(words[at]));
        at += 1;
    }
    sum
}

/// One round of a 64-bit finaliser (the multiplier of splitmix64).
#[inline(always)]
pub(crate) const fn mix(value: u64) -> u64 {
    let product = (value ^ value >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    product ^ product >> 32
}

impl StateEntry {
    /// The other side has answered.
    pub const ANSWERED: u8 = 1;
    /// One side has said that it is done.
    pub const CLOSING: u8 = 2;
    /// The connection was reset.
    pub const RESET: u8 = 4;
    /// NAT gave its opener an address of the host: when NAT forgets it, its answers would reach the host itself.
    pub const MASKED: u8 = 8;

    /// Whether an answer is still expected at `now`.
    #[inline(always)]
    pub const fn is_open(&self, now: u64) -> bool {
        // Another CPU may have seen a packet after `now` was read.
        self.last_seen != 0 && (now.wrapping_sub(self.last_seen) as i64) < self.timeout() as i64
    }

    /// How long it may be silent, in nanoseconds.
    #[inline(always)]
    const fn timeout(&self) -> u64 {
        let answered = self.flags & Self::ANSWERED != 0;
        match self.key.protocol {
            // Less than NAT remembers any (`nf_conntrack_udp_timeout` is 30). A TCP packet without its connection
            // the host refuses.
            other if self.flags & Self::MASKED != 0 && other != protocol::TCP => 25 * SECOND,
            protocol::TCP if self.flags & Self::RESET != 0 => 10 * SECOND,
            protocol::TCP if self.flags & Self::CLOSING != 0 => 120 * SECOND,
            // Keep-alives come every two hours (RFC 9293 §3.8.4).
            protocol::TCP if answered => 7_440 * SECOND,
            // A binding lives two minutes at least (RFC 4787 REQ-5).
            protocol::UDP if answered => 180 * SECOND,
            protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 30 * SECOND,
            _ if answered => 3_600 * SECOND,
            // A SYN is repeated for about a minute, and others give up no later.
            _ => 60 * SECOND,
        }
    }

    /// The flags behind a packet of the initiator with these TCP flags; 0 for other protocols.
    #[inline(always)]
    pub const fn asked(flags: u8, tcp_flags: u8) -> u8 {
        if tcp_flags & tcp::RST != 0 {
            flags | Self::RESET
        } else if tcp_flags & tcp::SYN != 0 {
            // A port used again: the conversation begins anew.
            flags & Self::MASKED
        } else if tcp_flags & tcp::FIN != 0 {
            flags & !Self::RESET | Self::CLOSING
        } else {
            // Who goes on talking does not believe in the reset.
            flags & !Self::RESET
        }
    }

    /// The flags behind an answer.
    #[inline(always)]
    pub const fn answered(flags: u8, tcp_flags: u8) -> u8 {
        let closes = if tcp_flags & tcp::RST != 0 {
            Self::RESET
        } else if tcp_flags & tcp::FIN != 0 {
            Self::CLOSING
        } else {
            0
        };
        flags | Self::ANSWERED | closes
    }
}

/// Whether a packet can be an answer at all: of TCP it acknowledges something or resets, and so opens
/// nothing. Not for a later fragment, whose flags nobody knows and whose first was judged.
#[inline(always)]
pub const fn can_answer(protocol: u8, tcp_flags: u8) -> bool {
    protocol != protocol::TCP || tcp_flags & (tcp::ACK | tcp::RST) != 0
}

impl StateSet {
    /// How dispensable an entry is for a conversation that `newcomer` pays for: all of a free or timed-out
    /// one; else the entries of its payer (the newcomer counted) in bits 48 and up, no answer in bit 47, age
    /// below.
    #[inline(always)]
    pub fn score(&self, way: usize, newcomer: u32, now: u64) -> u64 {
        let entry = &self.entries[way];
        if !entry.is_open(now) {
            return u64::MAX;
        }
        // Timed-out entries count, too: while there are any, nobody else gives one up.
        let mut crowd = is_same(entry.payer, newcomer);
        for other in &self.entries {
            crowd += is_same(entry.payer, other.payer);
        }
        let unanswered = u64::from(entry.flags & StateEntry::ANSWERED ^ StateEntry::ANSWERED);
        // In units of about a millisecond; who was seen after `now` is young.
        let age = now.saturating_sub(entry.last_seen) >> 20;
        crowd << 48 | unanswered << 47 | age
    }
}

/// The way to give up: the one with the highest score.
#[inline(always)]
pub fn victim(score: impl Fn(usize) -> u64) -> usize {
    let (mut victim, mut worst) = (0, 0);
    for way in 0..WAYS {
        let score = score(way);
        if score >= worst {
            (victim, worst) = (way, score);
        }
    }
    victim
}

/// 1 or 0, without a branch that the verifier would walk both ways of.
#[inline(always)]
const fn is_same(a: u32, b: u32) -> u64 {
    ((a ^ b) as u64).wrapping_sub(1) >> 63
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000 * SECOND;

    fn entry(payer: u32, age: u64, flags: u8) -> StateEntry {
        let key = FlowKey { protocol: protocol::TCP, ..FlowKey::default() };
        StateEntry { last_seen: NOW - age * SECOND, key, payer, flags, ..StateEntry::default() }
    }

    fn victim_of(set: &StateSet, newcomer: u32) -> usize {
        victim(|way| set.score(way, newcomer, NOW))
    }

    #[test]
    fn sets_hold_as_many_as_are_asked_for() {
        assert_eq!([1, 8, 9, 262_144, 262_145].map(sets), [1, 1, 2, 32_768, 65_536]);
    }

    #[test]
    fn who_has_most_gives_up_an_entry() {
        let mut set = StateSet { entries: [entry(1, 5, StateEntry::ANSWERED); WAYS] };
        set.entries[3] = entry(2, 50, 0);
        set.entries[5].last_seen -= SECOND;
        assert_eq!(victim_of(&set, 1), 5, "the newcomer's own oldest");
        assert_eq!(victim_of(&set, 2), 5, "not the lonely one's, although it is older and unanswered");
        set.entries[6].flags = 0;
        assert_eq!(victim_of(&set, 2), 6, "unanswered before older");
        set.entries[0].last_seen = 0;
        assert_eq!(victim_of(&set, 2), 0, "a free one before all");
    }

    #[test]
    fn among_equals_the_unanswered_goes() {
        let mut set = StateSet::default();
        for way in 0..WAYS {
            set.entries[way] = entry(way as u32 + 1, 10 + way as u64, StateEntry::ANSWERED);
        }
        assert_eq!(victim_of(&set, 99), 7);
        set.entries[2].flags = 0;
        assert_eq!(victim_of(&set, 99), 2);
    }

    #[test]
    fn a_conversation_closes_and_begins_anew() {
        let open = |flags, age| entry(1, age, flags).is_open(NOW);
        assert!(open(0, 59) && !open(0, 60), "half open");
        assert!(open(StateEntry::ANSWERED, 7_439) && !open(StateEntry::ANSWERED, 7_440));
        let closing = StateEntry::answered(StateEntry::ANSWERED, tcp::FIN | tcp::ACK);
        assert!(open(closing, 119) && !open(closing, 120));
        let reset = StateEntry::asked(StateEntry::ANSWERED, tcp::RST);
        assert!(open(reset, 9) && !open(reset, 10));
        assert_eq!(StateEntry::asked(reset, tcp::ACK), StateEntry::ANSWERED);
        assert_eq!(StateEntry::asked(closing, tcp::SYN), 0);
        assert!(!StateEntry::default().is_open(NOW) && !StateEntry::default().is_open(1));
    }

    #[test]
    fn only_what_acknowledges_or_resets_answers() {
        assert!(!can_answer(protocol::TCP, tcp::SYN));
        assert!(!can_answer(protocol::TCP, 0));
        assert!(can_answer(protocol::TCP, tcp::SYN | tcp::ACK));
        assert!(can_answer(protocol::TCP, tcp::RST));
        assert!(can_answer(protocol::UDP, 0));
    }

    #[test]
    fn one_bit_of_key_or_seed_changes_the_digest() {
        let key = FlowKey { src_port: 1, ..FlowKey::default() };
        let other = FlowKey { src_port: 2, ..key };
        assert_ne!(digest(&key, 7), digest(&other, 7));
        assert_ne!(digest(&key, 7) as u32, digest(&key, 8) as u32);
    }
}

//! Since when a policy means the same for an address: what lets the judgement of an earlier generation stand.
//!
//! Addresses are told apart by blocks, and blocks by buckets of a table: it may take a change for one that it is not, and
//! never the other way round. The table is a part of the generation's trie, [`crate::prefix_trie`], so that a packet
//! reads the one that belongs to the generation that it is judged by.

use crate::prefix_trie::{Key, Line, NODES_PER_LINE};

/// Buckets of the table.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 14;

/// Generations in a line: the low halves of their numbers, two to a word, the earlier bucket in the lower half; 0 for the
/// one that most have, so that hardly any line has to be written.
pub const PER_LINE: usize = 2 * NODES_PER_LINE;

/// Bits of an IPv4 address in the v4-mapped space that tell blocks apart.
pub const V4_BLOCK: u8 = 120;
/// The same of an IPv6 address.
pub const V6_BLOCK: u8 = 64;

/// The bucket of an address's block. Blocks of IPv6 in `::/64` are as large as those of IPv4.
#[inline(always)]
pub const fn bucket(key: &Key) -> u32 {
    let [high, low] = key.halves();
    bucket_of(if high == 0 { low >> (128 - V4_BLOCK) } else { high })
}

/// The bucket of a block by its number.
#[inline(always)]
pub const fn bucket_of(block: u64) -> u32 {
    // Fibonacci hashing (Knuth, The Art of Computer Programming 3, §6.4): neighbours lie far apart.
    (block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BUCKET_BITS)) as u32
}

/// The table: its first line, and what a mark of 0 stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Its first line.
    pub first: u32,
    /// The generation that a mark of 0 stands for.
    pub usual: u32,
}

impl Table {
    /// From the word of line 0 that tells of it, [`crate::prefix_trie::SINCE`].
    #[inline(always)]
    pub const fn of(word: u64) -> Option<Self> {
        if word as u32 == 0 { None } else { Some(Self { first: word as u32, usual: (word >> 32) as u32 }) }
    }

    /// That word.
    pub const fn word(self) -> u64 {
        (self.usual as u64) << 32 | self.first as u64
    }

    /// Since which generation a bucket means the same.
    #[inline(always)]
    pub fn mark<'l>(self, bucket: u32, line_at: impl Fn(u32) -> Option<&'l Line>) -> Option<u32> {
        let line = line_at(self.first.wrapping_add(bucket / PER_LINE as u32))?;
        let word = line.0[bucket as usize / 2 % NODES_PER_LINE];
        let mark = (word >> (bucket % 2 * 32)) as u32;
        Some(if mark == 0 { self.usual } else { mark })
    }
}

/// Whether a generation came later than another, by the low halves of their numbers.
#[inline(always)]
pub const fn is_later(than: u32, generation: u32) -> bool {
    (generation.wrapping_sub(than) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn neighbours_share_a_bucket_and_blocks_are_spread() {
        let v4 = |word: u32| bucket(&Key::new(Address::from_v4(word.to_be())));
        assert_eq!(v4(0x0a01_0200), v4(0x0a01_02ff));
        assert_eq!(v4(0x0a01_0200), bucket_of(0x00ff_ff0a_0102));
        let v6 = |high: u64, low: u64| bucket(&Key::of(u128::from(high) << 64 | u128::from(low)));
        assert_eq!(v6(0x2001_0db8_0000_0001, 0), v6(0x2001_0db8_0000_0001, u64::MAX));
        let mut met = [0_u8; BUCKETS];
        for block in 0..BUCKETS as u32 {
            met[v4(0x0a00_0000 | block << 8) as usize] += 1;
        }
        assert!(met.iter().all(|blocks| *blocks <= 3), "{:?}", met.iter().max());
    }

    #[test]
    fn a_bucket_that_nobody_marked_means_the_same_since_the_usual_generation() {
        let table = Table { first: 1, usual: 7 };
        assert_eq!(Table::of(table.word()), Some(table));
        assert_eq!(Table::of(0), None);
        let mut lines = [Line::default(); 3];
        lines[2].0[1] = 9 << 32;
        let mark = |bucket: usize| table.mark(bucket as u32, |line| lines.get(line as usize));
        assert_eq!([mark(0), mark(PER_LINE + 2), mark(PER_LINE + 3)], [Some(7), Some(7), Some(9)]);
        assert_eq!(mark(2 * PER_LINE), None, "behind the table");
    }

    #[test]
    fn later_is_later_across_the_end_of_numbers() {
        assert!(is_later(1, 2) && !is_later(2, 1) && !is_later(2, 2));
        assert!(is_later(u32::MAX, 0) && !is_later(0, u32::MAX));
    }
}

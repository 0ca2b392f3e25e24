//! What an edit leaves alone: since which generation each block of addresses means the same.
//!
//! Beside the policy's way, for the kernel: a judgement of an earlier generation stands where neither of its addresses
//! means anything else since. A verdict rests on the rules and on what both addresses are members of; so as long as the
//! rules stay, it changes only where a prefix of a network or group came or went around one of the two.

use enforcer_common::since::{BUCKETS, V4_BLOCK, V6_BLOCK, bucket_of};

use super::{
    diff::{Diff, SetChange},
    model::{AddressSet, Policy},
    prefix::Prefix,
};

/// Blocks that one edit may change; beyond, all count as changed.
const MOST_BLOCKS: u32 = BUCKETS as u32 / 4;

/// Since which generation each bucket of blocks means the same, under a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Since {
    generation: u64,
    marks: Vec<u32>,
}

impl Since {
    /// Nothing is known of what was before `generation`.
    pub fn new(generation: u64) -> Self {
        Self { generation, marks: vec![generation as u32; BUCKETS] }
    }

    /// Under which generation.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The table's buckets, in their order.
    pub fn marks(&self) -> &[u32] {
        &self.marks
    }

    /// The same under the next one, which differs from this in what `changed` says.
    #[must_use]
    pub fn then(mut self, generation: u64, changed: &[u64]) -> Self {
        for block in changed {
            self.marks[bucket_of(*block) as usize] = generation as u32;
        }
        Self { generation, ..self }
    }
}

/// The blocks of addresses that mean something else in `new` than in `old`; `None` if that may be all. Both say of all
/// their members which addresses they have.
pub fn changed(old: &Policy, new: &Policy) -> Option<Vec<u64>> {
    let Diff { networks, groups, rules } = Diff::between(old, new);
    if !rules.is_empty() {
        return None;
    }
    let all = |policy: &Policy, change: &SetChange| -> Vec<Prefix> {
        let sets = policy.networks.iter().chain(&policy.groups).filter(|(name, _)| **name == change.name);
        sets.flat_map(|(_, set)| set.prefixes().iter().chain(set.except())).copied().collect()
    };
    let mut blocks = Vec::new();
    for change in networks.iter().chain(&groups) {
        let mode = |policy: &Policy| policy.networks.get(&change.name).map(AddressSet::mode);
        let lists = if mode(old) == mode(new) {
            let SetChange { prefixes_added, prefixes_removed, except_added, except_removed, .. } = change;
            [prefixes_added, prefixes_removed, except_added, except_removed].map(Clone::clone).concat()
        } else {
            [all(old, change), all(new, change)].concat()
        };
        for prefix in lists {
            blocks.extend(blocks_of(prefix)?);
            if blocks.len() > MOST_BLOCKS as usize {
                return None;
            }
        }
    }
    Some(blocks)
}

/// The numbers of the blocks that a prefix meets; `None` for too many.
fn blocks_of(prefix: Prefix) -> Option<impl Iterator<Item = u64>> {
    let block = if prefix.is_v4() { V4_BLOCK } else { V6_BLOCK };
    let others = u32::from(block.saturating_sub(prefix.bits()));
    let first = (prefix.start() >> (128 - u32::from(block))) as u64;
    // There blocks of IPv6 are as small as those of IPv4.
    let is_low = !prefix.is_v4() && first == 0;
    let count = 1_u64.checked_shl(others).filter(|count| *count <= u64::from(MOST_BLOCKS) && !is_low)?;
    Some(first..first + count)
}

#[cfg(test)]
#[path = "since_tests.rs"]
mod tests;

//! What an edit leaves alone: since which generation each block of addresses means the same.
//!
//! Beside the policy's way, for the kernel: a judgement of an earlier generation stands where neither of its addresses
//! means anything else since. A verdict rests on the rules about both addresses and on what they are members of. So it
//! changes only where a prefix of a network or group came or went around one of the two, or a rule that is about both:
//! all addresses of one of its sides are enough to tell that.

use std::collections::BTreeSet;

use enforcer_common::since::{BUCKETS, V4_BLOCK, V6_BLOCK, bucket_of};

use super::{
    diff::{Diff, RuleChange, SetChange},
    model::{AddressSet, Policy},
    prefix::Prefix,
    rule::{End, Side},
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
    pub fn then(mut self, generation: u64, changed: &BTreeSet<u64>) -> Self {
        for block in changed {
            self.marks[bucket_of(*block) as usize] = generation as u32;
        }
        Self { generation, ..self }
    }
}

/// The blocks of addresses that mean something else in `new` than in `old`; `None` if that may be all. Both say of all
/// their members which addresses they have.
pub fn changed(old: &Policy, new: &Policy) -> Option<BTreeSet<u64>> {
    let Diff { networks, groups, rules } = Diff::between(old, new);
    let mut blocks = Blocks::default();
    for change in networks.iter().chain(&groups) {
        let mode = |policy: &Policy| policy.networks.get(&change.name).map(AddressSet::mode);
        if mode(old) == mode(new) {
            let SetChange { prefixes_added, prefixes_removed, except_added, except_removed, .. } = change;
            blocks.meet(
                [prefixes_added, prefixes_removed, except_added, except_removed].into_iter().flatten(),
            )?;
        } else {
            let lists = [old, new].into_iter().filter_map(|policy| policy.set(&change.name));
            blocks.meet(lists.flat_map(|set| set.prefixes().iter().chain(set.except())))?;
        }
    }
    for RuleChange { before, after, .. } in &rules {
        for (policy, rule) in [(old, before), (new, after)] {
            let Some(rule) = rule else { continue };
            // Whoever is not on both of its sides is none of its business, so either of them will do.
            let sides = [rule.from(), rule.to()].into_iter();
            let narrower = sides.filter_map(|side| Blocks::of(policy, side)).min_by_key(|side| side.0.len());
            blocks.extend(narrower?.0)?;
        }
    }
    Some(blocks.0)
}

/// Blocks by their numbers.
#[derive(Default)]
struct Blocks(BTreeSet<u64>);

impl Blocks {
    /// Those that all addresses of a side lie in; `None` if that may be any.
    fn of(policy: &Policy, side: &Side) -> Option<Self> {
        let mut blocks = Self::default();
        for end in &side.ends {
            match end {
                End::Prefix(prefix) => blocks.meet([prefix])?,
                End::Named(name) => {
                    blocks.meet(policy.set(name).into_iter().flat_map(AddressSet::prefixes))?;
                }
                // A pattern counts as anybody: it would have to be asked of every name.
                End::Glob(_) | End::World | End::Host | End::Any => return None,
            }
        }
        Some(blocks)
    }

    /// Adds those that prefixes meet; `None` for too many.
    fn meet<'p>(&mut self, prefixes: impl IntoIterator<Item = &'p Prefix>) -> Option<()> {
        prefixes.into_iter().try_for_each(|prefix| self.extend(numbers(*prefix)?))
    }

    /// Adds others; `None` for too many.
    fn extend(&mut self, blocks: impl IntoIterator<Item = u64>) -> Option<()> {
        self.0.extend(blocks);
        (self.0.len() <= MOST_BLOCKS as usize).then_some(())
    }
}

/// The numbers of the blocks that a prefix meets; `None` for too many.
fn numbers(prefix: Prefix) -> Option<impl Iterator<Item = u64>> {
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

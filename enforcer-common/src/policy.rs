//! Membership tables of one bank, and the decision over two memberships.
//!
//! An address has a *membership*: an interned, sorted set of networks. Kernel memory is linear in the
//! policy's text; pairs of memberships are never materialised.

use bytemuck::{Pod, Zeroable};

use crate::{limits::MAX_NETWORKS_PER_ADDRESS, map_layout};

/// The set of networks that an address is a member of (value of the longest-prefix table).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct Membership {
    /// Interned id of the set; 0 is the empty set.
    pub set: u32,
    /// Index of its first network in the bank's list of networks.
    pub first: u32,
    /// Networks in the set, at most [`MAX_NETWORKS_PER_ADDRESS`]; sorted by id.
    pub count: u32,
}

map_layout!(Membership, 12);

/// Says that a set holds a network (key of the bank's table of set members).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct SetMember {
    /// Set id.
    pub set: u32,
    /// Network id.
    pub network: u32,
}

map_layout!(SetMember, 8);

/// What the decision needs of a bank; implemented over BPF maps and over plain vectors.
pub trait Sets {
    /// The network at `index` of the list of networks.
    fn network_at(&self, index: u32) -> Option<u32>;
    /// Whether a set holds a network.
    fn holds(&self, member: SetMember) -> bool;
}

/// The lowest network that both memberships share.
///
/// Walks the shorter set and asks for each of its networks whether the other holds it: bounded, and
/// independent of how many networks or prefixes exist.
#[inline(always)]
pub fn shared_network(a: Membership, b: Membership, sets: &impl Sets) -> Option<u32> {
    if a.count == 0 || b.count == 0 {
        return None;
    }
    if a.set == b.set {
        return sets.network_at(a.first);
    }
    let (short, long) = if a.count <= b.count { (a, b) } else { (b, a) };
    for i in 0..MAX_NETWORKS_PER_ADDRESS {
        if i >= short.count {
            break;
        }
        let network = sets.network_at(short.first.wrapping_add(i))?;
        if sets.holds(SetMember { set: long.set, network }) {
            return Some(network);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lists(Vec<Vec<u32>>);

    impl Lists {
        fn membership(&self, set: usize) -> Membership {
            let first = self.0[..set].iter().map(Vec::len).sum::<usize>() as u32;
            Membership { set: set as u32, first, count: self.0[set].len() as u32 }
        }
    }

    impl Sets for Lists {
        fn network_at(&self, index: u32) -> Option<u32> {
            self.0.concat().get(index as usize).copied()
        }
        fn holds(&self, member: SetMember) -> bool {
            self.0[member.set as usize].contains(&member.network)
        }
    }

    #[test]
    fn the_lowest_common_network_decides_in_both_directions() {
        let sets = Lists(vec![vec![], vec![1], vec![2], vec![1, 2, 3], vec![2, 3]]);
        for (a, b, expected) in [
            (1, 1, Some(1)),
            (1, 2, None),
            (1, 3, Some(1)),
            (2, 3, Some(2)),
            (3, 4, Some(2)),
            (0, 3, None),
            (0, 0, None),
        ] {
            let (x, y) = (sets.membership(a), sets.membership(b));
            assert_eq!(shared_network(x, y, &sets), expected, "sets {a} and {b}");
            assert_eq!(shared_network(y, x, &sets), expected, "sets {b} and {a}");
        }
    }
}

//! The compiled policy: what a bank of the kernel holds, as plain vectors.
//!
//! On the policy's way: the end of the pure part; from here it is written into a bank, or asked
//! directly by offline tools through the same decision function as the kernel's.

use std::net::IpAddr;

use enforcer_common::{
    address::Address,
    control::Generation,
    policy::{
        self, EndPair, Ends, Membership, Networks, Party, Point, RuleWord, Rules, Ruling, Run, Search,
        ServiceList, ServiceRange, SetMember, first_in, match_ends, match_targets, search,
    },
};

use super::prefix::number;

/// Everything that the kernel needs to know of one policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables {
    /// Longest-prefix table, sorted by (address, bits); minimal: no entry repeats its enclosing one.
    pub prefixes: Vec<TableEntry>,
    /// The networks of sets and the ends that addresses match; a [`Membership`] says where its own begin.
    pub list: Vec<u32>,
    /// The networks of sets as pairs, sorted.
    pub members: Vec<SetMember>,
    /// Which ends rules connect, and the run of `ranges` that says how; sorted.
    pub pairs: Vec<(EndPair, ServiceList)>,
    /// What holds from which point on, list after list.
    pub ranges: Vec<ServiceRange>,
    /// What the host's own addresses are a member of.
    pub host: Membership,
    /// Networks of the policy.
    pub networks: u32,
    /// Rules of the policy.
    pub rules: u32,
    /// Distinct sets that are not empty; their ids are `1..=sets`.
    pub sets: u32,
    /// The buckets of [`enforcer_common::since`], where it is known what the policy before was; else none. Not compiled:
    /// who publishes the tables adds it.
    pub since: Vec<u32>,
}

/// One entry of the longest-prefix table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableEntry {
    /// First address.
    pub address: Address,
    /// Length in the 128-bit v4-mapped space.
    pub bits: u8,
    /// The membership of every address that no longer entry covers.
    pub membership: Membership,
}

impl TableEntry {
    /// What tables are sorted by.
    pub fn key(&self) -> (u128, u8) {
        (number(self.address.into()), self.bits)
    }
}

impl Tables {
    /// What the kernel's longest-prefix match answers for `address`; empty without an entry.
    pub fn membership(&self, address: IpAddr) -> Membership {
        let address = number(address);
        // The last entry that may cover the address. When it does not, every entry that does also
        // covers the bits that both have in common, so look there next: each step is shorter.
        let (mut prefix, mut bits) = (address, 128);
        loop {
            let behind = self.prefixes.partition_point(|entry| entry.key() <= (prefix, bits));
            let Some(entry) = behind.checked_sub(1).map(|last| self.prefixes[last]) else {
                return Membership::default();
            };
            let common = (entry.key().0 ^ address).leading_zeros() as u8;
            if common >= entry.bits {
                return entry.membership;
            }
            (prefix, bits) = (address & mask(common), common);
        }
    }

    /// What the kernel rules on a packet that opens something.
    pub fn ruling(&self, src: &Party, dst: &Party, point: Point) -> Ruling {
        policy::ruling(src, dst, point, self, &mut Rules::default())
    }

    /// What the record of a generation says of these tables; who publishes them adds when and where.
    pub fn generation(&self, digest: [u8; 32]) -> Generation {
        Generation {
            digest,
            networks: self.networks,
            prefixes: self.prefixes.len() as u32,
            sets: self.sets,
            rules: self.rules,
            host: self.host,
            ..Generation::default()
        }
    }

    /// The networks of a membership of these tables, in id order.
    pub fn networks_of(&self, membership: Membership) -> &[u32] {
        let first = membership.first as usize;
        self.list.get(first..first + usize::from(membership.networks)).unwrap_or_default()
    }
}

/// The leading `bits` set.
fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl Networks for Tables {
    fn number_at(&self, index: u32) -> Option<u32> {
        self.list.get(index as usize).copied()
    }

    fn first_in(&self, networks: Run, set: u32) -> Option<u32> {
        let holds = |member: SetMember| self.members.binary_search(&member).is_ok();
        first_in(networks, set, |index| self.number_at(index), holds)
    }

    fn match_ends(&self, sources: Run, targets: Run, point: Point, rules: &mut Rules) {
        match_ends(sources, targets, point, self, rules);
    }
}

impl Ends for Tables {
    fn end_at(&self, index: u32) -> Option<u32> {
        self.number_at(index)
    }

    fn services(&self, pair: EndPair) -> Option<ServiceList> {
        let at = self.pairs.binary_search_by_key(&pair, |(known, _)| *known).ok()?;
        Some(self.pairs[at].1)
    }

    fn rule_at(&self, list: ServiceList, point: Point) -> RuleWord {
        let mut room = Search::default();
        search(list, point, &mut room, |index| self.ranges.get(index as usize).copied())
    }

    fn match_targets(&self, source: u32, targets: Run, point: Point, rules: &mut Rules) -> bool {
        match_targets(source, targets, point, self, rules)
    }
}

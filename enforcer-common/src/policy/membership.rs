//! What an address is a member of, and what two of them share.

use bytemuck::{Pod, Zeroable};

use super::{Networks, Run};
use crate::{limits::MAX_NETWORKS_PER_ADDRESS, map_layout};

/// What an address is a member of (value of the longest-prefix table).
///
/// Lists lie in the bank's one list of numbers: at `first` the networks; at `ends` first the ends of rules
/// that the address matches as a source, then those that it matches only while it belongs to nobody
/// local (through `world`), then both once more for targets.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct Membership {
    /// Interned id of the set of networks; 0 is the empty set.
    pub set: u32,
    /// Index of its first network.
    pub first: u32,
    /// Index of its first end.
    pub ends: u32,
    /// Networks in the set, at most [`MAX_NETWORKS_PER_ADDRESS`]; sorted by id.
    pub networks: u8,
    /// Ends it matches as a source; with the next at most [`crate::limits::MAX_ENDS_PER_ADDRESS`].
    pub sources: u8,
    /// Ends it matches as a source through `world` alone.
    pub world_sources: u8,
    /// Ends it matches as a target; with the next at most [`crate::limits::MAX_ENDS_PER_ADDRESS`].
    pub targets: u8,
    /// Ends it matches as a target through `world` alone.
    pub world_targets: u8,
    /// [`Membership::ENFORCING`] and [`Membership::AUDITED`].
    pub flags: u8,
    /// Zero, but for what the record of a generation notes here ([`crate::control::Generation::without_labels`]).
    pub reserved: [u8; 2],
}

map_layout!(Membership, 20);

impl Membership {
    /// One of its networks enforces.
    pub const ENFORCING: u8 = 1;
    /// One of its networks is in `audit` mode.
    pub const AUDITED: u8 = 2;

    /// Whether what the policy does not admit between both goes on, counted: somebody's network is being
    /// audited, and nobody's enforces.
    #[inline(always)]
    pub const fn audits(&self, other: &Self) -> bool {
        let either = self.flags | other.flags;
        either & Self::AUDITED != 0 && either & Self::ENFORCING == 0
    }

    /// The ends that it matches as a source; a `local` address is not of the world.
    #[inline(always)]
    pub const fn sources(&self, local: bool) -> Run {
        let world = if local { 0 } else { self.world_sources as u32 };
        Run { first: self.ends, count: self.sources as u32 + world }
    }

    /// The ends that it matches as a target; a `local` address is not of the world.
    #[inline(always)]
    pub const fn targets(&self, local: bool) -> Run {
        let world = if local { 0 } else { self.world_targets as u32 };
        let before = self.sources as u32 + self.world_sources as u32;
        Run { first: self.ends.wrapping_add(before), count: self.targets as u32 + world }
    }
}

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

/// The lowest network that both memberships share.
///
/// Walks the shorter set and asks for each of its networks whether the other holds it: bounded, and
/// independent of how many networks or prefixes exist.
#[inline(always)]
pub fn shared_network(a: &Membership, b: &Membership, sets: &impl Networks) -> Option<u32> {
    if a.networks == 0 || b.networks == 0 {
        return None;
    }
    if a.set == b.set {
        return sets.number_at(a.first);
    }
    let (short, long) = if a.networks <= b.networks { (a, b) } else { (b, a) };
    sets.first_in(Run { first: short.first, count: u32::from(short.networks) }, long.set)
}

/// The first network of a list that a set holds.
#[inline(always)]
pub fn first_in(
    networks: Run,
    set: u32,
    number_at: impl Fn(u32) -> Option<u32>,
    holds: impl Fn(SetMember) -> bool,
) -> Option<u32> {
    for i in 0..MAX_NETWORKS_PER_ADDRESS {
        if i >= networks.count {
            break;
        }
        let network = number_at(networks.first.wrapping_add(i))?;
        if holds(SetMember { set, network }) {
            return Some(network);
        }
    }
    None
}

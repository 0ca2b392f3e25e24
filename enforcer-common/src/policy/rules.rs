//! What rules say: services between two ends, and the search for the rules that match a packet.

use bytemuck::{Pod, Zeroable};

use super::{Ends, Run};
use crate::{
    flow::{FlowKey, protocol},
    forgotten::Forgotten,
    limits::{MAX_ENDS_PER_ADDRESS, SEARCH_STEPS},
    map_layout,
};

/// Two ends that at least one rule connects (key of the bank's table of pairs).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct EndPair {
    /// Who opens.
    pub source: u32,
    /// To whom.
    pub target: u32,
}

map_layout!(EndPair, 8);

/// What the rules between two ends say: a run of the bank's list of [`ServiceRange`]s (value of the table
/// of pairs).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct ServiceList {
    /// Index of the first range, which starts at [`Point::FIRST`].
    pub first: u32,
    /// Ranges, at least 1 and at most [`crate::limits::MAX_RANGES_PER_PAIR`]; sorted by their starts.
    pub count: u32,
}

map_layout!(ServiceList, 8);

/// The rule for every point from `start` up to the next range's start.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct ServiceRange {
    /// First point.
    pub start: Point,
    /// What holds there.
    pub rule: RuleWord,
}

map_layout!(ServiceRange, 8);

/// Where a packet lies among all services.
///
/// Bits 0–15 are the destination port in host byte order or ICMP type and code, bits 16–23 the protocol. A
/// later fragment of unknown ports has a point of its own: bit 24 and its protocol or, where not even that
/// is known, bit 25.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct Point(pub u32);

impl Point {
    /// The lowest.
    pub const FIRST: Self = Self(0);
    /// The highest of a packet whose ports are known.
    pub const LAST: Self = Self(0x00ff_ffff);
    /// A later fragment of who knows which protocol: IPv6 has extension headers within its datagram.
    pub const UNKNOWN: Self = Self(0x0200_0000);

    /// A destination port, in host byte order; or ICMP type << 8 | code.
    #[inline(always)]
    pub const fn port(protocol: u8, port: u16) -> Self {
        Self((protocol as u32) << 16 | port as u32)
    }

    /// A later fragment of unknown ports.
    #[inline(always)]
    pub const fn no_ports(protocol: u8) -> Self {
        Self(0x0100_0000 | (protocol as u32) << 16)
    }

    /// Where the packets of `key` lie.
    #[inline(always)]
    pub const fn of(key: &FlowKey) -> Self {
        if !key.has_ports() {
            return if protocol::is_extension(key.protocol) {
                Self::UNKNOWN
            } else {
                Self::no_ports(key.protocol)
            };
        }
        match key.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP => {
                Self::port(key.protocol, u16::from_be(key.dst_port))
            }
            _ => Self::port(key.protocol, (key.icmp_type as u16) << 8 | key.icmp_code as u16),
        }
    }
}

/// A rule's id and what the rule says; 0 for none. Among words of one action the lowest is the surest, then
/// the rule with the lowest id.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct RuleWord(pub u32);

impl RuleWord {
    /// No rule.
    pub const NONE: Self = Self(0);
    const DENY: u32 = 1 << 31;
    const UNSURE: u32 = 1 << 30;
    const AUDIT: u32 = 1 << 29;
    /// Where the tables cannot be read: for all we know a rule denies.
    pub const UNREADABLE: Self = Self::deny(0).unsure();

    /// Rule `id` allows.
    pub const fn allow(id: u32) -> Self {
        Self(id)
    }

    /// Rule `id` denies.
    pub const fn deny(id: u32) -> Self {
        Self(id | Self::DENY)
    }

    /// The same rule in `audit` mode: it stops nobody, and what it would stop is counted.
    #[must_use]
    pub const fn audited(self) -> Self {
        Self(self.0 | Self::AUDIT)
    }

    /// The same, for some of the ports that a later fragment may have.
    #[must_use]
    pub const fn unsure(self) -> Self {
        Self(self.0 | Self::UNSURE)
    }

    /// The rule.
    #[inline(always)]
    pub const fn id(self) -> u32 {
        self.0 & !(Self::DENY | Self::UNSURE | Self::AUDIT)
    }

    /// Whether it denies.
    #[inline(always)]
    pub const fn denies(self) -> bool {
        self.0 & Self::DENY != 0
    }

    /// Where [`Rules`] keeps it: allowing, denying, or denying in `audit` mode.
    #[inline(always)]
    const fn slot(self) -> usize {
        ((self.0 >> 31) + (self.0 >> 29 & 1)) as usize
    }

    /// Whether it holds only for some of the ports.
    #[inline(always)]
    pub const fn is_unsure(self) -> bool {
        self.0 & Self::UNSURE != 0
    }
}

/// The first rules of each action: allowing, denying, and denying in `audit` mode; [`RuleWord::NONE`] for
/// none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules([Forgotten<RuleWord>; 3]);

impl Rules {
    /// The first rule of the same action as `like`.
    #[inline(always)]
    pub fn first(&self, like: RuleWord) -> RuleWord {
        self.0[like.slot()].get()
    }

    /// Nothing was found yet.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        for first in &mut self.0 {
            first.set(RuleWord::NONE);
        }
    }

    /// The better of what was found and what comes.
    #[inline(always)]
    pub fn add(&mut self, rule: RuleWord) {
        let Some(best) = self.0.get_mut(rule.slot()) else { return };
        // Wrapping makes no rule the worst.
        if rule.0.wrapping_sub(1) < best.get().0.wrapping_sub(1) {
            best.set(rule);
        }
    }
}

/// Adds the rules over every pair of an end of the source and an end of the target: bounded, and
/// independent of how many rules exist. A rule over an end that cannot be read may be one that denies.
#[inline(always)]
pub fn match_ends(sources: Run, targets: Run, point: Point, ends: &impl Ends, rules: &mut Rules) {
    let mut all_read = true;
    for i in 0..MAX_ENDS_PER_ADDRESS {
        if i >= sources.count {
            break;
        }
        all_read &= ends
            .end_at(sources.first.wrapping_add(i))
            .is_some_and(|source| ends.match_targets(source, targets, point, rules));
    }
    if !all_read {
        rules.add(RuleWord::UNREADABLE);
    }
}

/// Adds the rules from one end of the source to every end of the target, and says whether all of those could be read. A
/// function of its own: two loops, one in the other, cost the verifier the product of their steps.
#[inline(always)]
pub fn match_targets(source: u32, targets: Run, point: Point, ends: &impl Ends, rules: &mut Rules) -> bool {
    for i in 0..MAX_ENDS_PER_ADDRESS {
        if i >= targets.count {
            break;
        }
        let Some(target) = ends.end_at(targets.first.wrapping_add(i)) else { return false };
        if let Some(list) = ends.services(EndPair { source, target }) {
            rules.add(ends.rule_at(list, point));
        }
    }
    true
}

/// Where a binary search stands; room to work in.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Search {
    low: Forgotten<u32>,
    count: Forgotten<u32>,
    rule: Forgotten<RuleWord>,
}

/// The rule of a list for a point: the last range that starts at or before it.
#[inline(always)]
pub fn search(
    list: ServiceList,
    point: Point,
    at: &mut Search,
    range_at: impl Fn(u32) -> Option<ServiceRange>,
) -> RuleWord {
    at.rule.set(RuleWord::NONE);
    at.low.set(list.first);
    at.count.set(list.count);
    for _ in 0..=SEARCH_STEPS {
        let (low, count) = (at.low.get(), at.count.get());
        let half = count / 2;
        if count == 0 {
            break;
        }
        let Some(range) = range_at(low.wrapping_add(half)) else {
            at.rule.set(RuleWord::UNREADABLE);
            break;
        };
        if range.start.0 <= point.0 {
            at.rule.set(range.rule);
            at.low.set(low.wrapping_add(half + 1));
            at.count.set(count - half - 1);
        } else {
            at.count.set(half);
        }
    }
    at.rule.get()
}

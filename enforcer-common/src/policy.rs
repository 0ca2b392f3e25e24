//! The policy's tables of one bank, and the ruling over two memberships.
//!
//! An address has a *membership*: an interned, sorted set of networks, and the ends of rules that it
//! matches. Kernel memory is linear in the policy's text; pairs of memberships are never materialised.

use bytemuck::{Pod, Zeroable};

use crate::{
    flow::{FlowKey, protocol},
    forgotten::Forgotten,
    limits::{MAX_ENDS_PER_ADDRESS, MAX_NETWORKS_PER_ADDRESS, SEARCH_STEPS},
    map_layout,
};

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
    /// Ends it matches as a source; with the next at most [`MAX_ENDS_PER_ADDRESS`].
    pub sources: u8,
    /// Ends it matches as a source through `world` alone.
    pub world_sources: u8,
    /// Ends it matches as a target; with the next at most [`MAX_ENDS_PER_ADDRESS`].
    pub targets: u8,
    /// Ends it matches as a target through `world` alone.
    pub world_targets: u8,
    /// [`Membership::ENFORCING`] and [`Membership::AUDITED`].
    pub flags: u8,
    /// Zero, but for what the record of a generation notes here ([`crate::control::Generation::without_labels`]).
    pub reserved: [u8; 2],
}

map_layout!(Membership, 20);

/// A run of numbers in the bank's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

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

/// What the policy says about a packet that opens something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// A rule denies it.
    Denied(u32),
    /// Both share this network.
    Shared(u32),
    /// A rule allows it.
    Allowed(u32),
    /// It depends on ports that a later fragment does not have.
    Unsure,
    /// Nothing is said.
    Silent,
}

impl Ruling {
    /// Whether the packet may pass without being an answer to anything.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Shared(_) | Self::Allowed(_))
    }
}

/// One end of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Party {
    /// What its address is a member of.
    pub membership: Membership,
    /// It is the host or one of its endpoints, and so not of the world.
    pub local: bool,
}

/// What a ruling needs of a bank; implemented over BPF maps and over plain vectors.
pub trait Networks {
    /// The number at `index` of the list.
    fn number_at(&self, index: u32) -> Option<u32>;
    /// [`first_in`], over the same bank.
    fn first_in(&self, networks: Run, set: u32) -> Option<u32>;
    /// [`match_ends`], over the same bank.
    fn match_ends(&self, sources: Run, targets: Run, point: Point, rules: &mut Rules);
}

/// What the search for rules needs of a bank.
pub trait Ends {
    /// The number at `index` of the list.
    fn end_at(&self, index: u32) -> Option<u32>;
    /// What the rules between two ends say.
    fn services(&self, pair: EndPair) -> Option<ServiceList>;
    /// The rule of a list for a point.
    fn rule_at(&self, list: ServiceList, point: Point) -> RuleWord;
    /// [`match_targets`], over the same bank.
    fn match_targets(&self, source: u32, targets: Run, point: Point, rules: &mut Rules) -> bool;
}

/// What the policy says about a packet from `src` to `dst`: deny, then a shared network, then allow.
/// `rules` is room to work in.
#[inline(always)]
pub fn ruling(src: &Party, dst: &Party, point: Point, sets: &impl Networks, rules: &mut Rules) -> Ruling {
    rules_between(src, dst, point, sets, rules);
    let deny = rules.first(RuleWord::deny(0));
    if deny != RuleWord::NONE {
        return if deny.is_unsure() { Ruling::Unsure } else { Ruling::Denied(deny.id()) };
    }
    if let Some(network) = shared_network(&src.membership, &dst.membership, sets) {
        return Ruling::Shared(network);
    }
    match rules.first(RuleWord::allow(0)) {
        RuleWord::NONE => Ruling::Silent,
        rule if rule.is_unsure() => Ruling::Unsure,
        rule => Ruling::Allowed(rule.id()),
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

/// The rules that match; where one of both matches no end it costs nothing.
#[inline(always)]
fn rules_between(src: &Party, dst: &Party, point: Point, sets: &impl Networks, rules: &mut Rules) {
    for first in &mut rules.0 {
        first.set(RuleWord::NONE);
    }
    let (sources, targets) = (src.membership.sources(src.local), dst.membership.targets(dst.local));
    if sources.count > 0 && targets.count > 0 {
        sets.match_ends(sources, targets, point, rules);
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

#[cfg(test)]
mod tests;

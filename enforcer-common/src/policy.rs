//! The policy's tables of one bank, and the ruling over two memberships.
//!
//! An address has a *membership*: an interned, sorted set of networks, and the ends of rules that it
//! matches. Kernel memory is linear in the policy's text; pairs of memberships are never materialised.

mod membership;
mod rules;

pub use membership::{Membership, SetMember, first_in, shared_network};
pub use rules::{
    EndPair, Point, RuleWord, Rules, Search, ServiceList, ServiceRange, match_ends, match_targets, search,
};

/// A run of numbers in the bank's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
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

/// The rules that match; where one of both matches no end it costs nothing.
#[inline(always)]
fn rules_between(src: &Party, dst: &Party, point: Point, sets: &impl Networks, rules: &mut Rules) {
    rules.clear();
    let (sources, targets) = (src.membership.sources(src.local), dst.membership.targets(dst.local));
    if sources.count > 0 && targets.count > 0 {
        sets.match_ends(sources, targets, point, rules);
    }
}

#[cfg(test)]
mod tests;

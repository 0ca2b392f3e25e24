//! What covers the addresses at one place of the sweep, kept up to date cut by cut: entering or leaving a
//! prefix touches only the ends of rules that name its network, its group or the prefix itself.

use std::collections::BTreeMap;

use super::ends::{Connections, Ends, Term};
use crate::policy::{prefix::Prefix, rule::End};

/// Where a prefix counts. In the kernel's trie IPv4 lies within IPv6, and the link-local ranges lie within
/// their families; but nothing around a region covers anything in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Region {
    V6,
    V4,
    LinkLocalV4,
    LinkLocalV6,
}

impl Region {
    pub const ALL: [Self; 4] = [Self::V6, Self::V4, Self::LinkLocalV4, Self::LinkLocalV6];

    /// The region in which a prefix lies.
    pub fn of(prefix: &Prefix) -> Self {
        let [v4, v6] = &Prefix::LINK_LOCAL;
        match prefix.is_v4() {
            true if v4.encloses(prefix) => Self::LinkLocalV4,
            true => Self::V4,
            false if v6.encloses(prefix) => Self::LinkLocalV6,
            false => Self::V6,
        }
    }

    const fn is_link_local(self) -> bool {
        matches!(self, Self::LinkLocalV4 | Self::LinkLocalV6)
    }
}

/// What changes at a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A region begins.
    Region,
    /// A network or group, by its index, has it.
    Include(usize),
    /// A network or group excepts it.
    Except(usize),
    /// Rules name it.
    Inline(Term),
}

/// A network or a group, as the sweep knows it.
pub(super) struct Set {
    /// A network's id, and the flag of its mode in a membership; none for a group.
    pub network: Option<(u32, u8)>,
    /// The terms that its members match: its name, and globs.
    pub terms: Vec<Term>,
}

/// See the module. One for each region.
pub(super) struct State<'c> {
    connections: &'c Connections<'c>,
    sets: &'c [Set],
    covers: Vec<Cover>,
    /// Prefixes of networks and groups around, excepted or not.
    covering: u32,
    /// The term `world`, where it means somebody.
    world: Option<Term>,
    /// How often each term matches.
    terms: Vec<u32>,
    /// The networks that include the place, with the flags of their modes.
    pub networks: BTreeMap<u32, u8>,
    sources: Counts,
    targets: Counts,
}

/// How many prefixes of one network or group are around.
#[derive(Clone, Copy, Default)]
struct Cover {
    includes: u32,
    excepts: u32,
}

/// How many terms of each end match; ends of which none does are left out.
type Counts = BTreeMap<u32, u32>;

/// The ends of one side that match.
#[derive(Default)]
pub(super) struct Matched {
    /// Whoever owns the address.
    pub always: Vec<u32>,
    /// Only while it belongs to nobody local.
    pub by_world: Vec<u32>,
}

impl<'c> State<'c> {
    pub fn new(region: Region, connections: &'c Connections<'c>, sets: &'c [Set]) -> Self {
        let mut state = Self {
            connections,
            sets,
            covers: vec![Cover::default(); sets.len()],
            covering: 0,
            world: connections.term(&End::World).filter(|_| !region.is_link_local()),
            terms: vec![0; connections.terms.len()],
            networks: BTreeMap::new(),
            sources: Counts::new(),
            targets: Counts::new(),
        };
        let everywhere = [connections.term(&End::Any), state.world];
        for term in everywhere.into_iter().flatten() {
            state.term(term, true);
        }
        state
    }

    /// Enters or leaves what changes at a prefix.
    pub fn apply(&mut self, change: Change, enters: bool) {
        match change {
            Change::Region => {}
            Change::Include(set) => {
                self.set(set, enters, |cover| &mut cover.includes);
                self.cover(enters);
            }
            Change::Except(set) => self.set(set, enters, |cover| &mut cover.excepts),
            Change::Inline(term) => self.term(term, enters),
        }
    }

    fn set(&mut self, index: usize, enters: bool, count: fn(&mut Cover) -> &mut u32) {
        let cover = &mut self.covers[index];
        let before = cover.includes_place();
        step(count(cover), enters);
        let after = cover.includes_place();
        if before == after {
            return;
        }
        let set = &self.sets[index];
        match set.network {
            Some((network, flag)) if after => _ = self.networks.insert(network, flag),
            Some((network, _)) => _ = self.networks.remove(&network),
            None => {}
        }
        for &term in &set.terms {
            self.term(term, after);
        }
    }

    /// What anything covers, excepted or not, is not of the world.
    fn cover(&mut self, enters: bool) {
        let before = self.covering == 0;
        step(&mut self.covering, enters);
        if let Some(world) = self.world
            && before != (self.covering == 0)
        {
            self.term(world, !before);
        }
    }

    fn term(&mut self, term: Term, enters: bool) {
        let before = self.terms[term] > 0;
        step(&mut self.terms[term], enters);
        if before != (self.terms[term] > 0) {
            count(&mut self.sources, self.connections.sources.having(term), enters);
            count(&mut self.targets, self.connections.targets.having(term), enters);
        }
    }

    /// The ends of sources that match here.
    pub fn sources(&self) -> Matched {
        self.matched(&self.sources, &self.connections.sources)
    }

    /// The ends of targets that match here.
    pub fn targets(&self) -> Matched {
        self.matched(&self.targets, &self.connections.targets)
    }

    fn matched(&self, counts: &Counts, ends: &Ends) -> Matched {
        let world = self.world.filter(|&world| self.terms[world] > 0);
        let mut matched = Matched::default();
        for (&number, &count) in counts {
            let set = ends.set(number);
            if set.none_of.iter().any(|&term| self.terms[term] > 0) {
                continue;
            }
            let by_world = count == 1 && world.is_some_and(|world| set.any_of.contains(&world));
            if by_world { matched.by_world.push(number) } else { matched.always.push(number) }
        }
        matched
    }
}

impl Cover {
    const fn includes_place(self) -> bool {
        self.includes > 0 && self.excepts == 0
    }
}

fn count(counts: &mut Counts, ends: &[u32], enters: bool) {
    for &end in ends {
        let count = counts.entry(end).or_default();
        step(count, enters);
        if *count == 0 {
            counts.remove(&end);
        }
    }
}

const fn step(count: &mut u32, enters: bool) {
    *count = if enters { *count + 1 } else { *count - 1 };
}

//! Prefixes to memberships: one sweep over all of them in address order.
//!
//! The kernel asks one trie once per address, and the longest entry wins; so an entry must hold the
//! union over all prefixes around it, minus the exceptions. The sweep keeps a stack of those that enclose
//! the current one.

use std::fmt;

use enforcer_common::policy::{Membership, SetMember};
use foldhash::{HashMap, HashMapExt};

use super::{
    capacity::{Capacity, CompileError, NAMED},
    ends::{Connections, Ends},
    state::{Change, Matched, Region, Set, State},
};
use crate::policy::{
    ids::Ids,
    mode::Mode,
    model::{AddressSet, Policy},
    name::Name,
    prefix::Prefix,
    rule::End,
    tables::{TableEntry, Tables},
};

/// Writes the longest-prefix table, the lists behind it and the host's membership.
pub(super) fn write(
    policy: &Policy,
    ids: &Ids,
    connections: &Connections,
    capacity: Capacity,
    tables: &mut Tables,
) -> Result<(), CompileError> {
    let sets = sets(policy, ids, connections)?;
    let cuts = cuts(policy, connections);
    let mut sweep = Sweep {
        ids,
        connections,
        capacity,
        lists: Lists { tables, sets: HashMap::new(), runs: HashMap::new() },
        enclosing: Vec::new(),
        states: Region::ALL.map(|region| State::new(region, connections, &sets)),
    };
    for cut in cuts.chunk_by(|a, b| a.prefix == b.prefix) {
        sweep.cut(cut)?;
    }
    sweep.lists.tables.host = sweep.host()?;
    Ok(())
}

/// A place in the address space where memberships may change.
#[derive(Clone, Copy)]
struct Cut {
    prefix: Prefix,
    change: Change,
}

/// Networks, then groups; their indices are what changes are about.
fn all_sets(policy: &Policy) -> impl Iterator<Item = (&Name, &AddressSet)> {
    policy.networks.iter().chain(&policy.groups)
}

fn sets(policy: &Policy, ids: &Ids, connections: &Connections) -> Result<Vec<Set>, CompileError> {
    let mut terms: HashMap<&Name, Vec<usize>> = HashMap::new();
    for (term, end) in connections.terms.iter().enumerate() {
        match end {
            End::Named(name) => terms.entry(name).or_default().push(term),
            End::Glob(glob) => policy
                .names()
                .filter(|name| glob.matches(name))
                .for_each(|name| terms.entry(name).or_default().push(term)),
            _ => {}
        }
    }
    let sets = all_sets(policy).enumerate().map(|(index, (name, set))| {
        let network = (index < policy.networks.len()).then(|| {
            let id = ids.networks.id(name).ok_or_else(|| CompileError::NoId { network: name.clone() })?;
            Ok((id, flag(set.mode())))
        });
        Ok(Set { network: network.transpose()?, terms: terms.remove(name).unwrap_or_default() })
    });
    sets.collect()
}

const fn flag(mode: Mode) -> u8 {
    match mode {
        Mode::Enforce => Membership::ENFORCING,
        Mode::Audit => Membership::AUDITED,
    }
}

/// All cuts in the order in which the sweep meets them.
fn cuts(policy: &Policy, connections: &Connections) -> Vec<Cut> {
    let [v4, v6] = Prefix::LINK_LOCAL;
    let regions = [Prefix::ALL_V4, Prefix::ALL_V6, v4, v6];
    let mut cuts: Vec<Cut> = regions.map(|prefix| Cut { prefix, change: Change::Region }).into();
    for (index, (_, set)) in all_sets(policy).enumerate() {
        let cut = |change| move |&prefix: &Prefix| Cut { prefix, change };
        cuts.extend(set.prefixes().iter().map(cut(Change::Include(index))));
        cuts.extend(set.except().iter().map(cut(Change::Except(index))));
    }
    let inline = connections.terms.iter().enumerate().filter_map(|(term, end)| match end {
        End::Prefix(prefix) => Some(Cut { prefix: *prefix, change: Change::Inline(term) }),
        _ => None,
    });
    cuts.extend(inline);
    cuts.sort_by_cached_key(|cut| (cut.prefix.start(), cut.prefix.bits(), cut.change));
    cuts
}

/// The walk through all cuts.
struct Sweep<'a> {
    ids: &'a Ids,
    connections: &'a Connections<'a>,
    capacity: Capacity,
    lists: Lists<'a>,
    /// The cuts around the current one, outermost first.
    enclosing: Vec<Enclosing<'a>>,
    /// What is around the current cut, by region.
    states: [State<'a>; Region::ALL.len()],
}

struct Enclosing<'a> {
    cuts: &'a [Cut],
    membership: Membership,
}

impl Enclosing<'_> {
    const fn prefix(&self) -> Prefix {
        self.cuts[0].prefix
    }
}

impl<'a> Sweep<'a> {
    /// Everything that changes at one prefix.
    fn cut(&mut self, cuts: &'a [Cut]) -> Result<(), CompileError> {
        let prefix = cuts[0].prefix;
        self.leave_until(prefix);
        let around = self.enclosing.last().map(|outer| outer.membership).unwrap_or_default();
        self.apply(cuts, true);
        let membership = self.membership(prefix)?;
        // An entry that says the same as the one around it changes no answer.
        if membership != around {
            let entry = TableEntry { address: prefix.address(), bits: prefix.bits(), membership };
            self.lists.tables.prefixes.push(entry);
        }
        self.enclosing.push(Enclosing { cuts, membership });
        Ok(())
    }

    /// Leaves every cut that ends before `prefix` begins.
    fn leave_until(&mut self, prefix: Prefix) {
        while let Some(left) = self.enclosing.pop_if(|outer| outer.prefix().end() < prefix.start()) {
            self.apply(left.cuts, false);
        }
    }

    fn apply(&mut self, cuts: &[Cut], enters: bool) {
        let state = &mut self.states[Region::of(&cuts[0].prefix) as usize];
        for cut in cuts {
            state.apply(cut.change, enters);
        }
    }

    /// What the addresses are a member of that no longer cut covers.
    fn membership(&mut self, prefix: Prefix) -> Result<Membership, CompileError> {
        let state = &self.states[Region::of(&prefix) as usize];
        let networks: Vec<u32> = state.networks.keys().copied().collect();
        let flags = state.networks.values().fold(0, |flags, flag| flags | flag);
        if networks.len() > self.capacity.networks_per_address as usize {
            return Err(self.too_many_networks(prefix, &networks));
        }
        let (sources, targets) = (state.sources(), state.targets());
        self.check_ends(&prefix, &sources, &targets)?;
        Ok(Membership { flags, ..self.lists.membership(networks, &sources, &targets) })
    }

    /// The host is in no network, and matches only the ends that name it.
    fn host(&mut self) -> Result<Membership, CompileError> {
        let having = |ends: &Ends| {
            let host = self.connections.term(&End::Host);
            let always = host.map(|term| ends.having(term).to_vec()).unwrap_or_default();
            Matched { always, by_world: Vec::new() }
        };
        let (sources, targets) = (having(&self.connections.sources), having(&self.connections.targets));
        self.check_ends(&"the host", &sources, &targets)?;
        Ok(self.lists.membership(Vec::new(), &sources, &targets))
    }

    fn too_many_networks(&self, prefix: Prefix, networks: &[u32]) -> CompileError {
        let first =
            networks.iter().take(NAMED).filter_map(|&id| self.ids.networks.name(id).cloned()).collect();
        let limit = self.capacity.networks_per_address;
        CompileError::TooManyNetworks { prefix, count: networks.len(), first, limit }
    }

    fn check_ends(
        &self,
        who: &dyn fmt::Display,
        sources: &Matched,
        targets: &Matched,
    ) -> Result<(), CompileError> {
        let limit = self.capacity.ends_per_address;
        for (ends, matched) in [(&self.connections.sources, sources), (&self.connections.targets, targets)] {
            let count = matched.always.len() + matched.by_world.len();
            if count > limit as usize {
                let numbers = matched.always.iter().chain(&matched.by_world);
                let first = numbers.take(NAMED).map(|&number| ends.rule(number).clone()).collect();
                let who = who.to_string();
                return Err(CompileError::TooManyEnds { who, side: ends.side, count, first, limit });
            }
        }
        Ok(())
    }
}

/// The lists that memberships point into; equal ones are written once.
struct Lists<'a> {
    tables: &'a mut Tables,
    /// By networks, the set's id and the index of its first network.
    sets: HashMap<Vec<u32>, (u32, u32)>,
    /// By ends, the index of the first.
    runs: HashMap<Vec<u32>, u32>,
}

impl Lists<'_> {
    fn membership(&mut self, networks: Vec<u32>, sources: &Matched, targets: &Matched) -> Membership {
        let parts = [&sources.always, &sources.by_world, &targets.always, &targets.by_world];
        let [sources, world_sources, targets, world_targets] = parts.map(|part| part.len() as u8);
        let count = networks.len() as u8;
        let (set, first) = self.set(networks);
        let ends = self.run(parts.into_iter().flatten().copied().collect());
        Membership {
            set,
            first,
            ends,
            networks: count,
            sources,
            world_sources,
            targets,
            world_targets,
            ..Membership::default()
        }
    }

    /// The id of a set of networks, and where it begins; ids start at 1.
    fn set(&mut self, networks: Vec<u32>) -> (u32, u32) {
        if networks.is_empty() {
            return (0, 0);
        }
        *self.sets.entry(networks).or_insert_with_key(|networks| {
            let tables = &mut *self.tables;
            tables.sets += 1;
            let (set, first) = (tables.sets, tables.list.len() as u32);
            tables.list.extend(networks);
            tables.members.extend(networks.iter().map(|&network| SetMember { set, network }));
            (set, first)
        })
    }

    fn run(&mut self, ends: Vec<u32>) -> u32 {
        if ends.is_empty() {
            return 0;
        }
        *self.runs.entry(ends).or_insert_with_key(|ends| {
            let first = self.tables.list.len() as u32;
            self.tables.list.extend(ends);
            first
        })
    }
}

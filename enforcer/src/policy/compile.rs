//! Model to tables: one longest-prefix table whose every entry holds all networks that cover it.
//!
//! On the policy's way: text → spec → model → **tables**. Pure and deterministic: the same policy and
//! ids give the same tables, byte for byte.
//!
//! The kernel asks one trie once per address, and the longest entry wins; so an entry must hold the
//! union over all prefixes around it, minus the exceptions. One sweep over all prefixes and exceptions
//! in address order does that, with a stack of those that enclose the current one.

use std::collections::HashMap;

use enforcer_common::{
    limits,
    policy::{Membership, SetMember},
};
use thiserror::Error;

use super::{
    ids::IdTable,
    model::Policy,
    name::Name,
    prefix::Prefix,
    tables::{TableEntry, Tables},
};

/// How much the kernel's tables hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Networks that one address may be a member of.
    pub networks_per_address: u32,
    /// Entries of the longest-prefix table.
    pub prefixes: u32,
    /// Pairs of a set and a network in it.
    pub set_members: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            networks_per_address: limits::MAX_NETWORKS_PER_ADDRESS,
            prefixes: limits::MAX_PREFIXES,
            set_members: limits::MAX_SET_MEMBERS,
        }
    }
}

/// Why a policy has no tables.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CompileError {
    /// The id table was not made for this policy.
    #[error("network {network} has no id")]
    NoId { network: Name },
    /// More than the kernel's search for a common network looks at.
    #[error("{prefix} is in {count} networks ({}), an address may be in {limit}", list(.first, *.count))]
    TooManyNetworks { prefix: Prefix, count: usize, first: Vec<Name>, limit: u32 },
    /// The longest-prefix table is too small.
    #[error("policy needs {} prefix entries, the table holds {}", grouped(*.needed), grouped(*.limit as usize))]
    TooManyPrefixes { needed: usize, limit: u32 },
    /// The table of sets is too small.
    #[error("policy needs {} membership entries, the table holds {}", grouped(*.needed), grouped(*.limit as usize))]
    TooManySetMembers { needed: usize, limit: u32 },
}

/// Networks that [`CompileError::TooManyNetworks`] names.
const NAMED: usize = 3;

fn list(first: &[Name], count: usize) -> String {
    let names: Vec<&str> = first.iter().map(Name::as_str).collect();
    let more = if count > names.len() { ", …" } else { "" };
    names.join(", ") + more
}

/// A number with its thousands set apart.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// The tables of `policy` under the names of `ids`, if the kernel can hold them.
pub fn compile(policy: &Policy, ids: &IdTable, capacity: Capacity) -> Result<Tables, CompileError> {
    let cuts = cuts(policy, ids)?;
    let mut sweep = Sweep::new(ids, capacity.networks_per_address);
    for cut in cuts.chunk_by(|a, b| a.prefix == b.prefix) {
        sweep.cut(cut)?;
    }
    let tables = Tables { networks: policy.networks.len() as u32, ..sweep.tables };
    let (needed, limit) = (tables.prefixes.len(), capacity.prefixes);
    if needed > limit as usize {
        return Err(CompileError::TooManyPrefixes { needed, limit });
    }
    let (needed, limit) = (tables.members.len(), capacity.set_members);
    if needed > limit as usize {
        return Err(CompileError::TooManySetMembers { needed, limit });
    }
    Ok(tables)
}

/// A place in the address space where memberships may change.
#[derive(Clone, Copy)]
struct Cut {
    prefix: Prefix,
    change: Change,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// IPv4 begins: nothing that encloses it in the trie covers it.
    Family,
    Include(u32),
    Except(u32),
}

/// All cuts in the order in which the sweep meets them.
fn cuts(policy: &Policy, ids: &IdTable) -> Result<Vec<Cut>, CompileError> {
    let mut cuts = vec![Cut { prefix: Prefix::ALL_V4, change: Change::Family }];
    for (name, network) in &policy.networks {
        let id = ids.id(name).ok_or_else(|| CompileError::NoId { network: name.clone() })?;
        let cut = |change| move |&prefix: &Prefix| Cut { prefix, change };
        cuts.extend(network.prefixes().iter().map(cut(Change::Include(id))));
        cuts.extend(network.except().iter().map(cut(Change::Except(id))));
    }
    cuts.sort_by_cached_key(|cut| (cut.prefix.start(), cut.prefix.bits(), cut.change));
    Ok(cuts)
}

/// The walk through all cuts.
struct Sweep<'a> {
    ids: &'a IdTable,
    networks_per_address: u32,
    tables: Tables,
    interned: HashMap<Vec<u32>, Membership>,
    /// The cuts around the current one, outermost first.
    enclosing: Vec<Enclosing>,
    /// How many exceptions on the stack each network has, per family: an exception of `::/0` encloses
    /// IPv4 in the trie but takes nothing out of it.
    excepted: HashMap<(bool, u32), u32>,
}

struct Enclosing {
    prefix: Prefix,
    membership: Membership,
    excepts: Vec<u32>,
}

impl<'a> Sweep<'a> {
    fn new(ids: &'a IdTable, networks_per_address: u32) -> Self {
        Self {
            ids,
            networks_per_address,
            tables: Tables::default(),
            interned: HashMap::from([(Vec::new(), Membership::default())]),
            enclosing: Vec::new(),
            excepted: HashMap::new(),
        }
    }

    /// Everything that changes at one prefix.
    fn cut(&mut self, cuts: &[Cut]) -> Result<(), CompileError> {
        let prefix = cuts[0].prefix;
        self.leave_until(prefix);
        let around = self.enclosing.last().map(|outer| outer.membership).unwrap_or_default();
        let excepts = self.except(cuts);
        let members = self.members(cuts, &excepts);
        let membership = self.intern(prefix, members)?;
        // An entry that says the same as the one around it changes no answer.
        if membership != around {
            let entry = TableEntry { address: prefix.address(), bits: prefix.bits(), membership };
            self.tables.prefixes.push(entry);
        }
        self.enclosing.push(Enclosing { prefix, membership, excepts });
        Ok(())
    }

    /// Leaves every cut that ends before `prefix` begins.
    fn leave_until(&mut self, prefix: Prefix) {
        while let Some(left) = self.enclosing.pop_if(|outer| outer.prefix.end() < prefix.start()) {
            for network in left.excepts {
                if let Some(count) = self.excepted.get_mut(&(left.prefix.is_v4(), network)) {
                    *count -= 1;
                }
            }
        }
    }

    /// Enters the exceptions among `cuts`.
    fn except(&mut self, cuts: &[Cut]) -> Vec<u32> {
        let excepts = cuts.iter().filter_map(|cut| match cut.change {
            Change::Except(network) => Some(network),
            _ => None,
        });
        let excepts: Vec<u32> = excepts.collect();
        for &network in &excepts {
            *self.excepted.entry((cuts[0].prefix.is_v4(), network)).or_default() += 1;
        }
        excepts
    }

    /// The members around the cuts and those that begin here, without the excepted.
    fn members(&self, cuts: &[Cut], excepts: &[u32]) -> Vec<u32> {
        let family = cuts[0].prefix.is_v4();
        let outer = self.enclosing.last().filter(|outer| outer.prefix.is_v4() == family);
        let inherited = outer.map(|outer| self.tables.networks_of(outer.membership)).unwrap_or_default();
        let excepted = |network: u32| self.excepted.get(&(family, network)).is_some_and(|&count| count > 0);
        let begun = cuts.iter().filter_map(|cut| match cut.change {
            Change::Include(network) if !excepted(network) => Some(network),
            _ => None,
        });
        let mut members: Vec<u32> =
            inherited.iter().copied().filter(|network| !excepts.contains(network)).chain(begun).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The membership of a set, the same for every address that has this set.
    fn intern(&mut self, prefix: Prefix, members: Vec<u32>) -> Result<Membership, CompileError> {
        if let Some(&known) = self.interned.get(&members) {
            return Ok(known);
        }
        if members.len() > self.networks_per_address as usize {
            return Err(self.too_many(prefix, &members));
        }
        let tables = &mut self.tables;
        tables.sets += 1;
        let (set, first) = (tables.sets, tables.list.len() as u32);
        tables.list.extend(&members);
        tables.members.extend(members.iter().map(|&network| SetMember { set, network }));
        let membership = Membership { set, first, networks: members.len() as u8, ..Membership::default() };
        self.interned.insert(members, membership);
        Ok(membership)
    }

    fn too_many(&self, prefix: Prefix, members: &[u32]) -> CompileError {
        let first = members.iter().take(NAMED).filter_map(|&id| self.ids.name(id).cloned()).collect();
        let limit = self.networks_per_address;
        CompileError::TooManyNetworks { prefix, count: members.len(), first, limit }
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;

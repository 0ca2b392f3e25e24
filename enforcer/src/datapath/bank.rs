//! Policy generations: build one in an idle bank, then publish it with one store.
//!
//! A bank's tables are made anew for a generation, unless the same lies there from an earlier one, and frozen once they are
//! filled: nobody can change what is in them, only put others in their place. Which bank is idle is
//! [`crate::daemon::generations`]' to know.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::{self, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH};
use enforcer_common::{
    control::{ControlWord, Generation},
    limits::{BANK_TABLES, GENERATION_SLOTS},
    policy::{EndPair, ServiceList},
};

use super::{
    bpf::{self, MapShape},
    contents,
    install::{self, Table, inner_id},
    prefixes,
    tables::{TableError, Tables},
};
use crate::policy;

/// `BPF_F_NO_PREALLOC`, which the kernel demands of a trie.
pub(super) const NO_PREALLOC: u32 = 1;
/// `BPF_F_INNER_MAP`: arrays of different sizes may take turns behind one outer slot.
pub(super) const INNER_MAP: u32 = 1 << 12;

/// The tables of banks, in the order in which a record notes what is in its own.
pub(super) const BANKED: [&str; BANK_TABLES] =
    ["MEMBERSHIPS", "LISTS", "SET_MEMBERS", "PAIRS", "SERVICES", "PREFIXES"];

/// Entries per batch: a batch holds a lock on nothing, but its buffers are ours.
const BATCH: usize = 16 * 1024;

impl Tables {
    /// Writes a whole policy into `bank`, which no packet reads.
    pub fn build_bank(&self, bank: u32, policy: &policy::Tables) -> Result<(), TableError> {
        let present = vec![1_u32; policy.members.len()];
        let (pairs, lists): (Vec<EndPair>, Vec<ServiceList>) = policy.pairs.iter().copied().unzip();
        let (list, ranges) = (&policy.list, &policy.ranges);
        let mut tables = Vec::new();
        tables.extend(self.array(bank, (&self.lists, "LISTS"), list)?);
        tables.extend(self.hash(bank, (&self.set_members, "SET_MEMBERS"), &policy.members, &present)?);
        tables.extend(self.hash(bank, (&self.pairs, "PAIRS"), &pairs, &lists)?);
        tables.extend(self.array(bank, (&self.services, "SERVICES"), ranges)?);
        let (made, unmade): (Vec<_>, Vec<_>) =
            [self.kind, self.kind.other()].into_iter().partition(|kind| *kind == self.kind || self.both);
        for kind in made {
            let prefixes = prefixes::make(kind, &policy.prefixes, &policy.since);
            tables.push(Table::new((self.prefixes(kind), kind.prefixes()), prefixes)?);
        }
        // From here on the bank is another's no longer.
        self.graces.settle().map_err(TableError::Grace)?;
        for kind in unmade {
            remove(self.prefixes(kind), kind.prefixes(), bank)?;
        }
        install::put(bank, tables)
    }

    fn array<'a, V: aya::Pod + bytemuck::Pod + PartialEq>(
        &self,
        bank: u32,
        to: (&'a MapData, &'static str),
        values: &[V],
    ) -> Result<Option<Table<'a>>, TableError> {
        self.renewed(bank, to, [&[], bytemuck::cast_slice(values)], || array(values))
    }

    fn hash<'a, K: aya::Pod + bytemuck::Pod, V: aya::Pod + bytemuck::Pod>(
        &self,
        bank: u32,
        to: (&'a MapData, &'static str),
        keys: &[K],
        values: &[V],
    ) -> Result<Option<Table<'a>>, TableError> {
        let parts = [bytemuck::cast_slice(keys), bytemuck::cast_slice(values)];
        self.renewed(bank, to, parts, || inner_map(BPF_MAP_TYPE_HASH, 0, keys.len(), keys, values))
    }

    /// A table for a bank; `None` where what lies there holds the same.
    fn renewed<'a>(
        &self,
        bank: u32,
        to: (&'a MapData, &'static str),
        parts: [&[u8]; 2],
        make: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> Result<Option<Table<'a>>, TableError> {
        let ((outer, name), digest) = (to, contents::digest(parts));
        let lies_there = inner_id(outer, name, bank)?;
        if lies_there.is_some_and(|id| self.contents.holds(bank, name, id, digest)) {
            return Ok(None);
        }
        let table = Table::new(to, make())?;
        self.contents.note(bank, name, table.id, digest);
        Ok(Some(table))
    }

    /// Kernel ids of the tables in a bank, as [`BANKED`]; 0 where there is none, and for prefixes of the other kind. Others
    /// than were installed mean that somebody else replaced them.
    pub fn bank_maps(&self, bank: u32) -> Result<[u32; BANK_TABLES], TableError> {
        let outer =
            [&self.memberships, &self.lists, &self.set_members, &self.pairs, &self.services, &self.prefixes];
        let mut ids = [0; BANK_TABLES];
        for (id, (name, outer)) in ids.iter_mut().zip(BANKED.into_iter().zip(outer)) {
            if name != self.kind.other().prefixes() {
                *id = inner_id(outer, name, bank)?.unwrap_or_default();
            }
        }
        Ok(ids)
    }

    /// Writes the record that a control word will point at.
    pub fn write_generation(&mut self, slot: u32, record: Generation) -> Result<(), TableError> {
        debug_assert!(slot < GENERATION_SLOTS);
        self.generations
            .set(slot, record, 0)
            .map_err(|source| TableError::Map { name: "GENERATIONS", source })
    }

    /// Lets `word` decide, from the next packet on: one store. Its record was written before.
    pub fn publish(&self, word: ControlWord) {
        // SAFETY: the mapping is live, writable and aligned; `active` is the first word.
        let active = unsafe { AtomicU64::from_ptr((&raw mut (*self.control.as_ptr()).active).cast()) };
        active.store(word.0, Ordering::Release);
        self.graces.begin();
    }

    /// Every generation record, by slot; a slot that was never used has number 0.
    pub fn generations(&self) -> Result<[Generation; GENERATION_SLOTS as usize], TableError> {
        let mut records = [Generation::default(); GENERATION_SLOTS as usize];
        for (slot, record) in (0..).zip(&mut records) {
            *record = self
                .generations
                .get(&slot, 0)
                .map_err(|source| TableError::Map { name: "GENERATIONS", source })?;
        }
        Ok(records)
    }
}

/// A table for a bank, filled and closed to writing.
pub(super) fn inner_map<K: aya::Pod, V: aya::Pod>(
    kind: bpf_map_type,
    flags: u32,
    entries: usize,
    keys: &[K],
    values: &[V],
) -> io::Result<OwnedFd> {
    // The kernel refuses a map without entries; an empty policy has one that is never found.
    let entries = entries.max(1) as u32;
    let (key, value) = (size_of::<K>() as u32, size_of::<V>() as u32);
    let shape = MapShape { kind: kind as u32, key, value, entries, flags };
    let map = bpf::create_map("enforcer_bank", shape, None)?;
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        bpf::update_batch(&map, keys, values)?;
    }
    bpf::freeze(&map)?;
    Ok(map)
}

/// The same, of an array. What is zero is so already where nobody wrote, and is not written: each entry takes a while.
pub(super) fn array<V: aya::Pod + bytemuck::Pod + PartialEq>(values: &[V]) -> io::Result<OwnedFd> {
    let written = (0_u32..).zip(values).filter(|(_, value)| **value != V::zeroed());
    let (indices, written): (Vec<u32>, Vec<V>) = written.unzip();
    inner_map(BPF_MAP_TYPE_ARRAY, INNER_MAP, values.len(), &indices, &written)
}

/// Nobody asks there any more.
pub(super) fn remove(outer: &MapData, name: &'static str, bank: u32) -> Result<(), TableError> {
    match bpf::delete(outer.fd(), &bank) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(TableError::Io { operation: "remove from", name, source })
        }
        _ => Ok(()),
    }
}

//! Policy generations: build one in an idle bank, then publish it with one store.
//!
//! A bank's tables are made anew for every generation, and frozen once they are filled: nobody can change
//! what is in them, only put others in their place. Putting them into the idle slot makes the kernel
//! wait until no running program can see what was there before; which bank is idle is
//! [`crate::daemon::generations`]' to know.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapData, MapError, lpm_trie::Key};
use aya_obj::generated::bpf_map_type::{self, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE};
use enforcer_common::{
    address::Address,
    control::{ControlWord, Generation},
    limits::{BANK_TABLES, GENERATION_SLOTS},
    policy::{EndPair, Membership, ServiceList, SetMember},
};

use super::{
    bpf,
    tables::{TableError, Tables},
};
use crate::policy;

/// `BPF_F_NO_PREALLOC`, which the kernel demands of a trie.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_INNER_MAP`: arrays of different sizes may take turns behind one outer slot.
const INNER_MAP: u32 = 1 << 12;

/// Entries per batch: a batch holds a lock on nothing, but its buffers are ours.
const BATCH: usize = 16 * 1024;

impl Tables {
    /// Writes a whole policy into `bank`, which no packet reads.
    pub fn build_bank(&self, bank: u32, policy: &policy::Tables) -> Result<(), TableError> {
        let keys: Vec<Key<Address>> =
            policy.prefixes.iter().map(|entry| Key::new(u32::from(entry.bits), entry.address)).collect();
        let memberships: Vec<Membership> = policy.prefixes.iter().map(|entry| entry.membership).collect();
        let inner = inner_map::<Key<Address>, Membership>(BPF_MAP_TYPE_LPM_TRIE, keys.len(), NO_PREALLOC);
        install(&self.memberships, "MEMBERSHIPS", bank, inner, &keys, &memberships)?;

        install_array(&self.lists, "LISTS", bank, &policy.list)?;

        let present = vec![1_u32; policy.members.len()];
        let inner = inner_map::<SetMember, u32>(BPF_MAP_TYPE_HASH, policy.members.len(), 0);
        install(&self.set_members, "SET_MEMBERS", bank, inner, &policy.members, &present)?;

        let (pairs, lists): (Vec<EndPair>, Vec<ServiceList>) = policy.pairs.iter().copied().unzip();
        let inner = inner_map::<EndPair, ServiceList>(BPF_MAP_TYPE_HASH, pairs.len(), 0);
        install(&self.pairs, "PAIRS", bank, inner, &pairs, &lists)?;
        install_array(&self.services, "SERVICES", bank, &policy.ranges)
    }

    /// Kernel ids of the tables in a bank, 0 where there is none: others than were installed mean that somebody
    /// else replaced them.
    pub fn bank_maps(&self, bank: u32) -> Result<[u32; BANK_TABLES], TableError> {
        let outer = [
            ("MEMBERSHIPS", &self.memberships),
            ("LISTS", &self.lists),
            ("SET_MEMBERS", &self.set_members),
            ("PAIRS", &self.pairs),
            ("SERVICES", &self.services),
        ];
        let mut ids = [0; BANK_TABLES];
        for (id, (name, outer)) in ids.iter_mut().zip(outer) {
            let found = bpf::lookup(outer.fd(), &bank);
            *id = found
                .map_err(|source| TableError::Io { operation: "look into", name, source })?
                .unwrap_or_default();
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

fn inner_map<K, V>(kind: bpf_map_type, entries: usize, flags: u32) -> Result<MapData, MapError> {
    // The kernel refuses a map without entries; an empty policy has one that is never found.
    let entries = entries.max(1) as u32;
    let definition = aya_obj::Map::new_from_params(
        kind as u32,
        size_of::<K>() as u32,
        size_of::<V>() as u32,
        entries,
        flags,
    );
    MapData::create(definition, "enforcer_bank", None)
}

fn install_array<V: aya::Pod>(
    outer: &MapData,
    name: &'static str,
    bank: u32,
    values: &[V],
) -> Result<(), TableError> {
    let indices: Vec<u32> = (0..values.len() as u32).collect();
    let inner = inner_map::<u32, V>(BPF_MAP_TYPE_ARRAY, values.len(), INNER_MAP);
    install(outer, name, bank, inner, &indices, values)
}

fn install<K: aya::Pod, V: aya::Pod>(
    outer: &MapData,
    name: &'static str,
    bank: u32,
    inner: Result<MapData, MapError>,
    keys: &[K],
    values: &[V],
) -> Result<(), TableError> {
    let inner = inner.map_err(|source| TableError::Map { name, source })?;
    let failed = |operation| move |source: io::Error| TableError::Io { operation, name, source };
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        bpf::update_batch(inner.fd(), keys, values).map_err(failed("fill"))?;
    }
    bpf::freeze(inner.fd()).map_err(failed("freeze"))?;
    let descriptor = inner.fd().as_fd().as_raw_fd();
    bpf::update(outer.fd(), &bank, &descriptor).map_err(failed("install"))
}

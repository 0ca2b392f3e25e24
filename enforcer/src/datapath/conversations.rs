//! Makes conversations known that were opened before the programs saw them: the user half of the state table.
//!
//! The table is written by the programs without a lock, set by set. A set is read, changed and written back here,
//! which may cost a conversation that began in between; a packet of its next second opens it again.

use std::{collections::HashMap, io, os::fd::OwnedFd, path::Path};

use enforcer_common::{
    flow::FlowKey,
    state::{self, StateEntry, StateSet},
};
use nix::time::{ClockId, clock_gettime};

use super::{
    bpf,
    load::Datapath,
    tables::{TableError, Tables},
};

impl Datapath {
    /// Remembers that `key`'s source spoke first; who pays is [`state::payer`]. What is remembered already stays.
    pub fn open_conversation(&mut self, key: &FlowKey, payer: u32, flags: u8) -> Result<(), TableError> {
        self.tables.open_conversation(key, payer, flags)
    }
}

impl Tables {
    /// The kernel's id of the state table, an array of [`StateSet`]s.
    pub fn state_id(&self) -> Result<u32, TableError> {
        let info = self.state.info().map_err(|source| TableError::Map { name: "STATE", source })?;
        Ok(info.id())
    }

    fn open_conversation(&self, key: &FlowKey, payer: u32, flags: u8) -> Result<(), TableError> {
        let failed = |operation| move |source: io::Error| TableError::Io { operation, name: "STATE", source };
        let seed = self.seed.get(&0, 0).map_err(|source| TableError::Map { name: "SEED", source })?;
        let digest = state::digest(key, seed);
        let sets =
            self.state.info().map_err(|source| TableError::Map { name: "STATE", source })?.max_entries();
        // A power of two, as in the datapath.
        let index = digest as u32 & (sets - 1);
        let mut set = bpf::lookup::<u32, StateSet>(self.state.fd(), &index)
            .map_err(failed("read"))?
            .unwrap_or_default();
        let (now, check) = (monotonic(), (digest >> 32) as u32);
        let known = |entry: &StateEntry| entry.check == check && entry.key == *key && entry.is_open(now);
        if set.entries.iter().any(known) {
            return Ok(());
        }
        put(&mut set, StateEntry { last_seen: now, key: *key, check, payer, flags, reserved: [0; 3] }, now);
        bpf::update(self.state.fd(), &index, &set).map_err(failed("write"))
    }
}

/// Makes the conversations of the pinned tables in `from` known in a table of another number of sets, a power of two: those of
/// this moment. Both are used under the same seed. Half a million sets take a second or so.
pub(super) fn carry(from: &Path, to: &OwnedFd, sets: u32) -> io::Result<()> {
    let old = bpf::open_pin(&from.join("STATE"))?;
    let seed = bpf::lookup::<u32, u64>(bpf::open_pin(&from.join("SEED"))?, &0)?.unwrap_or_default();
    let (now, mut index, mut carried) = (monotonic(), 0, HashMap::<u32, StateSet>::new());
    while let Some(set) = bpf::lookup::<u32, StateSet>(&old, &index)? {
        for entry in set.entries.into_iter().filter(|entry| entry.is_open(now)) {
            let digest = state::digest(&entry.key, seed);
            // One that is being written is none.
            if entry.check == (digest >> 32) as u32 {
                put(carried.entry(digest as u32 & (sets - 1)).or_default(), entry, now);
            }
        }
        index += 1;
    }
    carried.iter().try_for_each(|(index, set)| bpf::update(to, index, set))
}

/// In the place of the most dispensable entry.
fn put(set: &mut StateSet, entry: StateEntry, now: u64) {
    let way = state::victim(|way| set.score(way, entry.payer, now));
    set.entries[way] = entry;
}

/// The clock of the state table.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

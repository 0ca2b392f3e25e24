//! Time that passes without anybody waiting for it.

use std::time::Duration;

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use enforcer::datapath::{bpf, load::FROM_ENDPOINT};
use enforcer_common::{
    flow::{FlowEntry, FlowKey, tick},
    flow_table::{V4, V6, WAYS},
    fragment::{FragmentEntry, FragmentKey},
    state::StateSet,
};

use super::Lab;

/// The set of a flow table of ours: whatever is kept in its slots, behind a key of so many words, was seen earlier.
fn age<const SLOT: usize>(set: &mut [[u64; SLOT]; WAYS], key: usize, ticks: u32) {
    for slot in set {
        let words = &mut slot[key..][..size_of::<FlowEntry>() / size_of::<u64>()];
        let entry: &mut FlowEntry = bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(words));
        if entry.verdict != 0 {
            entry.last_seen = entry.last_seen.wrapping_sub(ticks);
        }
    }
}

impl Lab {
    /// Every open conversation has been silent for so much longer, and every flow.
    pub fn silence(&mut self, time: Duration) {
        let id = self.datapath.tables.state_id().expect("the table is there");
        let state = bpf::map_by_id(id).expect("the table is there");
        // All at once: it has tens of thousands of sets.
        let sets = bpf::entries::<u32, StateSet>(&state).expect("the table is readable");
        let mut open = 0;
        for (index, mut set) in sets {
            let used = set.entries.iter_mut().filter(|entry| entry.last_seen != 0);
            let aged =
                used.map(|entry| entry.last_seen = entry.last_seen.wrapping_sub(time.as_nanos() as u64));
            let aged = aged.count();
            if aged > 0 {
                bpf::update(&state, &index, &set).expect("the set is there already");
            }
            open += aged;
        }
        assert!(open > 0, "no conversation is open");
        self.silence_flows(tick(time.as_nanos() as u64));
    }

    /// Every flow has been silent for so many ticks longer.
    pub(super) fn silence_flows(&mut self, ticks: u32) {
        self.age_records::<u32, [[u64; 8]; WAYS]>("FLOWS4", |set| age(set, V4, ticks));
        self.age_records::<u32, [[u64; 12]; WAYS]>("FLOWS6", |set| age(set, V6, ticks));
        self.age_records::<FlowKey, FlowEntry>("FLOWS", |entry| {
            entry.last_seen = entry.last_seen.wrapping_sub(ticks);
        });
    }

    fn age_records<K, V>(&mut self, name: &str, age: impl Fn(&mut V))
    where
        K: Pod + Default,
        V: Pod + Default + PartialEq,
    {
        let table = self.table(name);
        for (key, found) in bpf::entries::<K, V>(table.fd()).expect("the table is readable") {
            let mut aged = found;
            age(&mut aged);
            if aged != found {
                bpf::update(table.fd(), &key, &aged).expect("the entry is there already");
            }
        }
    }

    /// A table by the programs that use it.
    pub(super) fn table(&mut self, name: &str) -> MapData {
        let program = self.datapath.classifier(FROM_ENDPOINT).expect("the program loads");
        let info = program.info().expect("the kernel tells");
        let ids = info.map_ids().expect("the kernel tells").expect("also of tables");
        let tables = ids.into_iter().map(|id| MapData::from_id(id).expect("the table is in use"));
        let mut called =
            tables.filter(|table| table.info().is_ok_and(|info| info.name_as_str() == Some(name)));
        called.next().unwrap_or_else(|| panic!("no program uses {name}"))
    }

    /// Every first fragment was seen so much longer ago.
    pub fn age_fragments(&mut self, time: Duration) {
        let map = self.datapath.ebpf_mut().map_mut("FRAGMENTS").expect("the object has this table");
        let mut fragments: HashMap<&mut MapData, FragmentKey, FragmentEntry> =
            map.try_into().expect("it is a hash map");
        let seen: Vec<_> = fragments.iter().collect::<Result<_, _>>().expect("the table is readable");
        assert!(!seen.is_empty(), "no first fragment is remembered");
        for (key, mut first) in seen {
            first.seen = first.seen.wrapping_sub(time.as_nanos() as u64);
            fragments.insert(key, first, 0).expect("the entry is there already");
        }
    }
}

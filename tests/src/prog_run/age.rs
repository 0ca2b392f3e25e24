//! Time that passes without anybody waiting for it.

use std::time::Duration;

use aya::maps::{HashMap, MapData};
use enforcer::datapath::bpf;
use enforcer_common::{
    fragment::{FragmentEntry, FragmentKey},
    state::StateSet,
};

use super::Lab;

impl Lab {
    /// Every open conversation has been silent for so much longer.
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

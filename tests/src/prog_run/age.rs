//! Time that passes without anybody waiting for it.

use std::time::Duration;

use aya::maps::{HashMap, MapData};
use enforcer_common::{flow::FlowKey, state::StateEntry};

use super::Lab;

impl Lab {
    /// Every open conversation has been silent for so much longer.
    pub fn silence(&mut self, time: Duration) {
        let map = self.datapath.ebpf_mut().map_mut("STATE").expect("the object has this table");
        let mut state: HashMap<&mut MapData, FlowKey, StateEntry> = map.try_into().expect("it is a hash map");
        let entries: Vec<(FlowKey, StateEntry)> =
            state.iter().collect::<Result<_, _>>().expect("the table is readable");
        assert!(!entries.is_empty(), "no conversation is open");
        for (key, entry) in entries {
            let last_seen = entry.last_seen.wrapping_sub(time.as_nanos() as u64);
            state.insert(key, StateEntry { last_seen, ..entry }, 0).expect("the entry is there already");
        }
    }
}

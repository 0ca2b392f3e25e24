//! The state table, as tests look at it and write it.

use aya::maps::{Array, Map, MapData};
use enforcer::datapath::bpf;
use enforcer_common::{
    flow::FlowKey,
    state::{StateEntry, StateSet},
};

use super::Lab;
use crate::packet::Packet;

impl Lab {
    /// What userspace does for a conversation that connection tracking knows: `payer` pays for it.
    pub fn seed(&mut self, question: &Packet, payer: &str, flags: u8) {
        let payer = self.id(payer);
        self.datapath.open_conversation(&key(question), payer, flags).expect("the table is writable");
    }

    /// The number of an endpoint.
    pub fn id(&self, endpoint: &str) -> u32 {
        self.id_of(endpoint).0
    }

    /// The record of a conversation that `question` opened.
    pub fn conversation(&self, question: &Packet) -> Option<StateEntry> {
        let key = key(question);
        self.sets()
            .into_iter()
            .flat_map(|set| set.entries)
            .find(|entry| entry.last_seen != 0 && entry.key == key)
    }

    /// The table had no room for it any more.
    pub fn lose(&mut self, question: &Packet) {
        let id = self.datapath.tables.state_id().expect("the table is there");
        let state = bpf::map_by_id(id).expect("the table is there");
        let key = key(question);
        let is_it = |entry: &StateEntry| entry.last_seen != 0 && entry.key == key;
        let sets = bpf::entries::<u32, StateSet>(&state).expect("the table is readable");
        let found = sets.into_iter().find(|(_, set)| set.entries.iter().any(is_it));
        let (index, mut set) = found.expect("the conversation is open");
        set.entries.iter_mut().filter(|entry| is_it(entry)).for_each(|entry| *entry = StateEntry::default());
        bpf::update(&state, &index, &set).expect("the set is there already");
    }

    /// How many there are, silent ones too.
    pub fn conversations(&self) -> usize {
        let entries = self.sets().into_iter().flat_map(|set| set.entries);
        entries.filter(|entry| entry.last_seen != 0).count()
    }

    fn sets(&self) -> Vec<StateSet> {
        let id = self.datapath.tables.state_id().expect("the table is there");
        let map = MapData::from_id(id).and_then(Map::from_map_data).expect("the table is there");
        let state: Array<MapData, StateSet> = map.try_into().expect("it is an array");
        state.iter().collect::<Result<_, _>>().expect("the table is readable")
    }
}

/// The key under which the programs keep it. Not for ICMP, whose type is in it, too.
fn key(question: &Packet) -> FlowKey {
    let (src_port, dst_port) = question.ports();
    let protocol = question.protocol_number();
    FlowKey {
        src: question.src().into(),
        dst: question.dst().into(),
        src_port: src_port.to_be(),
        dst_port: dst_port.to_be(),
        protocol,
        ..FlowKey::default()
    }
}

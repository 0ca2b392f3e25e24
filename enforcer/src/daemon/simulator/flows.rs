//! What flows remember: of each pair of parties the generation that judged it last, and what that said. A judgement
//! of another generation stands by the same rule as in the kernel.

use std::net::IpAddr;

use enforcer_common::{
    address::Address,
    prefix_trie::Key,
    since::{bucket, is_later},
};

use super::{
    machine::Machine,
    pool::{Passes, parties},
};

/// By pair.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// Which generation decided when packets were sent last, in which bank.
    last: Option<(u64, u32)>,
    known: Vec<Option<Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    generation: u64,
    passes: Passes,
}

impl Flows {
    /// Nobody remembers anything.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Some pairs send something; the first of which the memory says something else than what decides.
pub fn send(machine: &mut Machine) -> Option<String> {
    let deciding = *machine.deciding()?;
    let now = (deciding.number, deciding.bank);
    if machine.changed || machine.flows.last == Some(now) {
        return None;
    }
    machine.flows.last = Some(now);
    let bank = deciding.bank as usize;
    let (says, marks) = (machine.banks[bank]?, &machine.since[bank]);
    let addresses: Vec<IpAddr> = parties().map(|text| text.parse().unwrap()).collect();
    let pairs = addresses.iter().flat_map(|src| addresses.iter().map(move |dst| [src, dst]));
    machine.flows.known.resize(addresses.len() * addresses.len(), None);
    for (pair, ends) in pairs.enumerate() {
        // Others are silent, so that memories are of all ages.
        if (pair as u64 + deciding.number).is_multiple_of(3) {
            continue;
        }
        let is_same = |generation: u64| {
            let mark = |address: &IpAddr| marks[bucket(&Key::new(Address::from(*address))) as usize];
            is_later(generation as u32, deciding.number as u32)
                && !marks.is_empty()
                && ends.iter().all(|address| !is_later(generation as u32, mark(address)))
        };
        let known = &mut machine.flows.known[pair];
        let stands = known.filter(|known| known.generation == deciding.number || is_same(known.generation));
        if let Some(Known { generation, .. }) = stands.filter(|known| !known.passes.agrees(says, pair)) {
            let number = deciding.number;
            return Some(format!(
                "generation {number}: {ends:?} is remembered from generation {generation}, wrongly"
            ));
        }
        *known =
            Some(Known { generation: deciding.number, passes: stands.map_or(says, |known| known.passes) });
    }
    None
}

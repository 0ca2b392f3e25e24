//! What the kernel holds, and outlives the daemon.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::{
    control::{ControlWord, Generation},
    endpoint::{AddressOwner, Endpoint, MaskedSender},
    host::HostEnd,
    limits::{BANK_TABLES, BANKS},
    mode::ModeRecord,
    shortcut::Shortcut,
};

use super::{flows::Flows, host::Host, ledger::Ledger, pool::Passes};
use crate::daemon::{event::Facts, generations::Records, op::Owned};

/// Entries of the table of interfaces: as many as there are interfaces.
pub const ENDPOINTS: usize = 8;
/// Entries of the table of addresses.
pub const ADDRESSES: usize = 14;

/// Programs on an interface, by a pinned link. The link stays when the interface goes, and does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The interface that they were put on.
    pub birth: u64,
    /// The daemon that loaded them.
    pub daemon: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Interfaces and addresses.
    pub host: Host,
    /// Records by interface, of endpoints and of uplinks.
    pub endpoints: BTreeMap<u32, Endpoint>,
    /// Who owns what.
    pub addresses: BTreeMap<Owned, AddressOwner>,
    /// Facts changed, and what flows remember was not ended yet.
    pub changed: bool,
    /// The programs of endpoints.
    pub links: BTreeMap<u32, Link>,
    /// Early guards.
    pub guards: BTreeMap<u32, Link>,
    /// The programs of uplinks.
    pub uplinks: BTreeMap<u32, Link>,
    /// Modes, by slot.
    pub modes: BTreeMap<u32, ModeRecord>,
    /// The host as an end.
    pub host_end: HostEnd,
    /// Whom stamps stand for behind NAT.
    pub senders: BTreeMap<u32, MaskedSender>,
    /// How endpoints may be reached by shortcuts, by id.
    pub shortcuts: BTreeMap<u32, Shortcut>,
    /// What each bank lets pass.
    pub banks: [Option<Passes>; BANKS as usize],
    /// Since when addresses mean what they mean in each bank, by bucket.
    pub since: [Vec<u32>; BANKS as usize],
    /// What flows remember.
    pub flows: Flows,
    /// Ids of the tables in each bank.
    pub bank_maps: [[u32; BANK_TABLES]; BANKS as usize],
    /// Records of generations.
    pub records: Records,
    /// What is published.
    pub word: ControlWord,
    /// What was published before, while packets may be on their way through it.
    pub before: ControlWord,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub now: u64,
    /// The daemons so far.
    pub daemon: u32,
    /// Whose the ids are that were ever counted under.
    pub names: BTreeMap<(&'static str, u32), String>,
    /// What may decide.
    pub ledger: Ledger,
    /// The first thing that must never be.
    pub violation: Option<String>,
}

impl Machine {
    /// Everything in memory is gone.
    pub fn reboot(&mut self) {
        let mut ledger = std::mem::take(&mut self.ledger);
        ledger.reboot();
        *self = Self { ledger, daemon: self.daemon, violation: self.violation.take(), ..Self::default() };
    }

    /// Whether the interface is still the one that the link was made for.
    pub fn is_alive(&self, ifindex: u32, link: &Link) -> bool {
        self.host.birth(ifindex) == Some(link.birth)
    }

    /// The record of a word.
    pub fn record(&self, word: ControlWord) -> &Generation {
        &self.records[word.slot() as usize]
    }

    /// The record of what decides; none before the first policy.
    pub fn deciding(&self) -> Option<&Generation> {
        let word = self.record(self.word).in_force(self.word, self.now);
        (word.generation() != 0).then(|| self.record(word))
    }

    /// What a packet may be reading, or come to read.
    pub fn in_use(&self) -> impl Iterator<Item = ControlWord> {
        let fallback = |word: ControlWord| self.record(word).fallback;
        let before = if self.before.is_unconfirmed() { fallback(self.before) } else { self.before };
        let words = [self.word, fallback(self.word), self.before, before];
        words.into_iter().filter(|word| word.generation() != 0)
    }

    /// What the daemon reads back.
    pub fn facts(&self) -> Facts {
        let is_uplink = |record: &Endpoint| record.flags & Endpoint::UPLINK != 0;
        let alive = |links: &BTreeMap<u32, Link>| -> BTreeSet<u32> {
            let alive = links.iter().filter(|(ifindex, link)| self.is_alive(**ifindex, link));
            alive.map(|(ifindex, _)| *ifindex).collect()
        };
        let (uplinks, endpoints): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.endpoints.iter().partition(|(_, record)| is_uplink(record));
        let mut linked = alive(&self.links);
        let pinned: BTreeSet<u32> = self.links.keys().copied().collect();
        let dead = pinned.difference(&linked).copied().collect();
        linked.retain(|ifindex| endpoints.contains_key(ifindex));
        let ours = |ifindex: &u32| self.links[ifindex].daemon == self.daemon;
        Facts {
            attached: linked.iter().copied().filter(ours).collect(),
            linked,
            dead,
            link_pins: pinned,
            endpoints,
            addresses: self.addresses.clone(),
            uplinks,
            uplinks_attached: alive(&self.uplinks)
                .into_iter()
                .filter(|ifindex| self.uplinks[ifindex].daemon == self.daemon)
                .collect(),
            uplinks_linked: self.uplinks.keys().copied().collect(),
            modes: self.modes.clone(),
            host_end: self.host_end,
            senders: self.senders.clone(),
            guards: alive(&self.guards),
            guard_pins: self.guards.keys().copied().collect(),
        }
    }
}

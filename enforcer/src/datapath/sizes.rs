//! How large the tables are that the host file says something about, and of which kind.

use std::{fs, io, path::Path, sync::LazyLock};

use aya::maps::MapInfo;
use aya_obj::Object;
use enforcer_common::{
    flow_table::sets_per_cpu,
    limits::{CONVERSATIONS, COUNTED_NETWORKS, DENIED, DENIED_PER_CPU, FLOWS, FLOWS_PER_CPU, MAX_RULES},
    state,
};
use serde::Deserialize;
use tracing::warn;

use super::{
    bpf::{self, MapShape},
    pins::Pins,
    tables::TableError,
};

/// In which kind of table flows and prefixes lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// [`enforcer_common::flow_table`] and [`enforcer_common::prefix_trie`].
    #[default]
    Own,
    /// The kernel's LRU hash table and its longest-prefix trie.
    Kernel,
}

/// Sizes that are chosen when the tables are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// In which kind of table flows and prefixes lie.
    pub tables: TableKind,
    /// Allowed flow directions that are remembered, over all processors: of each family in tables of our own, of both
    /// in the kernel's.
    pub flows: u32,
    /// Denied ones of both.
    pub denied: u32,
    /// Conversations that are remembered, of both.
    pub conversations: u32,
    /// Ids of networks that are counted by. What has a higher one is judged as well, but not counted by it. Making
    /// room for a counter on every processor is most of the work of making the tables.
    pub networks: u32,
    /// Ids of rules that are counted by.
    pub rules: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            tables: TableKind::default(),
            flows: FLOWS.max(cpus().saturating_mul(FLOWS_PER_CPU)),
            denied: DENIED.max(cpus().saturating_mul(DENIED_PER_CPU)),
            conversations: CONVERSATIONS,
            networks: COUNTED_NETWORKS,
            rules: MAX_RULES,
        }
    }
}

/// Processors that are there, online or not: machines that could have hundreds have a few. One that is added later has
/// no part of a flow table, and judges every packet.
fn cpus() -> u32 {
    static CPUS: LazyLock<u32> = LazyLock::new(|| {
        let present = fs::read_to_string("/sys/devices/system/cpu/present").ok();
        let last = present.and_then(|list| list.trim().rsplit([',', '-']).next()?.parse::<u32>().ok());
        last.map_or_else(|| aya::util::nr_cpus().map_or(1, |cpus| cpus as u32), |last| last + 1)
    });
    *CPUS
}

/// The tables of a size that is chosen.
pub(super) const SIZED: [&str; 8] =
    ["FLOWS4", "FLOWS6", "DENIED_SETS", "FLOWS", "DENIED", "STATE", "NETWORK_COUNTERS", "RULE_COUNTERS"];

impl Sizes {
    /// Sets of our flow tables that one processor gets; what the datapath is told.
    pub(super) fn flow_sets(self) -> u32 {
        sets_per_cpu(self.flows, cpus())
    }

    /// The same of denied flows.
    pub(super) fn denied_sets(self) -> u32 {
        sets_per_cpu(self.denied, cpus())
    }

    /// Sets of the table of conversations.
    pub(super) fn state_sets(self) -> u32 {
        state::sets(self.conversations)
    }

    /// How many entries each table of a size that is chosen has.
    pub(super) fn entries(self) -> [(&'static str, u32); SIZED.len()] {
        let (own, own_denied, kernel, kernel_denied) = match self.tables {
            TableKind::Own => (self.flow_sets() * cpus(), self.denied_sets() * cpus(), 1, 1),
            // One entry says that the kernel's table is not used.
            TableKind::Kernel => (1, 1, self.flows.max(2), self.denied),
        };
        let (state, networks, rules) = (self.state_sets(), self.networks, self.rules);
        let entries = [own, own, own_denied, kernel, kernel_denied, state, networks, rules];
        std::array::from_fn(|at| (SIZED[at], entries[at]))
    }

    /// Where pinned tables have other sizes, flow tables are replaced, and their records begin anew; conversations and
    /// counters keep their table, whose size counts then. A table that cannot be made leaves the one that is there.
    pub(super) fn settle(mut self, pins: &Pins, object: &Object) -> Result<Self, TableError> {
        for (name, wanted) in self.entries() {
            let path = pins.map(name);
            let Some(found) = pinned_entries(name, &path)?.filter(|found| *found != wanted) else { continue };
            let (key, room, each) = match name {
                "STATE" => ("conversations", &mut self.conversations, state::WAYS as u32),
                "NETWORK_COUNTERS" => ("networks", &mut self.networks, 1),
                "RULE_COUNTERS" => ("rules", &mut self.rules, 1),
                _ => {
                    replace(name, &path, object, wanted).map_err(|source| TableError::Io {
                        operation: "make room for flows in",
                        name,
                        source,
                    })?;
                    continue;
                }
            };
            *room = found * each;
            warn!(
                "datapath.{key} stays {room}, as large as the table in use: {} counts after a reboot, or after \
                 `enforcer clean`, which also ends enforcement and removes saved policies",
                wanted * each
            );
        }
        Ok(self)
    }
}

/// Programs that run on keep what was there.
fn replace(name: &str, path: &Path, object: &Object, entries: u32) -> io::Result<()> {
    let map = object.maps.get(name).ok_or_else(|| io::Error::other("it is not in the object"))?;
    let made = bpf::create_map(name, MapShape { entries, ..MapShape::of(map) }, None)?;
    let staged = path.with_file_name(format!("{name}-new"));
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    bpf::pin(&made, &staged)?;
    fs::rename(&staged, path)
}

fn pinned_entries(name: &'static str, path: &Path) -> Result<Option<u32>, TableError> {
    if !path.exists() {
        return Ok(None);
    }
    let info = MapInfo::from_pin(path).map_err(|source| TableError::Map { name, source })?;
    Ok(Some(info.max_entries()))
}

//! The tables of the datapath: the user half of `enforcer-ebpf/src/maps.rs`.

use std::{
    hash::{BuildHasher, RandomState},
    io,
};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use enforcer_common::{
    address::Address,
    control::{Control, ControlWord, Generation},
    counter::{Counter, EndpointCounters},
    endpoint::{AddressOwner, Endpoint, MaskedSender},
    event::EventBudget,
    host::HostEnd,
    mode::ModeRecord,
};
use nix::time::{ClockId, clock_gettime};

use super::{
    bpf::Mapped, contents::Contents, flow_table::FlowTable, grace::Graces, pins::Pins, sizes::TableKind,
};

/// Every table by the name of its map; what is pinned and what is checked before reuse.
pub const NAMES: [&str; 29] = [
    "CONTROL",
    "GENERATIONS",
    "ENDPOINTS",
    "ADDRESSES",
    "PREFIXES",
    "MEMBERSHIPS",
    "LISTS",
    "SET_MEMBERS",
    "PAIRS",
    "SERVICES",
    "FLOWS4",
    "FLOWS6",
    "DENIED_SETS",
    "FLOWS",
    "DENIED",
    "STATE",
    "SEED",
    "FRAGMENTS",
    "REASONS",
    "ENDPOINT_COUNTERS",
    "NETWORK_COUNTERS",
    "RULE_COUNTERS",
    "ERROR_BUDGET",
    "EVENTS",
    "EVENT_BUDGET",
    "MODES",
    "WOULD_DROPS",
    "HOST",
    "SENDERS",
];

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is not there.
    #[error("table {0} is missing: nothing of enforcer is loaded here")]
    Missing(&'static str),
    /// aya refused it.
    #[error("table {name} cannot be used")]
    Map {
        /// Its name.
        name: &'static str,
        /// What the kernel or aya said.
        source: MapError,
    },
    /// A raw operation failed.
    #[error("failed to {operation} table {name}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which table.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel cannot be made to wait for packets on their way.
    #[error("failed to wait for packets on their way through a policy before")]
    Grace(#[source] io::Error),
}

/// Typed handles of all tables but the event ring and what only the datapath uses.
pub struct Tables {
    pub(super) control: Mapped<Control>,
    /// Programs that are loaded later need its descriptor.
    _control_map: MapData,
    pub(super) generations: Array<MapData, Generation>,
    pub(super) endpoints: HashMap<MapData, u32, Endpoint>,
    pub(super) addresses: LpmTrie<MapData, Address, AddressOwner>,
    /// Of which kind flow tables and prefixes are.
    pub(super) kind: TableKind,
    /// Programs may run that look into prefixes of the other kind.
    pub(super) both: bool,
    /// Prefixes lie in one or the other.
    pub(super) prefixes: MapData,
    pub(super) memberships: MapData,
    pub(super) lists: MapData,
    pub(super) set_members: MapData,
    pub(super) pairs: MapData,
    pub(super) services: MapData,
    /// Flows lie in these,
    pub(super) flow_table: FlowTable,
    /// or in the kernel's kind of the same: allowed ones,
    pub(super) flows: MapData,
    /// and denied ones.
    pub(super) denied: MapData,
    pub(super) state: MapData,
    pub(super) reasons: PerCpuArray<MapData, Counter>,
    pub(super) endpoint_counters: PerCpuArray<MapData, EndpointCounters>,
    pub(super) network_counters: PerCpuArray<MapData, Counter>,
    pub(super) rule_counters: PerCpuArray<MapData, Counter>,
    pub(super) seed: Array<MapData, u64>,
    pub(super) event_budget: PerCpuArray<MapData, EventBudget>,
    pub(super) modes: Array<MapData, ModeRecord>,
    pub(super) would_drops: PerCpuArray<MapData, Counter>,
    pub(super) host: Array<MapData, HostEnd>,
    pub(super) senders: HashMap<MapData, u32, MaskedSender>,
    pub(super) graces: Graces,
    pub(super) contents: Contents,
}

impl Tables {
    /// Takes the tables from wherever `take` finds them by name.
    pub(super) fn collect(
        mut take: impl FnMut(&'static str) -> Result<Map, TableError>,
        writable: bool,
    ) -> Result<Self, TableError> {
        let control_map = data("CONTROL", take("CONTROL")?)?;
        let control = Mapped::new(control_map.fd(), 1, writable).map_err(|source| TableError::Io {
            operation: "map",
            name: "CONTROL",
            source,
        })?;
        let flows = data("FLOWS", take("FLOWS")?)?;
        let kind = kind(&flows).map_err(|source| TableError::Map { name: "FLOWS", source })?;
        Ok(Self {
            kind,
            both: false,
            control,
            _control_map: control_map,
            generations: typed("GENERATIONS", &mut take)?,
            endpoints: typed("ENDPOINTS", &mut take)?,
            addresses: typed("ADDRESSES", &mut take)?,
            prefixes: data("PREFIXES", take("PREFIXES")?)?,
            memberships: data("MEMBERSHIPS", take("MEMBERSHIPS")?)?,
            lists: data("LISTS", take("LISTS")?)?,
            set_members: data("SET_MEMBERS", take("SET_MEMBERS")?)?,
            pairs: data("PAIRS", take("PAIRS")?)?,
            services: data("SERVICES", take("SERVICES")?)?,
            flow_table: FlowTable {
                v4: data("FLOWS4", take("FLOWS4")?)?,
                v6: data("FLOWS6", take("FLOWS6")?)?,
                denied: data("DENIED_SETS", take("DENIED_SETS")?)?,
            },
            flows,
            denied: data("DENIED", take("DENIED")?)?,
            state: data("STATE", take("STATE")?)?,
            reasons: typed("REASONS", &mut take)?,
            endpoint_counters: typed("ENDPOINT_COUNTERS", &mut take)?,
            network_counters: typed("NETWORK_COUNTERS", &mut take)?,
            rule_counters: typed("RULE_COUNTERS", &mut take)?,
            seed: typed("SEED", &mut take)?,
            event_budget: typed("EVENT_BUDGET", &mut take)?,
            modes: typed("MODES", &mut take)?,
            would_drops: typed("WOULD_DROPS", &mut take)?,
            host: typed("HOST", &mut take)?,
            senders: typed("SENDERS", &mut take)?,
            graces: Graces::default(),
            contents: Contents::default(),
        })
    }

    /// Opens the pinned tables for reading: works with no daemon running.
    pub fn open_pinned(pins: &Pins) -> Result<Self, TableError> {
        Self::open(pins, false)
    }

    /// Opens the pinned tables for writing, in the place of a daemon that does not run. Of which kind the programs are
    /// that do, nobody knows.
    pub fn open_writable(pins: &Pins) -> Result<Self, TableError> {
        Ok(Self { both: true, ..Self::open(pins, true)? })
    }

    fn open(pins: &Pins, writable: bool) -> Result<Self, TableError> {
        Self::collect(
            |name| {
                let path = pins.map(name);
                if !path.exists() {
                    return Err(TableError::Missing(name));
                }
                MapData::from_pin(path)
                    .and_then(Map::from_map_data)
                    .map_err(|source| TableError::Map { name, source })
            },
            writable,
        )
    }

    /// Chooses the seed of the state table, once for as long as the table lives.
    pub(super) fn seed(&mut self) -> Result<(), TableError> {
        let failed = |source| TableError::Map { name: "SEED", source };
        if self.seed.get(&0, 0).map_err(failed)? == 0 {
            self.seed.set(0, random_seed(), 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes the datapath forget every conversation: under another seed nobody finds them.
    pub fn forget_conversations(&mut self) -> Result<(), TableError> {
        let failed = |source| TableError::Map { name: "SEED", source };
        self.seed.set(0, random_seed(), 0).map_err(failed)
    }

    /// What decides at this moment.
    pub fn control(&self) -> Control {
        // SAFETY: the mapping is live and aligned; two aligned words, each written whole.
        unsafe { std::ptr::read_volatile(self.control.as_ptr()) }
    }

    /// What decides at this moment, and its record; `None` before the first policy.
    pub fn generation(&self) -> Result<Option<Generation>, TableError> {
        let read = |word: ControlWord| {
            let record = self.generations.get(&word.slot(), 0);
            record.map_err(|source| TableError::Map { name: "GENERATIONS", source })
        };
        let published = self.control().active;
        let word = read(published)?.in_force(published, boottime());
        if word.generation() == 0 { Ok(None) } else { read(word).map(Some) }
    }

    /// How long what decides has left unless it is confirmed, in whole seconds; `None` if it stays.
    pub fn seconds_left(&self) -> Result<Option<u64>, TableError> {
        let published = self.control().active;
        let deciding = self.generation()?.filter(|record| record.number == published.generation());
        let unconfirmed = deciding.filter(|_| published.is_unconfirmed());
        Ok(unconfirmed.map(|record| record.deadline.saturating_sub(boottime()).div_ceil(1_000_000_000)))
    }
}

/// The kernel's table of flows has one entry where it is not used, [`super::sizes`].
fn kind(flows: &MapData) -> Result<TableKind, MapError> {
    Ok(if flows.info()?.max_entries() > 1 { TableKind::Kernel } else { TableKind::Own })
}

/// `CLOCK_BOOTTIME` in nanoseconds: what deadlines of generations are measured by.
pub fn boottime() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every kernel has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Never 0. The standard library's hashers are keyed with the kernel's random bytes.
fn random_seed() -> u64 {
    RandomState::new().hash_one(0_u8) | 1
}

pub(super) fn typed<T: TryFrom<Map, Error = MapError>>(
    name: &'static str,
    take: &mut impl FnMut(&'static str) -> Result<Map, TableError>,
) -> Result<T, TableError> {
    T::try_from(take(name)?).map_err(|source| TableError::Map { name, source })
}

fn data(name: &'static str, map: Map) -> Result<MapData, TableError> {
    match map {
        Map::Array(data) | Map::ArrayOfMaps(data) | Map::LruHashMap(data) => Ok(data),
        _ => Err(TableError::Missing(name)),
    }
}

/// The sum over all CPUs.
pub(super) fn sum<T: aya::Pod + Default + std::ops::AddAssign>(values: &PerCpuValues<T>) -> T {
    let mut total = T::default();
    for value in values.iter() {
        total += *value;
    }
    total
}

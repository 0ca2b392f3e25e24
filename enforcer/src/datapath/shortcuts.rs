//! Ways straight into endpoints: the user half of `enforcer-ebpf/src/shortcut.rs`. Its tables are not pinned: with the
//! programs of another daemon come others, in which nothing is written, and who has no daemon has no lease.

use aya::maps::{Array, HashMap, Map, MapData};
use enforcer_common::shortcut::{Lease, Shortcut};
use nix::time::{ClockId, clock_gettime};

use super::{
    facts::gone,
    tables::{TableError, typed},
};
use crate::shortcut::Kinds;

/// How long a lease holds, in nanoseconds: shortcuts outlive a daemon by no more.
const LEASE: u64 = 2_000_000_000;

/// See the module.
pub struct Shortcuts {
    inside: Array<MapData, Shortcut>,
    outside: HashMap<MapData, u32, u32>,
    lease: Array<MapData, Lease>,
}

impl Shortcuts {
    /// Takes the tables from wherever `take` finds them by name.
    pub(super) fn collect(
        mut take: impl FnMut(&'static str) -> Result<Map, TableError>,
    ) -> Result<Self, TableError> {
        Ok(Self {
            inside: typed("SHORTCUTS", &mut take)?,
            outside: typed("OUTSIDE", &mut take)?,
            lease: typed("LEASE", &mut take)?,
        })
    }

    /// Says how an endpoint may be reached. Nothing else changes while a kind is set, so a packet sees the way as it was,
    /// none, or the way as it is; unless its processor stands still in the midst of it for as long as two of these
    /// writes take.
    pub fn write(&mut self, id: u32, shortcut: Shortcut) -> Result<(), TableError> {
        let failed = |source| TableError::Map { name: "SHORTCUTS", source };
        let before = self.inside.get(&id, 0).map_err(failed)?;
        let closed = |shortcut: Shortcut| Shortcut { flags: 0, ..shortcut };
        for step in [closed(before), closed(shortcut), shortcut] {
            self.inside.set(id, step, 0).map_err(failed)?;
        }
        Ok(())
    }

    /// Says which shortcuts lead through an interface to the outside.
    pub fn write_outside(&mut self, ifindex: u32, kinds: Kinds) -> Result<(), TableError> {
        if kinds == Kinds::NONE {
            return gone("OUTSIDE", self.outside.remove(&ifindex));
        }
        let written = self.outside.insert(ifindex, kinds.0, 0);
        written.map_err(|source| TableError::Map { name: "OUTSIDE", source })
    }

    /// Lets shortcuts of these kinds be taken for a while, and no others.
    pub fn lease(&mut self, kinds: Kinds) -> Result<(), TableError> {
        let until = if kinds == Kinds::NONE { 0 } else { monotonic() + LEASE };
        let lease = Lease { until, flags: kinds.0, reserved: 0 };
        self.lease.set(0, lease, 0).map_err(|source| TableError::Map { name: "LEASE", source })
    }
}

/// The clock that leases go by.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock is always there");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

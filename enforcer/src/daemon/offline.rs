//! Orders that are carried out with no daemon: to keep what awaits confirmation, and to go back. The
//! night on which they are needed may be the one on which the daemon does not start.

use std::{fs, path::Path};

use anyhow::bail;
use nix::fcntl::Flock;

use super::{
    Lock,
    policies::{Outcome, Policies},
    store::Store,
    take_place,
};
use crate::datapath::{pins::Pins, tables::Tables};

/// The place of a daemon, taken.
pub struct Offline {
    tables: Tables,
    policies: Policies,
    _place: (Lock, Option<Flock<fs::File>>),
}

impl Offline {
    /// Takes the daemon's place; none may run, and none can start until this is dropped.
    pub fn open(bpffs: &Path, state_dir: &Path, socket: &Path) -> anyhow::Result<Self> {
        let pins = Pins::new(bpffs.to_owned());
        if pins.ours().is_empty() {
            bail!("nothing is pinned at {}", bpffs.display());
        }
        let place = take_place(socket, bpffs)?;
        let tables = Tables::open_writable(&pins)?;
        let policies = Policies::open(&tables, Store::new(state_dir.to_owned()))?;
        Ok(Self { tables, policies, _place: place })
    }

    /// See [`Policies::confirm`].
    pub fn confirm(&mut self) -> anyhow::Result<Outcome> {
        self.policies.confirm(&mut self.tables)
    }

    /// See [`Policies::rollback`].
    pub fn rollback(&mut self, to: Option<u64>) -> anyhow::Result<Outcome> {
        self.policies.rollback(&mut self.tables, to)
    }
}

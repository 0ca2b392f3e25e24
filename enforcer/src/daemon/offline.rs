//! Orders that are carried out with no daemon: to keep what awaits confirmation, and to go back. The
//! night on which they are needed may be the one on which the daemon does not start.

use anyhow::bail;

use super::{
    Lock,
    policies::{Outcome, Policies},
    store::Store,
};
use crate::datapath::{pins::Pins, tables::Tables};
use std::path::Path;

/// The place of a daemon, taken.
pub struct Offline {
    tables: Tables,
    policies: Policies,
    _lock: Lock,
}

impl Offline {
    /// Takes the daemon's place; none may run, and none can start until this is dropped.
    pub fn open(bpffs: &Path, state_dir: &Path, socket: &Path) -> anyhow::Result<Self> {
        let pins = Pins::new(bpffs.to_owned());
        if pins.ours().is_empty() {
            bail!("nothing is pinned at {}", bpffs.display());
        }
        let lock = Lock::take(socket)?;
        let tables = Tables::open_writable(&pins)?;
        let policies = Policies::open(&tables, Store::new(state_dir.to_owned()))?;
        Ok(Self { tables, policies, _lock: lock })
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

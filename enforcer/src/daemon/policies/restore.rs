//! What ought to decide after a start.

use std::sync::Arc;

use tracing::warn;

use super::{Policies, PolicyTables, Prepared, compile, prepare};
use crate::{
    config::Config,
    daemon::{
        disk::Disk,
        store::{Saved, StoreError, read},
    },
    policy::{self, Ids},
};

impl<D: Disk> Policies<D> {
    /// Leaves the kernel with the policy that ought to decide: after a restart mostly the one that does,
    /// after a boot the last good one, on a new host its files. One for which nothing is any good is left
    /// alone: staying away would leave new workloads open.
    pub fn restore(&mut self, kernel: &mut impl PolicyTables, config: &Config) {
        if self.restored {
            if self.unsettled {
                drop(self.settle());
            }
            return;
        }
        match self.try_restore(kernel, config) {
            Ok(()) => {
                self.restored = true;
                drop(self.settle());
            }
            Err(error) => warn!("no policy could be restored, which is tried again:\n{error:#}"),
        }
        match self.generations.deciding(kernel.boottime()).number {
            0 => warn!("no policy yet: nothing passes between workloads until `enforcer apply`"),
            number if self.saved.is_none() => {
                warn!(number, "the kernel goes on with the generation it has; its names are unknown");
            }
            _ => {}
        }
    }

    /// The same for who orders something in the place of a daemon: no policy is built for it.
    pub fn take_over(&mut self, kernel: &mut impl PolicyTables) -> anyhow::Result<()> {
        let last_good = read(self.store.last_good());
        if self.goes_on(kernel, last_good.as_ref())? {
            self.restored = true;
            drop(self.settle());
        }
        Ok(())
    }

    fn try_restore(&mut self, kernel: &mut impl PolicyTables, config: &Config) -> anyhow::Result<()> {
        let (last_good, is_damaged) = match self.store.last_good() {
            // Not the same as nothing: it may be read the next time.
            Err(error @ StoreError::Io { .. }) => return Err(error.into()),
            outcome => {
                let is_damaged = outcome.is_err();
                (read(outcome), is_damaged)
            }
        };
        if self.goes_on(kernel, last_good.as_ref())? {
            return self.expire(kernel).map(drop);
        }
        let decides = self.generations.deciding(kernel.boottime()).number > 0;
        // Where there was none, what lies there was never confirmed.
        let stands_in = is_damaged && !decides;
        let last_good = if stands_in { self.newest_readable()? } else { last_good };
        let prepared = match last_good {
            Some(saved) => Some(compile(saved.policy, &self.ids)),
            // The files may be older than what decides.
            None if decides => None,
            None => policy_files(config, &self.ids),
        };
        match prepared {
            Some(prepared) => self.publish(kernel, prepared?, None).map(drop),
            None => Ok(()),
        }
    }

    /// Whether what the kernel decides by is what ought to. Finishes what was interrupted between kernel and disk.
    fn goes_on(&mut self, kernel: &mut impl PolicyTables, last_good: Option<&Saved>) -> anyhow::Result<bool> {
        let newest = last_good.map_or(0, |saved| saved.number);
        match self.generations.unconfirmed().map(|record| record.number) {
            // Its confirmation was interrupted between disk and kernel.
            Some(number) if newest == number => {
                self.show(kernel, self.generations.published().confirmed())?;
                self.saved = last_good.cloned().map(Arc::new);
                return Ok(true);
            }
            Some(number) if newest < number => return Ok(true),
            _ => {}
        }
        let deciding = self.generations.deciding(kernel.boottime());
        if deciding.number > newest && self.saved.is_none() {
            // Not the same as nothing, either.
            if let Err(error @ StoreError::Io { .. }) = self.store.generation(deciding.number) {
                return Err(error.into());
            }
            self.saved = self.saved_as(&deciding);
        }
        // Newer than the last good one where a daemon died over its disk.
        Ok(deciding.number > 0 && deciding.number >= newest && self.saved.is_some())
    }

    /// Stands in for a last good policy that cannot be read.
    fn newest_readable(&self) -> anyhow::Result<Option<Saved>> {
        let found = self.store.history()?.next().transpose()?;
        Ok(found.inspect(|saved| warn!(generation = saved.number, "an earlier policy is restored instead")))
    }
}

/// The policy of the host's own files; `None` when there are none.
fn policy_files(config: &Config, ids: &Ids) -> Option<anyhow::Result<Prepared>> {
    let paths = config.policy_files();
    let sources = (!paths.is_empty()).then(|| policy::read(&paths))?;
    Some(sources.map_err(anyhow::Error::from).and_then(|sources| prepare(&sources, ids)))
}

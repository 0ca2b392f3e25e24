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

    fn try_restore(&mut self, kernel: &mut impl PolicyTables, config: &Config) -> anyhow::Result<()> {
        let (last_good, is_damaged) = match self.store.last_good() {
            // Not the same as nothing: it may be read the next time.
            Err(error @ StoreError::Io { .. }) => return Err(error.into()),
            outcome => {
                let is_damaged = outcome.is_err();
                (read(outcome), is_damaged)
            }
        };
        let newest = last_good.as_ref().map_or(0, |saved| saved.number);
        match self.generations.unconfirmed().map(|record| record.number) {
            // Its confirmation was interrupted between disk and kernel.
            Some(number) if newest == number => {
                self.show(kernel, self.generations.published().confirmed())?;
                self.saved = last_good.map(Arc::new);
                return Ok(());
            }
            Some(number) if newest < number => {
                return self.expire(kernel).map(drop);
            }
            _ => {}
        }
        let deciding = self.generations.deciding(kernel.boottime());
        // The daemon before died over its disk.
        let decides_already = self.saved.as_ref().is_some_and(|saved| saved.number == deciding.number);
        if decides_already && newest < deciding.number {
            return Ok(());
        }
        if deciding.number == 0 && !is_damaged {
            // Nothing that came later was ever answered, and of a draft nobody knows whether it is whole.
            drop(self.go_back(newest));
        }
        // Where there was none, what lies there was never confirmed.
        let stands_in = is_damaged && deciding.number == 0;
        let last_good = if stands_in { self.newest_readable() } else { last_good };
        let prepared = match last_good {
            Some(saved) if saved.number == deciding.number && saved.policy.digest() == deciding.digest => {
                return Ok(());
            }
            Some(saved) => Some(compile(saved.policy, &self.ids)),
            // The files may be older than what decides.
            None if deciding.number > 0 => None,
            None => policy_files(config, &self.ids),
        };
        match prepared {
            Some(prepared) => self.publish(kernel, prepared?, None).map(drop),
            None => Ok(()),
        }
    }

    /// Stands in for a last good policy that cannot be read.
    fn newest_readable(&self) -> Option<Saved> {
        let numbers = self.store.generations().unwrap_or_default();
        let found = numbers.into_iter().find_map(|number| read(self.store.generation(number)));
        found.inspect(|saved| warn!(generation = saved.number, "an earlier policy is restored instead"))
    }
}

/// The policy of the host's own files; `None` when there are none.
fn policy_files(config: &Config, ids: &Ids) -> Option<anyhow::Result<Prepared>> {
    let paths = config.policy_files();
    let sources = (!paths.is_empty()).then(|| policy::read(&paths))?;
    Some(sources.map_err(anyhow::Error::from).and_then(|sources| prepare(&sources, ids)))
}

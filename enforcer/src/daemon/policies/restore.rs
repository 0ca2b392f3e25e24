//! What ought to decide after a start.

use std::sync::Arc;

use tracing::warn;

use super::{Policies, PolicyTables, Prepared, compile, prepare};
use crate::{
    config::Config,
    daemon::{
        disk::Disk,
        store::{Saved, Store, StoreError, read},
    },
    datapath::tables::TableError,
    policy::{self, Ids, doubt},
    report::remark,
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
            0 => warn!(
                "no policy yet: nothing passes between workloads until `enforcer apply`{}",
                remark(config.mode)
            ),
            number if self.saved.is_none() => {
                warn!(
                    number,
                    "the kernel goes on with the generation it has; its names are unknown until `enforcer apply`"
                );
            }
            _ => {}
        }
    }

    /// The same for who orders something in the place of a daemon: nothing is built, and nothing else confirmed.
    pub fn stand_in(kernel: &impl PolicyTables, store: Store<D>) -> Result<Self, TableError> {
        let mut policies = Self::open(kernel, store)?;
        if policies.goes_on(kernel) {
            policies.restored = true;
            drop(policies.settle());
        }
        Ok(policies)
    }

    fn try_restore(&mut self, kernel: &mut impl PolicyTables, config: &Config) -> anyhow::Result<()> {
        let deciding = self.generations.deciding(kernel.boottime());
        let decides = deciding.number > 0;
        if decides && self.saved.is_none() {
            // What cannot be read is not nothing: it may be read the next time.
            self.saved = self.store.saved_as(&deciding)?.map(Arc::new);
        }
        if self.goes_on(kernel) {
            self.expire(kernel)?;
            return self.finish_confirmation(kernel);
        }
        let last_good = match self.store.last_good() {
            Err(error @ StoreError::Io { .. }) => return Err(error.into()),
            // Where something decides it is older.
            Err(error) if !decides => {
                drop(read::<Saved>(Err(error)));
                self.newest_readable()?
            }
            outcome => read(outcome),
        };
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

    /// Whether what the kernel decides by is known, or ends by itself.
    fn goes_on(&self, kernel: &impl PolicyTables) -> bool {
        let decides = self.generations.deciding(kernel.boottime()).number > 0;
        self.generations.unconfirmed().is_some() || (decides && self.saved.is_some())
    }

    /// A confirmation may have been interrupted between disk and kernel.
    fn finish_confirmation(&mut self, kernel: &mut impl PolicyTables) -> anyhow::Result<()> {
        let Some(number) = self.generations.unconfirmed().map(|record| record.number) else { return Ok(()) };
        if read(self.store.last_good()).is_some_and(|last_good| last_good.number == number) {
            self.show(kernel, self.generations.published().confirmed())?;
        }
        Ok(())
    }

    /// Stands in for a last good policy that cannot be read.
    fn newest_readable(&self) -> Result<Option<Saved>, StoreError> {
        let found = self.store.history(None)?.next().transpose()?;
        Ok(found.inspect(|saved| warn!(generation = saved.number, "an earlier policy is restored instead")))
    }
}

/// The policy of the host's own files; `None` when there are none.
fn policy_files(config: &Config, ids: &Ids) -> Option<anyhow::Result<Prepared>> {
    let paths = config.policy_files();
    let sources = (!paths.is_empty()).then(|| policy::read(&paths))?;
    let prepared = sources.map_err(anyhow::Error::from).and_then(|sources| prepare(&sources, ids));
    Some(
        prepared
            .inspect(|prepared| doubt::warnings(&prepared.policy).iter().for_each(|doubt| warn!("{doubt}"))),
    )
}

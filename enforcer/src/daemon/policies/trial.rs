//! How a trial ends, confirmed or not, and the way back to an earlier policy.

use anyhow::{Context, anyhow, bail};
use tracing::{info, warn};

use super::{Outcome, Policies, PolicyTables, Unkept, compile};
use crate::daemon::{disk::Disk, store::Saved};

impl<D: Disk> Policies<D> {
    /// What awaits confirmation stays.
    pub fn confirm(&mut self, kernel: &mut impl PolicyTables) -> anyhow::Result<Outcome> {
        let late = self.expire(kernel)?;
        let deciding = self.generations.deciding(kernel.boottime());
        if let Some(number) = late {
            bail!(
                "generation {number} was not confirmed in time: generation {} decides again",
                deciding.number
            );
        }
        let Some(record) = self.generations.unconfirmed() else {
            bail!("nothing awaits confirmation: generation {} is confirmed", deciding.number);
        };
        let number = record.number;
        let last_good = self.last_good();
        self.store.promote(number).inspect_err(|_| drop(self.go_back(last_good)))?;
        self.show(kernel, self.generations.published().confirmed())?;
        info!(generation = number, "policy confirmed");
        self.settle().context(Unkept)?;
        Ok(Outcome::of(deciding))
    }

    /// Goes back: from what awaits confirmation to what decided before, else to an earlier policy, the
    /// latest other one unless `to` says which.
    pub fn rollback(&mut self, kernel: &mut impl PolicyTables, to: Option<u64>) -> anyhow::Result<Outcome> {
        let expired = self.expire(kernel)?.is_some();
        let fallback = self.generations.confirmed().generation();
        if self.generations.unconfirmed().is_some() && to.is_none_or(|to| to == fallback) {
            self.fall_back(kernel)?;
            info!(generation = fallback, "policy rolled back");
            self.outlast()?;
        } else if !expired || to.is_some() {
            let target = self.earlier(to)?;
            return self.apply(kernel, compile(target.policy, &self.ids)?, None);
        }
        Ok(Outcome::of(self.generations.deciding(kernel.boottime())))
    }

    /// An earlier policy.
    fn earlier(&self, to: Option<u64>) -> anyhow::Result<Saved> {
        if let Some(number) = to {
            let saved = self.store.generation(number)?;
            return saved.with_context(|| {
                format!("generation {number} is not kept; `enforcer generations` lists those that are")
            });
        }
        let current = self.saved.as_deref();
        for saved in self.store.history(current.map(|current| current.number))? {
            let saved = saved?;
            if current.is_none_or(|current| saved.policy != current.policy) {
                return Ok(saved);
            }
        }
        Err(anyhow!("there is no earlier policy to go back to"))
    }

    /// Ends what was not confirmed in time, for good; the kernel obeys it no longer already. Returns its number.
    pub fn expire(&mut self, kernel: &mut impl PolicyTables) -> anyhow::Result<Option<u64>> {
        let now = kernel.boottime();
        let expired = self.generations.unconfirmed().filter(|record| record.deadline <= now);
        let Some(number) = expired.map(|record| record.number) else { return Ok(None) };
        self.fall_back(kernel)?;
        let fallback = self.generations.published().generation();
        warn!(
            generation = number,
            fallback, "policy was not confirmed in time; the one before decides again"
        );
        Ok(Some(number))
    }

    fn fall_back(&mut self, kernel: &mut impl PolicyTables) -> anyhow::Result<()> {
        // A confirmation may have come as far as the disk, which afterwards nobody could tell from a good one.
        drop(self.go_back(Some(self.generations.confirmed().generation())));
        self.show(kernel, self.generations.confirmed())?;
        let deciding = self.generations.deciding(kernel.boottime());
        self.saved = self.saved_as(&deciding);
        drop(self.settle());
        Ok(())
    }
}

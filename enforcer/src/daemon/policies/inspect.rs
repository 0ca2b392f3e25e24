//! What the kernel holds of policies, compared with what it was told, and mended.
//!
//! The tables of a bank are frozen, so that which tables they are says what is in them.

use std::{fmt, time::Duration};

use anyhow::Context;
use enforcer_common::control::Generation;
use tracing::info;

use super::{Policies, PolicyTables, compile};
use crate::{daemon::disk::Disk, datapath::tables::TableError};

/// What of a policy is not as it was written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Damage {
    /// The word that says which generation decides.
    Word,
    /// The record of a generation that decides or may come to.
    Record,
    /// The tables of the generation that decides.
    Bank,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word => "the word that says which policy decides",
            Self::Record => "the record of a policy",
            Self::Bank => "the tables of the policy",
        })
    }
}

impl<D: Disk> Policies<D> {
    /// The first thing that is not as it was written; `None` if all is well.
    pub fn damage(&self, kernel: &impl PolicyTables) -> Result<Option<Damage>, TableError> {
        let (word, records) = kernel.generations()?;
        if word != self.generations.published() {
            return Ok(Some(Damage::Word));
        }
        if self.generations.damaged(&records).next().is_some() {
            return Ok(Some(Damage::Record));
        }
        let deciding = self.generations.deciding(kernel.boottime());
        // A record of an earlier version does not say.
        if deciding.maps == Generation::default().maps {
            return Ok(None);
        }
        let whole = kernel.bank_maps(deciding.bank)? == deciding.maps;
        Ok((!whole).then_some(Damage::Bank))
    }

    /// Makes it as it was. Cached judgements may be wrong until the facts move.
    pub fn mend(&mut self, kernel: &mut impl PolicyTables, damage: Damage) -> anyhow::Result<()> {
        match damage {
            Damage::Word => kernel.publish(self.generations.published())?,
            Damage::Record => {
                let (_, records) = kernel.generations()?;
                for (slot, record) in self.generations.damaged(&records) {
                    kernel.write_generation(slot, record)?;
                }
            }
            Damage::Bank => self.rebuild(kernel)?,
        }
        Ok(())
    }

    /// The policy that decides becomes a generation of its own in a fresh bank; an earlier deadline stays.
    fn rebuild(&mut self, kernel: &mut impl PolicyTables) -> anyhow::Result<()> {
        self.expire(kernel)?;
        let saved = self.saved.clone().context("the policy is not saved; apply it again")?;
        let deadline = self.generations.unconfirmed().map(|record| record.deadline);
        let left = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(kernel.boottime())));
        // Nobody knows what flows were judged by.
        self.since = None;
        let outcome = self.publish(kernel, compile(saved.policy.clone(), &self.ids)?, left)?;
        // The same policy twice would push older ones out of the history.
        self.store.forget(saved.number)?;
        info!(damaged = saved.number, generation = outcome.deciding.number, "policy built anew");
        Ok(())
    }
}

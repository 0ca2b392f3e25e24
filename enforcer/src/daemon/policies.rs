//! The life of a policy: prepared, applied, confirmed or not, gone back to. What the kernel decides by and
//! what the state directory holds change together, here and nowhere else.
//!
//! The disk goes first where a crash in between may lead on, to a policy that was asked for; the kernel
//! goes first where it may only lead back.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail};
use enforcer_common::control::{ControlWord, Generation};
use tracing::{info, warn};

use super::{
    disk::{Directory, Disk},
    generations::{Generations, Place},
    store::{Saved, Store, StoreError},
};
use crate::{
    config::Config,
    datapath::tables::TableError,
    policy::{
        self, Capacity, Ids, Policy, Source,
        world::{self, IntoWorld},
    },
};

mod inspect;
mod kernel;

pub use inspect::Damage;
pub use kernel::PolicyTables;

/// A policy that is ready for the kernel.
pub struct Prepared {
    /// The policy.
    pub policy: Policy,
    ids: Ids,
    /// What the kernel needs to know of it.
    pub tables: policy::Tables,
    digest: [u8; 32],
}

/// From text to tables: everything that can be refused, before anything is touched.
pub fn prepare(sources: &[Source], ids: &Ids) -> anyhow::Result<Prepared> {
    compile(Policy::parse(sources)?, ids)
}

fn compile(policy: Policy, ids: &Ids) -> anyhow::Result<Prepared> {
    let ids = ids.assign(&policy)?;
    let tables = policy::compile(&policy, &ids, Capacity::default())?;
    let digest = policy.digest();
    Ok(Prepared { policy, ids, tables, digest })
}

/// What came of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Nothing had to change.
    pub unchanged: bool,
    /// What decides.
    pub deciding: Generation,
    /// Seconds until it ends by itself, unless it is confirmed.
    pub seconds_left: Option<u64>,
}

impl Outcome {
    const fn of(deciding: Generation) -> Self {
        Self { unchanged: false, deciding, seconds_left: None }
    }
}

/// See the module.
pub struct Policies<D = Directory> {
    store: Store<D>,
    generations: Generations,
    /// What decides, as it was saved.
    saved: Option<Arc<Saved>>,
    /// Of everything that was ever applied, also of what was not confirmed.
    ids: Ids,
}

impl<D: Disk> Policies<D> {
    /// Takes over what the kernel and the disk hold; changes neither.
    pub fn open(kernel: &impl PolicyTables, store: Store<D>) -> Result<Self, TableError> {
        let (published, records) = kernel.generations()?;
        let generations = Generations::adopt(published, records);
        let deciding = generations.deciding(kernel.boottime()).number;
        let last_good = read(store.last_good());
        let pending = read(store.pending()).filter(|pending| pending.number == deciding);
        let ids = pending.as_ref().or(last_good.as_ref()).map(|saved| saved.ids.clone()).unwrap_or_default();
        Ok(Self { store, generations, saved: pending.or(last_good).map(Arc::new), ids })
    }

    /// What decides, as it was saved; `None` if nothing was or it cannot be read.
    pub const fn saved(&self) -> Option<&Arc<Saved>> {
        self.saved.as_ref()
    }

    /// Where policies are saved.
    pub const fn store(&self) -> &Store<D> {
        &self.store
    }

    /// What the next policy builds on.
    pub const fn ids(&self) -> &Ids {
        &self.ids
    }

    /// When what decides ends unless it is confirmed, in nanoseconds of `CLOCK_BOOTTIME`.
    pub fn deadline(&self) -> Option<u64> {
        self.generations.unconfirmed().map(|record| record.deadline)
    }

    /// What the kernel was told last.
    pub const fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Refuses a policy that would let its rules about the world mean addresses that the active one covers.
    pub fn check_world(&self, prepared: &Prepared) -> Result<(), IntoWorld> {
        // Before the first policy nothing is covered, so nothing moves.
        self.saved.as_deref().map_or(Ok(()), |active| world::check(&active.policy, &prepared.policy))
    }

    /// Makes a prepared policy decide, wholly or not at all; with `confirm` only for so long unless it is
    /// confirmed.
    pub fn apply(
        &mut self,
        kernel: &mut impl PolicyTables,
        prepared: Prepared,
        confirm: Option<Duration>,
    ) -> anyhow::Result<Outcome> {
        self.expire(kernel)?;
        let deciding = self.generations.deciding(kernel.boottime());
        // Ids may have been lost with the state directory: then the kernel's are not these.
        let is_same = |saved: &Saved| saved.policy == prepared.policy && saved.ids == prepared.ids;
        if deciding.number > 0
            && deciding.digest == prepared.digest
            && self.saved.as_deref().is_some_and(is_same)
        {
            match (self.generations.unconfirmed(), confirm) {
                (None, _) => return Ok(Outcome { unchanged: true, ..Outcome::of(deciding) }),
                (Some(_), None) => return self.confirm(kernel),
                // A new deadline is a new generation.
                (Some(_), Some(_)) => {}
            }
        }
        self.publish(kernel, prepared, confirm)
    }

    fn publish(
        &mut self,
        kernel: &mut impl PolicyTables,
        prepared: Prepared,
        confirm: Option<Duration>,
    ) -> anyhow::Result<Outcome> {
        let Prepared { policy, ids, tables, digest } = prepared;
        let kept = self.store.generations()?.first().copied().unwrap_or(0);
        let place = self.generations.next(kept);
        let number = place.word.generation();
        let deadline = confirm.map(|patience| kernel.boottime() + patience.as_nanos() as u64);
        let applied_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let record = Generation {
            number,
            applied_at,
            bank: place.bank,
            fallback: self.generations.confirmed(),
            deadline: deadline.unwrap_or(0),
            ..tables.generation(digest)
        };
        let saved = Saved { number, applied_at, policy, ids };
        let before = self.store.last_good().unwrap_or_default();
        match deadline {
            Some(_) => self.store.save_pending(&saved)?,
            None => self.store.save(&saved)?,
        }
        let word = if deadline.is_some() { place.word.unconfirmed() } else { place.word };
        if let Err(error) = self.write(kernel, Place { word, ..place }, record, &tables) {
            match deadline {
                Some(_) => self.store.discard_pending()?,
                None => self.store.take_back(number, before.as_ref())?,
            }
            return Err(error).context("the kernel did not take the policy; the one before still decides");
        }
        if deadline.is_none() {
            self.store.discard_pending().unwrap_or_else(|error| warn!("{error}"));
        }
        info!(generation = number, networks = saved.policy.networks.len(), ?confirm, "policy applied");
        self.ids.clone_from(&saved.ids);
        self.saved = Some(Arc::new(saved));
        Ok(Outcome { seconds_left: confirm.map(|patience| patience.as_secs()), ..Outcome::of(record) })
    }

    fn write(
        &mut self,
        kernel: &mut impl PolicyTables,
        place: Place,
        record: Generation,
        tables: &policy::Tables,
    ) -> Result<(), TableError> {
        kernel.build_bank(place.bank, tables)?;
        let record = Generation { maps: kernel.bank_maps(place.bank)?, ..record };
        kernel.write_generation(place.word.slot(), record)?;
        self.generations.recorded(place.word.slot(), record);
        self.show(kernel, place.word)
    }

    fn show(&mut self, kernel: &mut impl PolicyTables, word: ControlWord) -> Result<(), TableError> {
        kernel.publish(word)?;
        self.generations.publish(word);
        Ok(())
    }

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
        self.store.confirm(number)?;
        self.show(kernel, self.generations.published().confirmed())?;
        info!(generation = number, "policy confirmed");
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
        let before = |number: &u64| current.is_none_or(|current| *number < current.number);
        for number in self.store.generations()?.into_iter().filter(before) {
            let saved = self.store.generation(number)?;
            let differs = |saved: &Saved| current.is_none_or(|current| current.policy != saved.policy);
            if let Some(saved) = saved.filter(differs) {
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
        self.show(kernel, self.generations.confirmed())?;
        self.saved = read(self.store.last_good()).map(|saved| {
            // What was not confirmed has counted under its own ids: nobody else may have them.
            Arc::new(Saved { ids: self.ids.clone(), ..saved })
        });
        let kept = match self.saved.as_deref() {
            Some(saved) if saved.number > 0 => self.store.save(saved),
            _ => Ok(()),
        };
        kept.and_then(|()| self.store.discard_pending()).unwrap_or_else(|error| {
            warn!(error = &error as &dyn Error, "the state directory keeps what was not confirmed");
        });
        Ok(())
    }

    /// Leaves the kernel with the policy that ought to decide: after a restart mostly the one that does,
    /// after a boot the last good one, on a new host its files. One for which nothing is any good is left
    /// alone: staying away would leave new workloads open.
    pub fn restore(&mut self, kernel: &mut impl PolicyTables, config: &Config) {
        if let Err(error) = self.try_restore(kernel, config) {
            warn!("no policy could be restored:\n{error:#}");
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
        self.expire(kernel)?;
        let deciding = self.generations.deciding(kernel.boottime());
        let Some(saved) = self.saved.clone() else {
            let older = if deciding.number == 0 { self.newest_readable() } else { None };
            let prepared = match older {
                Some(older) => Some(compile(older.policy, &older.ids)),
                None => policy_files(config, &self.ids),
            };
            return match prepared {
                Some(prepared) => self.apply(kernel, prepared?, None).map(drop),
                None => Ok(()),
            };
        };
        if let Some(record) = self.generations.unconfirmed() {
            // Its confirmation was interrupted between disk and kernel.
            if self.store.last_good()?.is_some_and(|last_good| last_good.number == record.number) {
                self.show(kernel, self.generations.published().confirmed())?;
                self.store.discard_pending()?;
            }
            return Ok(());
        }
        self.store.discard_pending()?;
        if saved.number == deciding.number && saved.policy.digest() == deciding.digest {
            return Ok(());
        }
        let prepared = compile(saved.policy.clone(), &saved.ids)?;
        self.publish(kernel, prepared, None).map(drop)
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

/// What can be read; what cannot is told.
fn read(outcome: Result<Option<Saved>, StoreError>) -> Option<Saved> {
    outcome.unwrap_or_else(|error| {
        warn!(error = &error as &dyn Error, "a saved policy cannot be used");
        None
    })
}

//! The life of a policy: prepared, applied, confirmed or not, gone back to. What the kernel decides by and
//! what the state directory holds change together, here and nowhere else.
//!
//! A policy is pending on the disk before it decides, and the last good one there after that: a crash in between leads on
//! where the kernel lives, and back where the power failed. A confirmation comes to the disk before the kernel, and so does
//! its end, as far as the disk can be changed: whoever finds the two apart must know which way it was.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use enforcer_common::control::{ControlWord, Generation};
use tracing::{debug, info, warn};

use super::{
    disk::{Directory, Disk},
    generations::{Generations, Place},
    store::{Saved, Store, StoreError, read},
};
use crate::{
    datapath::tables::TableError,
    policy::{
        self, Capacity, Ids, Labels, Policy, Since, Source,
        doubt::{self, Emptied},
        since,
        world::{self, IntoWorld},
    },
};

mod inspect;
mod kernel;
mod restore;
mod revision;
mod trial;

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
    let begun = Instant::now();
    let policy = Policy::parse(sources)?;
    let (parsed, begun) = (begun.elapsed(), Instant::now());
    let prepared = compile(policy, ids)?;
    debug!(?parsed, compiled = ?begun.elapsed(), "policy prepared");
    Ok(prepared)
}

/// From a model to tables.
pub(super) fn compile(policy: Policy, ids: &Ids) -> anyhow::Result<Prepared> {
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
    /// The state directory may hold what the kernel refused or obeys no longer.
    unsettled: bool,
    /// What ought to decide after the start does.
    restored: bool,
    /// What is known of containers: what is built next is resolved with.
    labels: Labels,
    /// What the kernel's tables were resolved with, at most; `None` if an earlier daemon built them.
    resolved: Option<Labels>,
    /// Only some of the kernel's tables were built again since.
    halfway: bool,
    /// Since when addresses mean what they mean under the generation that was published last; `None` if an earlier
    /// daemon did, or nobody knows any more.
    since: Option<Since>,
}

/// An order was obeyed, and may not last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this decides now, but the state directory is not as it ought to be, which is tried again: until then a power failure \
     could bring back another policy"
)]
pub struct Unkept;

/// Whether something went wrong on the disk, which the log is told.
fn told(outcome: &Result<(), StoreError>) -> bool {
    if let Err(error) = outcome {
        warn!(error = error as &dyn Error, "the state directory is not as it ought to be; tried again");
    }
    outcome.is_err()
}

impl<D: Disk> Policies<D> {
    /// Takes over what the kernel and the disk hold; changes neither.
    pub fn open(kernel: &impl PolicyTables, store: Store<D>) -> Result<Self, TableError> {
        let (published, records) = kernel.generations()?;
        let generations = Generations::adopt(published, records);
        let deciding = generations.deciding(kernel.boottime());
        // Nothing was built yet.
        let resolved = (published.generation() == 0).then(Labels::none);
        let mut policies = Self {
            store,
            generations,
            saved: None,
            ids: Ids::default(),
            unsettled: false,
            restored: false,
            labels: Labels::none(),
            resolved,
            halfway: false,
            since: None,
        };
        policies.saved = policies.saved_as(&deciding);
        let saved = || policies.saved.as_ref().map(|saved| saved.ids.clone());
        let last_good = || read(policies.store.last_good()).map(|saved| saved.ids);
        policies.ids = read(policies.store.ids()).or_else(saved).or_else(last_good).unwrap_or_default();
        Ok(policies)
    }

    /// What was saved of a generation that the kernel holds; `None` also where it cannot be read, which the log is told.
    fn saved_as(&self, record: &Generation) -> Option<Arc<Saved>> {
        read(self.store.saved_as(record)).map(Arc::new)
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

    /// Refuses a policy that says nothing.
    pub fn check_emptied(&self, prepared: &Prepared) -> Result<(), Emptied> {
        doubt::check(self.saved.as_deref().map(|active| &active.policy), &prepared.policy)
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
        if confirm.is_some() && !self.restored {
            bail!("the last good policy could not be restored, so there is nothing to fall back to");
        }
        let deciding = self.generations.deciding(kernel.boottime());
        // Ids may have been lost with the state directory: then the kernel's are not these.
        let is_same = |saved: &Saved| {
            saved.policy == prepared.policy && prepared.ids.agree(&saved.ids, &prepared.policy)
        };
        if deciding.number > 0
            && deciding.digest == prepared.digest
            && self.saved.as_deref().is_some_and(is_same)
        {
            match (self.generations.unconfirmed(), confirm) {
                (None, _) => {
                    self.outlast()?;
                    return Ok(Outcome { unchanged: true, ..Outcome::of(deciding) });
                }
                (Some(_), None) => return self.confirm(kernel),
                // A new deadline is a new generation.
                (Some(_), Some(_)) => {}
            }
        }
        let outcome = self.publish(kernel, prepared, confirm)?;
        self.outlast()?;
        Ok(outcome)
    }

    /// Makes a policy decide; whether that outlasts a power failure is not yet known.
    fn publish(
        &mut self,
        kernel: &mut impl PolicyTables,
        prepared: Prepared,
        confirm: Option<Duration>,
    ) -> anyhow::Result<Outcome> {
        let place = self.generations.next(self.store.newest()?);
        let number = place.word.generation();
        // Of tables that somebody else replaced nobody knows what flows were judged by.
        let is_whole = matches!(self.damage(kernel), Ok(None));
        let since = self.since(&prepared, number).filter(|_| is_whole);
        let Prepared { policy, ids, mut tables, digest } = self.resolve(prepared)?;
        tables.since = since.as_ref().map_or_else(Vec::new, |since| since.marks().to_vec());
        let nanoseconds = |patience: Duration| u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline = confirm.map(|patience| kernel.boottime().saturating_add(nanoseconds(patience)));
        let applied_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let record = Generation {
            number,
            applied_at,
            bank: place.bank,
            fallback: self.generations.confirmed(),
            deadline: deadline.unwrap_or(0),
            ..tables.generation(digest)
        };
        let record = if policy.has_members() { record } else { record.without_labels() };
        let saved = Saved { number, applied_at, policy, ids };
        if saved.ids != self.ids {
            self.store.save_ids(&saved.ids)?;
        }
        let (last_good, begun) = (self.last_good(), Instant::now());
        // Nobody reads that bank: it is no decision to fill it.
        let fill = || {
            let built = kernel.build_bank(place.bank, &tables);
            built.map(|()| begun.elapsed())
        };
        let written = self.store.draft_beside(&saved, fill);
        let written_after = begun.elapsed();
        let built = written.inspect_err(|_| drop(self.go_back(last_good)))?;
        let word = if deadline.is_some() { place.word.unconfirmed() } else { place.word };
        let shown =
            built.and_then(|built| Ok((built, self.show_built(kernel, Place { word, ..place }, record)?)));
        let (built_after, record) = shown.or_else(|error| {
            drop(self.go_back(last_good));
            Err(error).context("the kernel did not take the policy; the one before still decides")
        })?;
        debug!(built = ?built_after, built_and_written = ?written_after, published = ?begun.elapsed(), "policy published");
        self.since = Some(since.unwrap_or_else(|| Since::new(number)));
        self.restored = true;
        self.built(deadline.is_some());
        // No packet waits for this.
        let kept = match deadline {
            Some(_) => self.store.discard_pending(Some(number)).and(self.store.keep()),
            None => self.store.promote(number).and_then(|()| self.store.conclude(number, None)),
        };
        self.unsettled |= told(&kept);
        info!(generation = number, networks = saved.policy.networks.len(), ?confirm, "policy applied");
        self.ids.clone_from(&saved.ids);
        self.saved = Some(Arc::new(saved));
        Ok(Outcome { seconds_left: confirm.map(|patience| patience.as_secs()), ..Outcome::of(record) })
    }

    /// What decides outlasts a power failure.
    fn outlast(&mut self) -> anyhow::Result<()> {
        if self.unsettled || !self.restored { self.settle().context(Unkept) } else { Ok(()) }
    }

    /// Since when addresses mean what they do in a policy that is about to be published as a generation; `None` where
    /// the policy before may not be the only one that flows were judged by since then.
    fn since(&self, prepared: &Prepared, number: u64) -> Option<Since> {
        let (since, saved) = (self.since.as_ref()?, self.saved.as_deref()?);
        // Not where it fell back from what was on trial: flows were judged by that, too.
        let is_base = [self.generations.published().generation(), saved.number] == [since.generation(); 2];
        let is_known = !saved.policy.has_members() && !prepared.policy.has_members();
        if !is_base || !is_known || !prepared.ids.agree(&saved.ids, &saved.policy) {
            return None;
        }
        Some(since.clone().then(number, &since::changed(&saved.policy, &prepared.policy)?))
    }

    /// Publishes a bank that was built.
    fn show_built(
        &mut self,
        kernel: &mut impl PolicyTables,
        place: Place,
        record: Generation,
    ) -> Result<Generation, TableError> {
        let record = Generation { maps: kernel.bank_maps(place.bank)?, ..record };
        kernel.write_generation(place.word.slot(), record)?;
        self.generations.recorded(place.word.slot(), record);
        self.show(kernel, place.word)?;
        Ok(record)
    }

    fn show(&mut self, kernel: &mut impl PolicyTables, word: ControlWord) -> Result<(), TableError> {
        kernel.publish(word)?;
        self.generations.publish(word);
        Ok(())
    }

    /// Leaves the disk with what the kernel holds as confirmed; tried again until that works.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.generations.published().generation() == 0 && !self.restored {
            // The kernel knows nothing yet: the disk is right.
            return Ok(());
        }
        self.go_back(Some(self.generations.confirmed().generation()))
    }

    /// The generation that is in force for good, or is to be; `None` if nobody knows.
    fn last_good(&self) -> Option<u64> {
        match self.generations.confirmed().generation() {
            0 if !self.restored => {
                self.store.last_good().ok().map(|saved| saved.map_or(0, |saved| saved.number))
            }
            confirmed => Some(confirmed),
        }
    }

    /// Leaves the disk with this generation as the last good one, 0 for none, and with the one that is there where nobody
    /// knows which.
    fn go_back(&mut self, last_good: Option<u64>) -> Result<(), StoreError> {
        let on_trial = self.generations.unconfirmed().map(|record| record.number);
        let outcome = match last_good {
            None => self.store.discard_pending(on_trial),
            Some(0) => self.store.go_back_to_none(on_trial),
            Some(number) => self.store.go_back(number, self.saved.as_deref(), on_trial),
        };
        self.unsettled = told(&outcome);
        outcome
    }

    /// Whether the state directory may hold what does not decide, or may lose what does.
    pub const fn is_unsettled(&self) -> bool {
        self.unsettled
    }
}

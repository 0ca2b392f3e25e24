//! What outlives the daemon and the kernel: the last good policy, those before it, and one that awaits
//! confirmation.
//!
//! ```text
//! pending/N.json       a generation that is about to decide, or decides until it is confirmed; never restored after a reboot
//! policy.json          the last good one, which is: one that was pending gets this name when it is wholly on the disk
//! generations/N.json   every one that was that, as far back as is kept
//! ids.json             the ids of everything that may ever have been counted, confirmed or not
//! ```

use std::{error::Error, io, path::PathBuf};

use enforcer_common::control::Generation;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

use super::disk::{Directory, Disk};
use crate::policy::{Ids, Policy};

/// Generations kept to go back to.
pub const HISTORY: usize = 16;

const POLICY: &str = "policy.json";
const IDS: &str = "ids.json";
const PENDING: &str = "pending";
const GENERATIONS: &str = "generations";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("failed to {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path} is damaged; move it away and apply the policy again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A policy and the ids it was compiled with; one file, so that they never disagree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    /// The generation it was published as; 0 if that is not known.
    #[serde(default)]
    pub number: u64,
    /// When it was applied, in seconds since the Unix epoch.
    #[serde(default)]
    pub applied_at: u64,
    /// The policy.
    pub policy: Policy,
    /// The ids of its networks and rules, and of those that are gone.
    pub ids: Ids,
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct Store<D = Directory> {
    disk: D,
}

impl Store {
    /// Keeps state in `directory`; nothing is touched yet.
    pub const fn new(directory: PathBuf) -> Self {
        Self::on(Directory::new(directory))
    }

    /// Removes what was saved, and the directory if nothing else is in it.
    pub fn remove_all(&mut self) -> Result<bool, StoreError> {
        let found = self.files()?;
        for name in &found {
            self.remove(name)?;
        }
        // Somebody may keep other files there.
        for directory in [GENERATIONS, PENDING] {
            drop(std::fs::remove_dir(self.disk.path(directory)));
        }
        drop(std::fs::remove_dir(self.disk.path("")));
        Ok(!found.is_empty())
    }
}

impl<D: Disk> Store<D> {
    /// Keeps state on `disk`; nothing is touched yet.
    pub const fn on(disk: D) -> Self {
        Self { disk }
    }

    /// The last good policy; `None` when none was ever saved.
    pub fn last_good(&self) -> Result<Option<Saved>, StoreError> {
        self.read(POLICY)
    }

    /// The policy of a generation that is pending.
    pub fn pending(&self, number: u64) -> Result<Option<Saved>, StoreError> {
        self.read(&pending(number))
    }

    /// What was saved of a generation that the kernel holds; an error if it may lie where nothing can be read. The log is
    /// told of what is damaged.
    pub fn saved_as(&self, record: &Generation) -> Result<Option<Saved>, StoreError> {
        let number = record.number;
        let mut unread = None;
        for name in [&pending(number), &history(number), POLICY] {
            match self.read(name) {
                Err(error @ StoreError::Io { .. }) => unread = Some(error),
                outcome => {
                    let is_it =
                        |saved: &Saved| saved.number == number && saved.policy.digest() == record.digest;
                    if let Some(saved) = read(outcome).filter(is_it) {
                        return Ok(Some(saved));
                    }
                }
            }
        }
        unread.map_or(Ok(None), Err)
    }

    /// The ids of everything that may ever have been counted.
    pub fn ids(&self) -> Result<Option<Ids>, StoreError> {
        self.read(IDS)
    }

    /// Keeps ids, before anything is counted under them.
    pub fn save_ids(&mut self, ids: &Ids) -> Result<(), StoreError> {
        self.write(IDS, ids)
    }

    /// The policy of a generation that was the last good one; `None` if it is not kept.
    pub fn generation(&self, number: u64) -> Result<Option<Saved>, StoreError> {
        self.read(&history(number))
    }

    /// All of these, or those before one, newest first. The log is told of those that are damaged.
    pub fn history(
        &self,
        before: Option<u64>,
    ) -> Result<impl Iterator<Item = Result<Saved, StoreError>>, StoreError> {
        let numbers =
            self.generations()?.into_iter().filter(move |number| before.is_none_or(|it| *number < it));
        Ok(numbers.map(|number| self.generation(number)).filter_map(|saved| match saved {
            Err(error @ StoreError::Damaged { .. }) => read(Err(error)),
            saved => saved.transpose(),
        }))
    }

    /// Numbers of the generations kept, newest first.
    pub fn generations(&self) -> Result<Vec<u64>, StoreError> {
        self.numbers(GENERATIONS)
    }

    /// The highest number that anything here has; 0 for nothing.
    pub fn newest(&self) -> Result<u64, StoreError> {
        let all = [self.numbers(GENERATIONS)?, self.numbers(PENDING)?];
        Ok(all.iter().flatten().copied().max().unwrap_or(0))
    }

    fn numbers(&self, directory: &str) -> Result<Vec<u64>, StoreError> {
        let names = self.disk.list(directory).map_err(self.failed("list", directory))?;
        let numbers = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// Makes what was saved so far outlast a power failure. Whoever publishes first and keeps then lets no
    /// packet wait for that: a power failure takes what the kernel has, too.
    pub fn keep(&mut self) -> Result<(), StoreError> {
        self.disk.keep().map_err(self.failed("keep", ""))
    }

    /// Saves a policy that is about to decide, and does something else, as [`Disk::beside`].
    pub fn draft_beside<T>(&mut self, saved: &Saved, meanwhile: impl FnOnce() -> T) -> Result<T, StoreError> {
        self.disk.beside(|disk| draft(disk, &pending(saved.number), saved), meanwhile)
    }

    /// A generation that is pending is the last good one from now on, unless the power fails before this is
    /// [`keep`](Self::keep)t. Takes no room on the disk.
    pub fn promote(&mut self, number: u64) -> Result<(), StoreError> {
        // What a name stands for is whole before it stands for it.
        self.keep()?;
        self.link(&pending(number), POLICY)
    }

    /// The generation `number`, which is the last good one, is one to go back to, and none is pending any more but perhaps
    /// one. All that outlasts a power failure, also where something cannot be removed.
    pub fn conclude(&mut self, number: u64, awaits_confirmation: Option<u64>) -> Result<(), StoreError> {
        let archived = self.archive(number);
        let discarded = self.discard_pending(awaits_confirmation);
        self.prune();
        self.keep().and(archived).and(discarded)
    }

    fn archive(&mut self, number: u64) -> Result<(), StoreError> {
        if self.generations()?.contains(&number) { Ok(()) } else { self.link(POLICY, &history(number)) }
    }

    /// The generation `number` is the last good one again; `saved` is it, where that is known. Then as
    /// [`conclude`](Self::conclude).
    pub fn go_back(
        &mut self,
        number: u64,
        saved: Option<&Saved>,
        awaits_confirmation: Option<u64>,
    ) -> Result<(), StoreError> {
        if !matches!(self.last_good(), Ok(Some(last_good)) if last_good.number == number) {
            match saved.filter(|saved| saved.number == number) {
                // What somebody before us wrote the disk may have refused, and nobody hears of that again.
                Some(saved) => self.write(POLICY, saved).or_else(|_| self.reinstate(number))?,
                None => self.reinstate(number)?,
            }
        }
        self.conclude(number, awaits_confirmation)
    }

    /// What is kept of a generation is the last good one. It takes no room.
    fn reinstate(&mut self, number: u64) -> Result<(), StoreError> {
        self.keep()?;
        self.link(&history(number), POLICY).or_else(|_| self.link(&pending(number), POLICY))
    }

    /// There is no last good policy: one that is still pending was not confirmed. What else lies there may be all that is
    /// left of one that was lost, and stays.
    pub fn go_back_to_none(&mut self, awaits_confirmation: Option<u64>) -> Result<(), StoreError> {
        if let Ok(Some(saved)) = self.last_good()
            && self.numbers(PENDING)?.contains(&saved.number)
        {
            self.remove(POLICY)?;
            // Before that is forgotten.
            self.keep()?;
        }
        self.discard_pending(awaits_confirmation)?;
        self.keep()
    }

    /// Nothing is pending any more, but perhaps one.
    pub fn discard_pending(&mut self, kept: Option<u64>) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for number in self.numbers(PENDING)?.into_iter().filter(|number| Some(*number) != kept) {
            // One that stays is in nobody else's way.
            outcome = outcome.and(self.remove(&pending(number)).map(drop));
        }
        outcome
    }

    /// A generation is no longer one to go back to.
    pub fn forget(&mut self, number: u64) -> Result<(), StoreError> {
        self.remove(&history(number)).map(drop)
    }

    /// Forgets the oldest generations. They are in nobody's way: what cannot be removed stays.
    fn prune(&mut self) {
        for number in self.generations().unwrap_or_default().into_iter().skip(HISTORY) {
            drop(self.disk.remove(&history(number)));
        }
    }

    /// The names of everything of ours.
    pub fn files(&self) -> Result<Vec<String>, StoreError> {
        let fixed = [POLICY, IDS].into_iter().map(str::to_owned);
        let pending = self.numbers(PENDING)?.into_iter().map(pending);
        let mut found = Vec::new();
        for name in fixed.chain(pending).chain(self.generations()?.into_iter().map(history)) {
            if self.disk.read(&name).map_err(self.failed("read", &name))?.is_some() {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let bytes = self.disk.read(name).map_err(self.failed("read", name))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| StoreError::Damaged { path: self.disk.path(name), source })
    }

    fn write(&mut self, name: &str, content: &impl Serialize) -> Result<(), StoreError> {
        write(&mut self.disk, name, content)
    }

    fn link(&mut self, name: &str, second: &str) -> Result<(), StoreError> {
        self.disk.link(name, second).map_err(self.failed("replace", second))
    }

    fn remove(&mut self, name: &str) -> Result<bool, StoreError> {
        self.disk.remove(name).map_err(failed(&self.disk, "remove", name))
    }

    fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError + use<D> {
        failed(&self.disk, operation, name)
    }
}

fn write<D: Disk>(disk: &mut D, name: &str, content: &impl Serialize) -> Result<(), StoreError> {
    let json = json(disk, name, content)?;
    disk.write(name, &json).map_err(failed(disk, "write", name))
}

fn draft<D: Disk>(disk: &mut D, name: &str, content: &impl Serialize) -> Result<(), StoreError> {
    let json = json(disk, name, content)?;
    disk.draft(name, json).map_err(failed(disk, "write", name))
}

fn json<D: Disk>(disk: &D, name: &str, content: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(content).map_err(|source| StoreError::Damaged { path: disk.path(name), source })
}

fn failed<D: Disk>(
    disk: &D,
    operation: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> StoreError + use<D> {
    let path = disk.path(name);
    move |source| StoreError::Io { operation, path, source }
}

fn history(number: u64) -> String {
    format!("{GENERATIONS}/{number}.json")
}

fn pending(number: u64) -> String {
    format!("{PENDING}/{number}.json")
}

/// What can be read; what cannot is told.
pub(crate) fn read<T>(outcome: Result<Option<T>, StoreError>) -> Option<T> {
    outcome.unwrap_or_else(|error| {
        warn!(error = &error as &dyn Error, "a saved policy cannot be used");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(number: u64) -> Saved {
        Saved { number, ..Saved::default() }
    }

    fn make_good(store: &mut Store, number: u64) {
        store.draft_beside(&saved(number), || ()).unwrap();
        store.promote(number).unwrap();
        store.conclude(number, None).unwrap();
    }

    /// A store with two generations that were good once.
    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::new(root.path().to_owned());
        make_good(&mut store, 1);
        make_good(&mut store, 2);
        assert_eq!(store.files().unwrap(), [POLICY.to_owned(), history(2), history(1)]);
        (root, store)
    }

    #[test]
    fn where_the_last_good_one_was_lost_those_before_it_stay() {
        let (root, mut store) = store();
        std::fs::remove_file(root.path().join(POLICY)).unwrap();
        store.go_back_to_none(None).unwrap();
        assert_eq!(store.generations().unwrap(), [2, 1]);
    }

    #[test]
    fn what_was_not_confirmed_is_gone_though_there_was_nothing_before_it() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::new(root.path().to_owned());
        store.draft_beside(&saved(3), || ()).unwrap();
        store.promote(3).unwrap();
        // The kernel did not take that.
        store.go_back_to_none(Some(3)).unwrap();
        assert_eq!(store.files().unwrap(), [pending(3)]);
        store.go_back_to_none(None).unwrap();
        assert!(store.files().unwrap().is_empty());
    }

    #[test]
    fn a_last_good_one_that_nobody_doubts_stays() {
        let (_root, mut store) = store();
        store.draft_beside(&saved(3), || ()).unwrap();
        store.go_back_to_none(None).unwrap();
        assert_eq!(store.files().unwrap(), [POLICY.to_owned(), history(2), history(1)]);
    }

    #[test]
    fn what_is_gone_back_to_is_written_anew_where_it_is_known() {
        let (root, mut store) = store();
        std::fs::write(root.path().join(history(1)), "").unwrap();
        store.go_back(1, Some(&saved(1)), None).unwrap();
        assert_eq!(store.last_good().unwrap(), Some(saved(1)));
    }

    #[test]
    fn a_generation_is_found_behind_a_damaged_file() {
        let (root, store) = store();
        // Under that name only.
        std::fs::remove_file(root.path().join(history(2))).unwrap();
        std::fs::write(root.path().join(history(2)), "{").unwrap();
        let record = Generation { number: 2, digest: Policy::default().digest(), ..Generation::default() };
        assert_eq!(store.saved_as(&record).unwrap(), Some(saved(2)));
        let other = Generation { digest: [7; 32], ..record };
        assert_eq!(store.saved_as(&other).unwrap(), None);
        let kept: Vec<u64> = store.history(None).unwrap().map(|saved| saved.unwrap().number).collect();
        assert_eq!(kept, [1]);
    }
}

//! What outlives the daemon and the kernel: the last good policy, those before it, and one that awaits
//! confirmation.
//!
//! ```text
//! generations/N.json   every generation that was to decide for good, as far back as is kept; drafts at first
//! policy.json          the last good one: a second name of the newest, given when that is wholly on the disk
//! pending/N.json       one that awaits confirmation; never restored after a reboot
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

    /// The policy of a generation that awaits confirmation.
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

    /// The policy of a generation that awaits no confirmation; `None` if it is not kept.
    pub fn generation(&self, number: u64) -> Result<Option<Saved>, StoreError> {
        self.read(&history(number))
    }

    /// All of these that can be read, newest first. The log is told of the others.
    pub fn history(&self) -> Result<impl Iterator<Item = Saved>, StoreError> {
        Ok(self.generations()?.into_iter().filter_map(|number| read(self.generation(number))))
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

    /// Saves a policy as the last good one.
    pub fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        let name = history(saved.number);
        self.write(&name, saved)?;
        self.link(&name, POLICY)
    }

    /// Saves a policy that is about to decide, and does something else, as [`Disk::beside`]. It is the last good one
    /// when it is [`promote`](Self::promote)d, or confirmed.
    pub fn draft_beside<T>(
        &mut self,
        saved: &Saved,
        awaits_confirmation: bool,
        meanwhile: impl FnOnce() -> T,
    ) -> Result<T, StoreError> {
        let write = |disk: &mut D| {
            if awaits_confirmation {
                write(disk, &pending(saved.number), saved)
            } else {
                draft(disk, &history(saved.number), saved)
            }
        };
        self.disk.beside(write, meanwhile)
    }

    /// A generation that was drafted, and decides, is the last good one, and outlasts a power failure.
    pub fn promote(&mut self, number: u64) -> Result<(), StoreError> {
        // What a name stands for is whole before it stands for it.
        self.keep()?;
        self.link(&history(number), POLICY)?;
        self.keep()
    }

    /// The generation `number` is the last good one again, none if it is 0; `saved` is it, where that is
    /// known. What came after it and was not confirmed is nobody's any more, but for `pending`; where there was none
    /// before, what else is kept may be all that is left of one that was lost, and stays.
    pub fn go_back(
        &mut self,
        number: u64,
        saved: Option<&Saved>,
        pending: Option<u64>,
    ) -> Result<(), StoreError> {
        let last_good = self.last_good();
        let later = if number == 0 {
            // What is damaged was confirmed once: its owner may want it.
            let unconfirmed = last_good.ok().flatten().map(|saved| saved.number);
            if unconfirmed.is_some() {
                self.remove(POLICY)?;
            }
            unconfirmed.into_iter().chain(pending).collect()
        } else {
            if !matches!(last_good, Ok(Some(saved)) if saved.number == number) {
                self.reinstate(number, saved.filter(|saved| saved.number == number))?;
            }
            let mut later = self.generations()?;
            later.retain(|later| *later > number);
            later
        };
        let forgotten = later.into_iter().try_for_each(|later| self.forget(later));
        let discarded = self.discard_pending(pending);
        // Also where something cannot be removed.
        self.keep().and(forgotten).and(discarded)
    }

    /// What another daemon wrote its disk may have refused, and nobody hears of that again: it is written anew where
    /// there is room.
    fn reinstate(&mut self, number: u64, saved: Option<&Saved>) -> Result<(), StoreError> {
        match saved {
            Some(saved) => self.save(saved).or_else(|_| self.promote(number)),
            None => self.promote(number),
        }
    }

    /// The policy that awaits confirmation is the last good one from now on, unless the power fails before this is
    /// [`keep`](Self::keep)t. Takes no room on the disk.
    pub fn confirm(&mut self, number: u64) -> Result<(), StoreError> {
        let name = history(number);
        self.link(&pending(number), &name)?;
        self.keep()?;
        // Last, so that it is refused as a whole.
        self.link(&name, POLICY)
    }

    /// Nothing awaits confirmation any more, but perhaps `kept`.
    pub fn discard_pending(&mut self, kept: Option<u64>) -> Result<(), StoreError> {
        for number in self.numbers(PENDING)?.into_iter().filter(|number| Some(*number) != kept) {
            self.remove(&pending(number))?;
        }
        Ok(())
    }

    /// A generation is no longer one to go back to.
    pub fn forget(&mut self, number: u64) -> Result<(), StoreError> {
        self.remove(&history(number)).map(drop)
    }

    /// Forgets the oldest generations. They are in nobody's way: what cannot be removed stays.
    pub fn prune(&mut self) {
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

    /// A store with two generations that were good once.
    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::new(root.path().to_owned());
        store.save(&saved(1)).unwrap();
        store.save(&saved(2)).unwrap();
        (root, store)
    }

    #[test]
    fn where_the_last_good_one_was_lost_those_before_it_stay() {
        let (root, mut store) = store();
        std::fs::remove_file(root.path().join(POLICY)).unwrap();
        store.go_back(0, None, None).unwrap();
        assert_eq!(store.generations().unwrap(), [2, 1]);
    }

    #[test]
    fn what_was_not_to_be_is_gone_though_there_was_nothing_before_it() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::new(root.path().to_owned());
        store.draft_beside(&saved(3), true, || ()).unwrap();
        store.confirm(3).unwrap();
        // The kernel did not take that.
        store.go_back(0, None, Some(3)).unwrap();
        assert_eq!(store.files().unwrap(), [pending(3)]);
        store.go_back(0, None, None).unwrap();
        assert!(store.files().unwrap().is_empty());
    }

    #[test]
    fn what_is_gone_back_to_is_written_anew_where_it_is_known() {
        let (root, mut store) = store();
        std::fs::write(root.path().join(history(1)), "").unwrap();
        store.go_back(1, Some(&saved(1)), None).unwrap();
        assert_eq!((store.last_good().unwrap(), store.generations().unwrap()), (Some(saved(1)), vec![1]));
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
        let kept: Vec<u64> = store.history().unwrap().map(|saved| saved.number).collect();
        assert_eq!(kept, [1]);
    }
}

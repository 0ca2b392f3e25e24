//! What outlives the daemon and the kernel: the last good policy, those before it, and one that awaits
//! confirmation.
//!
//! ```text
//! generations/N.json   every confirmed generation, as far back as is kept
//! policy.json          the last good one: a second name of the newest, so that both are one write
//! pending.json         one that awaits confirmation; never restored after a reboot
//! ```

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{Directory, Disk};
use crate::policy::{Ids, Policy};

/// Generations kept to go back to.
pub const HISTORY: usize = 16;

const POLICY: &str = "policy.json";
const PENDING: &str = "pending.json";
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
        Self::on(Directory(directory))
    }

    /// Removes what was saved, and the directory if nothing else is in it.
    pub fn remove_all(&mut self) -> Result<bool, StoreError> {
        let found = self.files()?;
        for name in &found {
            self.remove(name)?;
        }
        // Somebody may keep other files there.
        drop(std::fs::remove_dir(self.disk.0.join(GENERATIONS)));
        drop(std::fs::remove_dir(&self.disk.0));
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

    /// The policy that awaits confirmation.
    pub fn pending(&self) -> Result<Option<Saved>, StoreError> {
        self.read(PENDING)
    }

    /// What was saved of the generation `number`, which decides: it may await confirmation.
    pub fn deciding(&self, number: u64) -> Result<Option<Saved>, StoreError> {
        let pending = self.pending()?.filter(|pending| pending.number == number);
        pending.map_or_else(|| self.last_good(), |pending| Ok(Some(pending)))
    }

    /// The policy of a confirmed generation; `None` if it is not kept.
    pub fn generation(&self, number: u64) -> Result<Option<Saved>, StoreError> {
        self.read(&history(number))
    }

    /// Numbers of the generations kept, newest first.
    pub fn generations(&self) -> Result<Vec<u64>, StoreError> {
        let names = self.disk.list(GENERATIONS).map_err(self.failed("list", GENERATIONS))?;
        let numbers = names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// Saves a policy as the last good one, wholly or not at all.
    pub fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        let name = history(saved.number);
        self.write(&name, saved)?;
        self.link(&name, POLICY).inspect_err(|_| drop(self.disk.remove(&name)))?;
        self.prune();
        Ok(())
    }

    /// Takes back the last [`save`](Self::save): `before` is the last good one again.
    pub fn take_back(&mut self, number: u64, before: Option<&Saved>) -> Result<(), StoreError> {
        match before {
            Some(before) => self.link(&history(before.number), POLICY).or_else(|_| self.save(before))?,
            None => drop(self.remove(POLICY)?),
        }
        self.remove(&history(number)).map(drop)
    }

    /// Saves a policy that is not to be restored before it is confirmed.
    pub fn save_pending(&mut self, saved: &Saved) -> Result<(), StoreError> {
        self.write(PENDING, saved)
    }

    /// The policy that awaits confirmation is the last good one from now on. Takes no room on the disk.
    pub fn confirm(&mut self, number: u64) -> Result<(), StoreError> {
        let name = history(number);
        self.link(PENDING, &name)?;
        self.link(&name, POLICY)?;
        self.remove(PENDING)?;
        self.prune();
        Ok(())
    }

    /// Nothing awaits confirmation any more.
    pub fn discard_pending(&mut self) -> Result<(), StoreError> {
        self.remove(PENDING).map(drop)
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
        let fixed = [POLICY, PENDING].into_iter().map(str::to_owned);
        let mut found = Vec::new();
        for name in fixed.chain(self.generations()?.into_iter().map(history)) {
            if self.disk.read(&name).map_err(self.failed("read", &name))?.is_some() {
                found.push(name);
            }
        }
        Ok(found)
    }

    fn read(&self, name: &str) -> Result<Option<Saved>, StoreError> {
        let bytes = self.disk.read(name).map_err(self.failed("read", name))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| StoreError::Damaged { path: self.disk.path(name), source })
    }

    fn write(&mut self, name: &str, saved: &Saved) -> Result<(), StoreError> {
        let json = serde_json::to_vec(saved)
            .map_err(|source| StoreError::Damaged { path: self.disk.path(name), source })?;
        self.disk.write(name, &json).map_err(self.failed("write", name))
    }

    fn link(&mut self, name: &str, second: &str) -> Result<(), StoreError> {
        self.disk.link(name, second).map_err(self.failed("replace", second))
    }

    fn remove(&mut self, name: &str) -> Result<bool, StoreError> {
        self.disk.remove(name).map_err(self.failed("remove", name))
    }

    fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError + use<D> {
        let path = self.disk.path(name);
        move |source| StoreError::Io { operation, path, source }
    }
}

fn history(number: u64) -> String {
    format!("{GENERATIONS}/{number}.json")
}

//! What outlives the daemon on disk: the last good policy, and which id each network and rule has.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::policy::{Ids, Policy};

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

/// The last good policy and the ids it was compiled with; one file, so that they never disagree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    /// The policy.
    pub policy: Policy,
    /// The ids of its networks and rules, and of those that are gone.
    pub ids: Ids,
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Keeps state in `directory`; nothing is touched yet.
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The saved policy; `None` when none was ever saved.
    pub fn load(&self) -> Result<Option<Saved>, StoreError> {
        read_json(&self.policy_file())
    }

    /// Saves a policy, wholly or not at all: written beside, forced to disk, then renamed.
    pub fn save(&self, saved: &Saved) -> Result<(), StoreError> {
        let path = self.policy_file();
        let failed = |operation| {
            let path = path.clone();
            move |source| StoreError::Io { operation, path, source }
        };
        fs::create_dir_all(&self.directory).map_err(failed("create the directory of"))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(failed("write beside"))?;
        let json =
            serde_json::to_vec(saved).map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        file.write_all(&json).map_err(failed("write"))?;
        file.as_file().sync_all().map_err(failed("write"))?;
        file.persist(&path).map_err(|error| failed("replace")(error.error))?;
        fs::File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed("write"))
    }

    /// Removes what was saved, and the directory if nothing else is in it.
    pub fn remove(&self) -> Result<bool, StoreError> {
        let path = self.policy_file();
        let existed = path.exists();
        if existed {
            fs::remove_file(&path).map_err(|source| StoreError::Io { operation: "remove", path, source })?;
            // Somebody may keep other files there.
            drop(fs::remove_dir(&self.directory));
        }
        Ok(existed)
    }

    /// Where the policy is.
    pub fn policy_file(&self) -> PathBuf {
        self.directory.join("policy.json")
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StoreError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { operation: "read", path: path.to_owned(), source }),
    }
}

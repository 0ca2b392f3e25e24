//! Where the host file is, and whether there has to be one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{Config, ConfigError};

/// Where it is unless somebody says otherwise.
const USUAL: &str = "/etc/enforcer/enforcer.toml";

/// A host file's place. What is named has to be there, and so does what was there once: without a host file the mode is
/// `enforce`, which nobody should get by a typing mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFile {
    path: PathBuf,
    required: bool,
}

impl HostFile {
    /// The file that somebody names, else the usual one.
    pub fn new(named: Option<&Path>) -> Self {
        Self { path: named.unwrap_or(Path::new(USUAL)).to_owned(), required: named.is_some() }
    }

    /// Reads it as it is now.
    pub fn read(&mut self) -> Result<Config, ConfigError> {
        let path = &self.path;
        match fs::read_to_string(path) {
            Ok(text) => {
                self.required = true;
                Config::parse(path, &text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.required => {
                warn!("no host file at {}: the defaults, mode enforce", path.display());
                Config::parse(path, "")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ConfigError::Missing { path: path.clone() })
            }
            Err(source) => Err(ConfigError::Read { path: path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::mode::Mode;

    use super::*;

    #[test]
    fn what_is_named_has_to_be_there() {
        let missing = Path::new("/nonexistent/enforcer.toml");
        insta::assert_snapshot!(
            HostFile::new(Some(missing)).read().unwrap_err(),
            @"/nonexistent/enforcer.toml does not exist; without a host file the mode would be enforce"
        );
    }

    #[test]
    fn what_was_there_once_does_not_become_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enforcer.toml");
        let mut file = HostFile { path: path.clone(), required: false };
        assert_eq!(file.read().unwrap().mode, Mode::Enforce, "there never was one");
        fs::write(&path, "mode = \"observe\"").unwrap();
        assert_eq!(file.read().unwrap().mode, Mode::Observe);
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.read(), Err(ConfigError::Missing { .. })));
    }
}

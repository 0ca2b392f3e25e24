//! The texts that make up one policy, and reading them from files, directories and standard input.
//!
//! On the policy's way: the very start, and the only room that touches the file system.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text of one file and the name that messages call it by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The path as given, or `<stdin>`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Why the texts of a policy could not be read.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadError {
    /// Nothing at that path.
    #[error("{path} does not exist")]
    Missing { path: String },
    /// The operating system says no.
    #[error("failed to read {path}: {cause}")]
    Unreadable { path: String, cause: io::Error },
    /// Bytes that are no text.
    #[error("{path}:{line}:{column} is not UTF-8; save the file as UTF-8 text")]
    NotUtf8 { path: String, line: usize, column: usize },
    /// A link to nothing.
    #[error("{path} is a link to {target}, which does not exist")]
    Dangling { path: String, target: String },
    /// A directory that says nothing, which is never meant: an empty policy denies everything.
    #[error("{path} is a directory without any *.toml file")]
    EmptyDirectory { path: String },
}

/// Reads each path: a file, a directory (its `*.toml` files sorted by name, as a shell's glob finds
/// them: no hidden files, not recursive), or `-` for standard input.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Source>, ReadError> {
    read_with(paths, &mut io::stdin().lock())
}

/// Whether [`read`] finds something there, or at least a mistake.
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok() && !matches!(toml_files(path), Err(ReadError::EmptyDirectory { .. }))
}

fn read_with(paths: &[PathBuf], stdin: &mut impl Read) -> Result<Vec<Source>, ReadError> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let read = stdin.read_to_end(&mut bytes).map(|_| bytes);
            sources.push(source("<stdin>".to_owned(), read)?);
        } else if path.is_dir() {
            for file in toml_files(path)? {
                sources.push(source(file.display().to_string(), fs::read(&file))?);
            }
        } else {
            sources.push(source(path.display().to_string(), fs::read(path))?);
        }
    }
    Ok(sources)
}

fn source(name: String, bytes: io::Result<Vec<u8>>) -> Result<Source, ReadError> {
    let bytes = bytes.map_err(|cause| read_error(&name, cause))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let (line, column) = behind(&String::from_utf8_lossy(valid));
            Err(ReadError::NotUtf8 { path: name, line, column })
        }
    }
}

/// Line and column of what comes behind `text`.
fn behind(text: &str) -> (usize, usize) {
    let last = text.rsplit('\n').next().unwrap_or_default();
    (1 + text.matches('\n').count(), 1 + last.chars().count())
}

fn toml_files(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let name = directory.display().to_string();
    let entries: io::Result<Vec<_>> = fs::read_dir(directory).and_then(Iterator::collect);
    let mut files: Vec<PathBuf> = entries
        .map_err(|cause| read_error(&name, cause))?
        .into_iter()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && !path.is_dir())
        .collect();
    if files.is_empty() {
        return Err(ReadError::EmptyDirectory { path: name });
    }
    files.sort();
    Ok(files)
}

fn read_error(path: &str, cause: io::Error) -> ReadError {
    let target = fs::read_link(path);
    let path = path.to_owned();
    match (cause.kind(), target) {
        (io::ErrorKind::NotFound, Ok(target)) => {
            ReadError::Dangling { path, target: target.display().to_string() }
        }
        (io::ErrorKind::NotFound, Err(_)) => ReadError::Missing { path },
        _ => ReadError::Unreadable { path, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(path: &Path) -> Result<Vec<Source>, ReadError> {
        read_with(&[path.to_owned()], &mut io::empty())
    }

    #[test]
    fn a_directory_gives_its_toml_files_in_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", "notes.txt", ".hidden.toml"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::create_dir(directory.path().join("sub.toml")).unwrap();
        let texts: Vec<String> =
            read_one(directory.path()).unwrap().into_iter().map(|source| source.text).collect();
        assert_eq!(texts, ["a.toml", "b.toml"]);
    }

    #[test]
    fn a_directory_that_says_nothing_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.toml");
        assert!(!is_there(directory.path()) && !is_there(&file));
        fs::write(&file, "version = 1").unwrap();
        assert!(is_there(directory.path()) && is_there(&file));
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink("/nonexistent/policy.toml", &link).unwrap();
        assert!(is_there(&link), "a link to nothing is a mistake");
    }

    #[test]
    fn a_dash_is_standard_input() {
        let sources = read_with(&["-".into()], &mut "version = 1".as_bytes()).unwrap();
        assert_eq!(sources, [Source { name: "<stdin>".into(), text: "version = 1".into() }]);
    }

    #[test]
    fn errors_name_the_path_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.toml");
        let message = |path: &Path| read_one(path).unwrap_err().to_string();
        assert_eq!(message(&file), format!("{} does not exist", file.display()));
        let here = directory.path();
        assert_eq!(message(here), format!("{} is a directory without any *.toml file", here.display()));
        fs::write(&file, b"version = 1\n# \xc3\xa9 caf\xe9").unwrap();
        let not_utf8 = format!("{}:2:8 is not UTF-8; save the file as UTF-8 text", file.display());
        assert_eq!(message(&file), not_utf8);
        let link = here.join("link.toml");
        std::os::unix::fs::symlink("/nonexistent/policy.toml", &link).unwrap();
        let dangling =
            format!("{} is a link to /nonexistent/policy.toml, which does not exist", link.display());
        assert_eq!(message(&link), dangling);
        let below_a_file = file.join("policy.toml");
        assert!(message(&below_a_file).starts_with(&format!("failed to read {}", below_a_file.display())));
    }
}

//! A copy of the workspace that may be broken; the working tree is only ever read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{mutant::Mutant, step};

/// The copy, and a target directory of its own that outlives it: builds of mutants are incremental.
pub struct Scratch {
    root: PathBuf,
    target: PathBuf,
    files: BTreeSet<PathBuf>,
}

impl Scratch {
    /// Copies what git knows, and what it would add.
    pub fn copy() -> Result<Self> {
        let home = step::workspace().join("target/mutants");
        let scratch = Self { root: home.join("tree"), target: home.join("target"), files: files()? };
        for file in &scratch.files {
            let content = fs::read(step::workspace().join(file))
                .with_context(|| format!("failed to read {}", file.display()))?;
            scratch.write(file, &content)?;
        }
        scratch.sweep()?;
        Ok(scratch)
    }

    /// The root of the copy.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a command build in the copy's own target directory, with the workspace's own linker.
    pub fn prepare(&self, command: &mut Command) {
        command.env("CARGO_TARGET_DIR", &self.target);
        let linker = step::tools().join("bin/bpf-linker");
        if linker.exists() {
            command.env("ENFORCER_EBPF_LINKER", linker);
        }
    }

    /// Fails where the mutant's text is not there, or not once.
    pub fn accepts(&self, mutant: &Mutant) -> Result<()> {
        mutant.apply(&self.read(Path::new(mutant.file))?).map(drop)
    }

    /// Has `work` done while the mutant is in the copy, and takes it out again.
    pub fn with<T>(&self, mutant: &Mutant, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let file = Path::new(mutant.file);
        let content = self.read(file)?;
        self.write(file, mutant.apply(&content)?.as_bytes())?;
        let done = work();
        self.write(file, content.as_bytes())?;
        self.sweep()?;
        done
    }

    fn read(&self, file: &Path) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| format!("failed to read {}", file.display()))
    }

    /// A file that stays the same keeps its age: cargo rebuilds nothing for it.
    fn write(&self, file: &Path, content: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        if fs::read(&path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        let written =
            path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        written.with_context(|| format!("failed to write {}", path.display()))
    }

    /// Removes what is not of the workspace, such as cases that the tests found and kept.
    fn sweep(&self) -> Result<()> {
        let mut directories = vec![self.root.clone()];
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory)
                .with_context(|| format!("failed to read {}", directory.display()))?;
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                // Of a link to a directory only the link is ours.
                if entry.file_type()?.is_dir() {
                    directories.push(path);
                } else if !path.strip_prefix(&self.root).is_ok_and(|file| self.files.contains(file)) {
                    fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// The workspace's files: tracked or not yet, but not ignored.
fn files() -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .current_dir(step::workspace())
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .output()
        .context("failed to run git")?;
    ensure!(output.status.success(), "git does not list the files of {}", step::workspace().display());
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    // A file that was deleted and not yet removed from the index is listed, too.
    let files = names.split_terminator('\0').map(PathBuf::from);
    Ok(files.filter(|file| step::workspace().join(file).is_file()).collect())
}

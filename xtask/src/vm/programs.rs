//! The programs that run in the guest: the very ones that `cargo xtask test` runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::apt::run;
use crate::programs;

/// What a machine needs.
const NAMES: [&str; 4] = ["enforcer", "guest", "netns", "prog_run"];

/// Where the programs that a machine needs are, by name.
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds all, and notes where they are: cargo says it, one JSON object a line.
    pub fn build() -> Result<Self> {
        let mut cargo = programs::build_with_tests();
        cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
        let output = cargo.output().context("failed to run cargo")?;
        ensure!(output.status.success(), "the build failed: {}", output.status);
        let mut found = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Value = serde_json::from_str(line).context("cargo speaks another language")?;
            let (target, executable) = (&message["target"], message["executable"].as_str());
            // Not the tests inside of a program, which have its name.
            let is_own = target["kind"][0] == "test" || message["profile"]["test"] == false;
            if let (true, Some(name), Some(path)) = (is_own, target["name"].as_str(), executable) {
                found.insert(name.to_owned(), path.into());
            }
        }
        found.retain(|name: &String, _| NAMES.contains(&name.as_str()));
        Ok(Self(found))
    }

    /// Where cargo left a program.
    pub fn path(&self, name: &str) -> Result<&Path> {
        self.0.get(name).map(PathBuf::as_path).with_context(|| format!("cargo built no {name}"))
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.values().map(PathBuf::as_path)
    }

    /// The names of the tests in a program.
    pub fn tests(&self, program: &str) -> Result<Vec<String>> {
        let output = run(Command::new(self.path(program)?).args(["--list", "--format", "terse"]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(ToOwned::to_owned).collect())
    }
}

/// A program without its debug information, which only costs memory in the guest.
pub fn stripped(program: &Path, cache: &Path) -> Result<Vec<u8>> {
    fs::create_dir_all(cache)?;
    let copy = cache.join(program.file_name().context("a program has a name")?);
    run(Command::new("strip").args(["--strip-debug", "-o"]).args([&*copy, program]))?;
    let bytes = fs::read(&copy)?;
    fs::remove_file(copy)?;
    Ok(bytes)
}

//! The project's programs that a chore builds and then becomes.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// How the programs are built.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Shared with the tests: nothing is built twice.
    Dev,
    /// For measurements.
    Release,
}

impl Profile {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Profile::Dev => &[],
            Profile::Release => &["--release"],
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        }
    }
}

/// Builds `enforcer` and the programs of the test harness.
pub fn build(profile: Profile) -> Result<()> {
    let mut build = step::cargo();
    build.args(["build", "--package", "enforcer", "--package", "enforcer-tests", "--bins"]);
    build.args(profile.flags());
    step::show("build", build)
}

/// The build of every program and every test: of each alone, cargo would build what they need with other features, and again
/// for the next.
pub fn build_with_tests() -> Command {
    let mut build = step::cargo();
    build.args(["build", "--workspace", "--bins", "--tests"]);
    build
}

/// Builds the tests of single packets, so that the first round of them is as short as the others.
pub fn build_tests() -> Result<()> {
    let mut build = step::cargo();
    build.args(["test", "--no-run", "--package", "enforcer-tests", "--test", "prog_run"]);
    step::show("build", build)
}

/// Builds all, and becomes the program named.
pub fn build_and_exec(name: &str, profile: Profile, args: &[OsString]) -> Result<Infallible> {
    build(profile)?;
    exec(name, profile, args)
}

/// Becomes a program that was built.
pub fn exec(name: &str, profile: Profile, args: &[OsString]) -> Result<Infallible> {
    // The program finds `enforcer` next to itself.
    let mut program = Command::new(artifacts(profile)?.join(name));
    program.args(args);
    step::forget_this_package(&mut program);
    step::exec(program)
}

/// Where cargo leaves the programs: beside this one's directory, whatever the target directory is called.
fn artifacts(profile: Profile) -> Result<PathBuf> {
    let own = env::current_exe().context("failed to find this program")?;
    let target = own.parent().and_then(Path::parent).context("this program is not in a target directory")?;
    Ok(target.join(profile.directory()))
}

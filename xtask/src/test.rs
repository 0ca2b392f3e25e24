//! `cargo xtask test`: all tests of the workspace, one process each.
//!
//! cargo-nextest leaves out doc tests: this project's examples are tests of their own.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{programs, setup, step};

/// Becomes cargo-nextest, whose summary is then the last thing printed.
pub fn run(filters: &[OsString], extra: &[OsString]) -> Result<Infallible> {
    // The tests of the command line run the real binary; cargo builds it for no test by itself.
    step::show("build", programs::build_with_tests())?;
    let mut nextest = nextest(step::workspace())?;
    nextest.arg("--workspace").args(filters).args(extra);
    step::exec(nextest)
}

/// cargo-nextest, about to run tests of the workspace in this directory.
pub fn nextest(workspace: &Path) -> Result<Command> {
    let runner = setup::nextest().context("cargo-nextest is not installed; type: cargo xtask setup")?;
    // Called directly, not as `cargo nextest`: a changed PATH would rebuild the eBPF half.
    let mut nextest = Command::new(runner);
    nextest.current_dir(workspace);
    step::forget_this_package(&mut nextest);
    nextest.args(["nextest", "run"]);
    Ok(nextest)
}

//! `cargo xtask test`: all tests of the workspace, one process each.
//!
//! cargo-nextest leaves out doc tests: this project's examples are tests of their own.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use crate::{programs, setup, step};

/// The kind of tables that tests are about which say nothing of it, as `enforcer_tests::tables` has it.
const TABLES: &str = "ENFORCER_TABLES";

/// How many tests run at a time, as cargo-nextest has it.
const AT_A_TIME: &str = "NEXTEST_TEST_THREADS";

/// Of hosts whose tables are all of the kernel's kind: what the datapath decides and where it sends packets, and that nothing
/// is lost. All else passes as well, and takes its time: `ENFORCER_TABLES=kernel cargo xtask test`.
const WITH_KERNEL_TABLES: &str = "binary(prog_run) - test(/^(budget|cost)::/) \
     | binary(netns) & test(/^(loss|policy_swap|reload|flows|isolation|adopted|guard|modes|upgrade|shortcuts)::/) \
       - test(/^shortcuts::stations::/)";

/// Becomes cargo-nextest, whose summary is then the last thing printed. Unless some tests or one kind of tables are asked
/// for, it runs once for each kind.
pub fn run(filters: &[OsString], extra: &[OsString]) -> Result<Infallible> {
    // The tests of the command line run the real binary; cargo builds it for no test by itself.
    step::show("build", programs::build_with_tests())?;
    let workspace = step::workspace();
    let mut all = nextest(workspace)?;
    all.arg("--workspace").args(filters).args(extra);
    if !filters.is_empty() || !extra.is_empty() || env::var_os(TABLES).is_some() {
        return step::exec(all);
    }
    step::show("all tests", all)?;
    eprintln!("the same with tables of the kernel's kind ({TABLES}=kernel): what they are about");
    let mut again = nextest(workspace)?;
    again.env(TABLES, "kernel").args(["--workspace", "-E", WITH_KERNEL_TABLES]);
    step::exec(again)
}

/// cargo-nextest, about to run tests of the workspace in this directory.
pub fn nextest(workspace: &Path) -> Result<Command> {
    let runner = setup::nextest().context("cargo-nextest is not installed; type: cargo xtask setup")?;
    // Called directly, not as `cargo nextest`: a changed PATH would rebuild the eBPF half.
    let mut nextest = Command::new(runner);
    nextest.current_dir(workspace);
    step::forget_this_package(&mut nextest);
    if env::var_os(AT_A_TIME).is_none() {
        // Those of namespaces, of which there are two, wait more than they work.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        nextest.env(AT_A_TIME, (processors + 1).to_string());
    }
    nextest.args(["nextest", "run"]);
    Ok(nextest)
}

//! What can go wrong with a machine, on purpose: to see that it is reported as what it is.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use enforcer_guest::Fault;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getppid;

/// Does it, in the place of a test.
pub fn run(fault: Fault) -> Result<()> {
    match fault {
        Fault::Hang => {}
        Fault::Silence => kill(getppid(), Signal::SIGSTOP).context("failed to stop who reports")?,
        Fault::Panic => fs::write("/proc/sysrq-trigger", "c").context("the kernel does not panic")?,
    }
    loop {
        thread::sleep(Duration::from_hours(1));
    }
}

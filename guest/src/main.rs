//! The first process of a virtual machine: mounts what programs expect, loads the modules, runs the tests of the plan,
//! and switches the machine off.
//!
//! The same program is two processes: the first one collects orphans, which the kernel gives to nobody else, and the
//! second one does the work.

mod boot;
mod rehearse;
mod tests;

use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};
use enforcer_guest::{PLAN, Plan, REHEARSE};
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, sync};

const WORK: &str = "work";

fn main() {
    match env::args().nth(1).as_deref() {
        Some(WORK) => return work().unwrap_or_else(|error| boot::say_broken(&error)),
        Some(REHEARSE) => return rehearse().unwrap_or_else(|error| panic!("{error:#}")),
        _ => {}
    }
    if let Err(error) = boot::prepare().and_then(|()| stand_by()) {
        boot::say_broken(&error);
    }
    sync();
    let refused = reboot(RebootMode::RB_POWER_OFF);
    panic!("the machine stays on: {refused:?}");
}

/// Starts the worker and collects whoever ends, until the worker does.
fn stand_by() -> Result<()> {
    let worker = Command::new("/init").arg(WORK).spawn().context("failed to start the worker")?;
    let worker = Pid::from_raw(worker.id() as i32);
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == worker => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("failed to wait for the worker"),
        }
    }
}

fn rehearse() -> Result<()> {
    let fault = env::args().nth(2).context("no fault is named")?;
    rehearse::run(fault.parse().map_err(anyhow::Error::msg)?)
}

fn work() -> Result<()> {
    let plan = fs::read(PLAN).with_context(|| format!("failed to read {PLAN}"))?;
    let plan: Plan = serde_json::from_slice(&plan).with_context(|| format!("failed to read {PLAN}"))?;
    boot::load(&plan.modules)?;
    tests::run(&plan)
}

//! A program that serves in a workload for as long as it is asked.

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use enforcer_tests::{NetNs, wait};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A program that runs, with those that it starts; ended when the value goes.
pub struct Server(Child);

impl Server {
    /// Starts it in a namespace. What it prints is nobody's.
    pub fn start(netns: &NetNs, program: &str, arguments: &[&str]) -> Self {
        let child = netns
            .command(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(
            child.unwrap_or_else(|error| panic!("failed to start {program}: {error}; try cargo xtask setup")),
        )
    }

    /// Whether it has not ended by itself.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Also who it has started: one that lives on would disturb the next. All of this fails only for who has ended.
        let group = Pid::from_raw(self.0.id() as i32);
        killpg(group, Signal::SIGTERM).ok();
        if wait::within(PATIENCE, || self.0.try_wait().ok().flatten()).is_none() {
            killpg(group, Signal::SIGKILL).ok();
            self.0.wait().ok();
        }
    }
}

//! A program that serves in a workload for as long as it is asked.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use enforcer_tests::{NetNs, wait};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// And to start.
const STARTING: Duration = Duration::from_secs(10);
/// The state of a socket that listens, as `/proc/net/tcp` writes it (`TCP_LISTEN`, `include/net/tcp_states.h`).
const LISTEN: &str = "0A";

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

    /// Starts one that hears TCP at a port, and returns once it does.
    pub fn hearing(port: u16, netns: &NetNs, program: &str, arguments: &[&str]) -> Self {
        let mut server = Self::start(netns, program, arguments);
        wait::until(&format!("{program} hears port {port}"), STARTING, || {
            assert!(server.runs(), "{program} has ended instead of hearing port {port}");
            server.hears(port).then_some(())
        });
        server
    }

    /// Whether a socket of its namespace listens at the port, as `/proc/PID/net/tcp` and `tcp6` tell.
    fn hears(&self, port: u16) -> bool {
        let local = format!(":{port:04X}");
        ["tcp", "tcp6"].iter().any(|table| {
            let sockets =
                fs::read_to_string(format!("/proc/{}/net/{table}", self.0.id())).unwrap_or_default();
            sockets.lines().any(|socket| {
                let mut words = socket.split_whitespace().skip(1);
                words.next().is_some_and(|at| at.ends_with(&local)) && words.nth(1) == Some(LISTEN)
            })
        })
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

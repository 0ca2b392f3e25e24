//! A network namespace for one thread: its interfaces are nobody else's, and end with it.

use std::{fs, fs::File, path::Path, process::Command};

use nix::sched::{CloneFlags, setns, unshare};

/// The namespace that the thread came from; it returns there in the end.
pub(super) struct Namespace {
    before: File,
}

impl Namespace {
    /// Moves this thread, and no other, into a fresh network namespace.
    pub(super) fn enter_new() -> Self {
        let before = File::open("/proc/thread-self/ns/net").expect("a thread has a network namespace");
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests run as root");
        Self { before }
    }
}

/// Runs `ip` in this thread's namespace.
#[track_caller]
pub(super) fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2 is installed");
    assert!(done.success(), "ip {arguments}");
}

/// Sets a value of this thread's namespace.
#[track_caller]
pub(super) fn sysctl(key: &str, value: &str) {
    let path = Path::new("/proc/sys/net").join(key);
    fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.before, CloneFlags::CLONE_NEWNET) {
            eprintln!("this thread stays in its test's network namespace: {error}");
        }
    }
}

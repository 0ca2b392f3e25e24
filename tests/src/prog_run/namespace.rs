//! A network namespace for one thread: its interfaces are nobody else's, and end with it.

use std::fs::File;

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

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.before, CloneFlags::CLONE_NEWNET) {
            eprintln!("this thread stays in its test's network namespace: {error}");
        }
    }
}

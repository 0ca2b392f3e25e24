//! Tables on their way into a bank.
//!
//! Who puts a table into another one is made to wait until no running program can see what was there before
//! (`maybe_wait_bpf_programs`, an RCU grace period): some ten milliseconds, while the table is there at once. A policy
//! has five, and its first packet need not wait for any of that. Before the next policy is built somebody does: a bank
//! is built in again at the earliest when another policy was built after it was replaced, and these waits began after
//! that and are over.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Mutex,
    thread::{self, JoinHandle},
};

use aya::maps::MapData;

use super::{bpf, tables::TableError};

/// Threads that the kernel makes wait.
#[derive(Debug, Default)]
pub(super) struct Installs(Mutex<Vec<JoinHandle<io::Result<()>>>>);

impl Installs {
    /// Waits until no program can see what earlier tables took the place of.
    pub(super) fn settle(&self) {
        for waiting in self.0.lock().expect("nobody panics with it").drain(..) {
            // What could go wrong did so before the wait, and was told.
            let _ = waiting.join();
        }
    }

    /// Puts a table into a bank, where packets find it when this returns.
    pub(super) fn put(
        &self,
        outer: &MapData,
        name: &'static str,
        bank: u32,
        inner: OwnedFd,
    ) -> Result<(), TableError> {
        let failed = |source| TableError::Io { operation: "install", name, source };
        let of_map = |source| TableError::Map { name, source };
        let inner = MapData::from_fd(inner).map_err(of_map)?;
        let id = inner.info().map_err(of_map)?.id();
        let target = outer.fd().as_fd().try_clone_to_owned().map_err(failed)?;
        let put = move || bpf::update(target, &bank, &inner.fd().as_fd().as_raw_fd());
        let waiting = thread::Builder::new().name("install".to_owned()).spawn(put).map_err(failed)?;
        while inner_id(outer, name, bank)? != Some(id) {
            if waiting.is_finished() {
                return waiting.join().expect("it does not panic").map_err(failed);
            }
            thread::yield_now();
        }
        self.0.lock().expect("nobody panics with it").push(waiting);
        Ok(())
    }
}

/// Kernel id of the table in a bank.
pub(super) fn inner_id(outer: &MapData, name: &'static str, bank: u32) -> Result<Option<u32>, TableError> {
    bpf::lookup(outer.fd(), &bank).map_err(|source| TableError::Io { operation: "look into", name, source })
}

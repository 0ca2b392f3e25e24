//! Tables on their way into a bank.
//!
//! Who puts a table into another one is made to wait until no running program can see what was there before
//! (`maybe_wait_bpf_programs`, an RCU grace period): some ten milliseconds, while the table is there at once. A policy
//! has five, and its first packet need not wait for any of that; before 6.8 it does, since the kernel makes those wait
//! who look, too.
//!
//! What has to be waited for is another thing: a packet on its way through what decided until just now. Whenever another
//! policy is published such a wait begins, and it is over before the next one is built.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Mutex,
    thread::{self, JoinHandle},
};

use aya::maps::MapData;

use super::{bpf, tables::TableError};

/// Threads that the kernel makes wait: who put tables into banks, and who waits for packets.
#[derive(Debug, Default)]
pub(super) struct Installs(Mutex<Vec<JoinHandle<io::Result<()>>>>);

impl Installs {
    /// Another policy decides from now on: begins to wait for packets on their way through the one before.
    pub(super) fn replaced(&self) {
        let waiting = thread::Builder::new().name("grace".to_owned()).spawn(bpf::wait_for_programs);
        match waiting {
            Ok(waiting) => self.keep(waiting),
            // Without a thread to wait in, here.
            Err(_) => drop(bpf::wait_for_programs()),
        }
    }

    /// Waits until no program can see what earlier tables took the place of, nor is on its way through what decided
    /// before the last policy was published.
    pub(super) fn settle(&self) {
        for waiting in self.0.lock().expect("nobody panics with it").drain(..) {
            // What could go wrong with a table did so before the wait, and was told; the kernel had no memory for a wait
            // when it had none for much else.
            let _ = waiting.join();
        }
    }

    fn keep(&self, waiting: JoinHandle<io::Result<()>>) {
        self.0.lock().expect("nobody panics with it").push(waiting);
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
        while !waiting.is_finished() {
            match inner_id(outer, name, bank) {
                Ok(found) if found == Some(id) => {
                    self.keep(waiting);
                    return Ok(());
                }
                Ok(_) => thread::yield_now(),
                // It tells when it is there by its end.
                Err(_) => break,
            }
        }
        waiting.join().expect("it does not panic").map_err(failed)
    }
}

/// Kernel id of the table in a bank.
pub(super) fn inner_id(outer: &MapData, name: &'static str, bank: u32) -> Result<Option<u32>, TableError> {
    bpf::lookup(outer.fd(), &bank).map_err(|source| TableError::Io { operation: "look into", name, source })
}

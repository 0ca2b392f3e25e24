//! Tables on their way into a bank.
//!
//! Who puts a table into another one is made to wait until no running program can see what was there before
//! (`maybe_wait_bpf_programs`, an RCU grace period): some ten milliseconds, while the table is there at once. A policy
//! has up to five that are new, and its first packet need not wait for any of that; before 6.8 it does, since the kernel
//! makes those wait who look, too. Each has a thread to wait in, and all begin before any is looked for: a thread takes a
//! millisecond or more to get to run on a busy host.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::maps::MapData;

use super::{bpf, tables::TableError};

/// Puts tables into a bank, where packets find all of them when this returns. None may be on its way there.
pub(super) fn put(bank: u32, tables: Vec<Table<'_>>) -> Result<(), TableError> {
    let begun: Vec<_> = tables.into_iter().map(|table| table.begin(bank)).collect();
    let arrived = begun.into_iter().map(|install| install.and_then(Install::await_arrival));
    // None is left alone, whatever becomes of the others.
    arrived.fold(Ok(()), Result::and)
}

/// How long to wait before looking again whether a table is there.
const PEEK: Duration = Duration::from_micros(20);

/// A table for a bank.
pub(super) struct Table<'a> {
    /// What it is put into, and its name.
    to: (&'a MapData, &'static str),
    /// The kernel's.
    pub id: u32,
    /// The table, filled.
    inner: MapData,
}

impl<'a> Table<'a> {
    /// `inner` is the table, filled, or why there is none.
    pub fn new(to: (&'a MapData, &'static str), inner: io::Result<OwnedFd>) -> Result<Self, TableError> {
        let (_, name) = to;
        let inner = inner.map_err(|source| TableError::Io { operation: "fill", name, source })?;
        let of_map = |source| TableError::Map { name, source };
        let inner = MapData::from_fd(inner).map_err(of_map)?;
        Ok(Self { to, id: inner.info().map_err(of_map)?.id(), inner })
    }

    fn begin(self, bank: u32) -> Result<Install<'a>, TableError> {
        let Self { to: (outer, name), id, inner } = self;
        let failed = |source| TableError::Io { operation: "install", name, source };
        let target = outer.fd().as_fd().try_clone_to_owned().map_err(failed)?;
        let put = move || bpf::update(target, &bank, &inner.fd().as_fd().as_raw_fd());
        let waiting = thread::Builder::new().name("install".to_owned()).spawn(put).map_err(failed)?;
        Ok(Install { outer, name, bank, id, waiting })
    }
}

/// A table that somebody waits with.
struct Install<'a> {
    outer: &'a MapData,
    name: &'static str,
    bank: u32,
    id: u32,
    waiting: JoinHandle<io::Result<()>>,
}

impl Install<'_> {
    /// Whoever waits with it once it is there waits for nothing that matters: no packet saw what was there before.
    fn await_arrival(self) -> Result<(), TableError> {
        let Self { outer, name, bank, id, waiting } = self;
        while !waiting.is_finished() {
            match inner_id(outer, name, bank) {
                Ok(found) if found == Some(id) => return Ok(()),
                // Not only yielding: the processor may be the one that it has to run on.
                Ok(_) => thread::sleep(PEEK),
                // It tells when it is there by its end.
                Err(_) => break,
            }
        }
        let outcome = waiting.join().expect("it does not panic");
        outcome.map_err(|source| TableError::Io { operation: "install", name, source })
    }
}

/// Kernel id of the table in a bank.
pub(super) fn inner_id(outer: &MapData, name: &'static str, bank: u32) -> Result<Option<u32>, TableError> {
    bpf::lookup(outer.fd(), &bank).map_err(|source| TableError::Io { operation: "look into", name, source })
}

//! Tables on their way into a bank.
//!
//! Who puts a table into another one is made to wait until no running program can see what was there before
//! (`maybe_wait_bpf_programs`, an RCU grace period): some ten milliseconds, while the table is there at once. A policy
//! has up to five that are new, and its first packet need not wait for any of that; before 6.8 it does, since the kernel
//! makes those wait who look, too. Each has a thread to wait in, and all begin before any is looked for: a thread takes a
//! millisecond or more to get to run on a busy host.
//!
//! What has to be waited for is another thing: a packet on its way through what decided until just now. Whenever another
//! policy is published such a wait begins, and it is over before the next one is built.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Mutex,
    thread::{self, JoinHandle},
    time::Duration,
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

    /// Puts tables into a bank, where packets find all of them when this returns; everything is to be settled before.
    pub(super) fn put(&self, bank: u32, tables: Vec<Table<'_>>) -> Result<(), TableError> {
        debug_assert!(
            self.0.lock().expect("nobody panics with it").is_empty(),
            "packets may still be in that bank"
        );
        let begun: Vec<_> = tables.into_iter().map(|table| table.begin(bank)).collect();
        let arrived =
            begun.into_iter().map(|install| install.and_then(|install| self.await_arrival(install)));
        // None is left alone, whatever becomes of the others.
        arrived.fold(Ok(()), Result::and)
    }

    fn await_arrival(&self, install: Install<'_>) -> Result<(), TableError> {
        let Install { outer, name, bank, id, waiting } = install;
        while !waiting.is_finished() {
            match inner_id(outer, name, bank) {
                Ok(found) if found == Some(id) => {
                    self.keep(waiting);
                    return Ok(());
                }
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

/// Kernel id of the table in a bank.
pub(super) fn inner_id(outer: &MapData, name: &'static str, bank: u32) -> Result<Option<u32>, TableError> {
    bpf::lookup(outer.fd(), &bank).map_err(|source| TableError::Io { operation: "look into", name, source })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, RecvTimeoutError};

    use super::*;

    /// Long enough for who waits for nobody.
    const A_WHILE: Duration = Duration::from_millis(100);

    #[test]
    fn nothing_is_settled_before_all_have_waited() {
        let installs = Installs::default();
        let (end, waits) = mpsc::channel::<()>();
        installs.keep(thread::spawn(move || {
            waits.recv().ok();
            Ok(())
        }));
        let (settled, hears) = mpsc::channel();
        let settling = &installs;
        thread::scope(|scope| {
            scope.spawn(move || {
                settling.settle();
                settled.send(())
            });
            assert_eq!(hears.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout), "somebody waits still");
            drop(end);
            assert_eq!(hears.recv(), Ok(()), "and does not any more");
        });
    }

    #[test]
    fn another_policy_has_to_be_waited_for() {
        let installs = Installs::default();
        let waiting = || installs.0.lock().unwrap().len();
        installs.replaced();
        assert_eq!(waiting(), 1);
        installs.settle();
        assert_eq!(waiting(), 0);
    }
}

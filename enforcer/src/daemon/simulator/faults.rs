//! What goes wrong between the daemon and its kernel and disk: operations are refused, and the daemon dies
//! before or after one.

use std::{cell::Cell, io};

/// What goes wrong in one step, by the number of the operation in it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Some operations in a row are refused.
    Refuse {
        /// The first of them.
        from: u8,
        /// How many.
        count: u8,
        /// What the kernel says.
        errno: i32,
    },
    /// The daemon dies; the operation was not done.
    DieBefore(u8),
    /// The daemon dies; the operation was done.
    DieAfter(u8),
}

/// Shared by everything that the daemon does anything with.
#[derive(Debug, Default)]
pub struct Faults {
    fault: Cell<Option<Fault>>,
    operations: Cell<u8>,
    dead: Cell<bool>,
    struck: Cell<u32>,
}

impl Faults {
    /// A step begins, in which this goes wrong.
    pub fn begin(&self, fault: Option<Fault>) {
        self.fault.set(fault);
        self.operations.set(0);
    }

    /// A new daemon.
    pub fn revive(&self) {
        self.dead.set(false);
    }

    /// The daemon is gone, and only has to notice.
    pub fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// How many operations went wrong so far.
    pub fn struck(&self) -> u32 {
        self.struck.get()
    }

    /// Something that changes nothing: only the dead cannot do it.
    pub fn read(&self) -> io::Result<()> {
        if self.is_dead() { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    /// Something that is done wholly or not at all.
    pub fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.count()?;
        match self.fault.get() {
            Some(Fault::Refuse { from, count, errno })
                if (from..from.saturating_add(count)).contains(&number) =>
            {
                self.strike(errno)
            }
            _ => self.change_surely(number, change),
        }
    }

    /// The same for what no kernel refuses.
    pub fn store<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.count()?;
        self.change_surely(number, change)
    }

    fn count(&self) -> io::Result<u8> {
        self.read()?;
        let number = self.operations.get();
        self.operations.set(number.saturating_add(1));
        Ok(number)
    }

    fn change_surely<T>(&self, number: u8, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.fault.get() {
            Some(Fault::DieBefore(at)) if at == number => self.die(),
            Some(Fault::DieAfter(at)) if at == number => {
                change()?;
                self.die()
            }
            _ => change(),
        }
    }

    fn die<T>(&self) -> io::Result<T> {
        self.dead.set(true);
        self.strike(libc::EIO)
    }

    fn strike<T>(&self, errno: i32) -> io::Result<T> {
        self.struck.set(self.struck.get() + 1);
        Err(io::Error::from_raw_os_error(errno))
    }
}

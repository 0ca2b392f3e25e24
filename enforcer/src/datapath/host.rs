//! Facts about the host as a whole: what it is as an end, and whom stamps stand for behind its NAT.

use std::collections::BTreeMap;

use enforcer_common::{endpoint::MaskedSender, host::HostEnd};

use super::{
    facts::gone,
    tables::{TableError, Tables},
};

impl Tables {
    /// The host as an end.
    pub fn host_end(&self) -> Result<HostEnd, TableError> {
        self.host.get(&0, 0).map_err(|source| TableError::Map { name: "HOST", source })
    }

    /// Changes it, from the next packet on that no flow remembers.
    pub fn set_host_end(&mut self, end: &HostEnd) -> Result<(), TableError> {
        self.host.set(0, end, 0).map_err(|source| TableError::Map { name: "HOST", source })
    }

    /// Whom stamps stand for, by stamp.
    pub fn senders(&self) -> Result<BTreeMap<u32, MaskedSender>, TableError> {
        let entries: Result<_, _> = self.senders.iter().collect();
        entries.map_err(|source| TableError::Map { name: "SENDERS", source })
    }

    /// Says whom a stamp stands for.
    pub fn write_sender(&mut self, stamp: u32, sender: &MaskedSender) -> Result<(), TableError> {
        let written = self.senders.insert(stamp, sender, 0);
        written.map_err(|source| TableError::Map { name: "SENDERS", source })
    }

    /// The stamp stands for nobody any more; not an error if it did not.
    pub fn remove_sender(&mut self, stamp: u32) -> Result<(), TableError> {
        gone("SENDERS", self.senders.remove(&stamp))
    }
}

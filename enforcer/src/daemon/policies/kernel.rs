//! The kernel, as far as policies go.

use enforcer_common::{
    control::{ControlWord, Generation},
    limits::BANK_TABLES,
};

use crate::{
    daemon::generations::Records,
    datapath::tables::{self, TableError, Tables},
    policy,
};

/// Takes policies, and tells which ones it has.
pub trait PolicyTables {
    /// What is published, and every record.
    fn generations(&self) -> Result<(ControlWord, Records), TableError>;
    /// Writes a whole policy into a bank that no packet reads.
    fn build_bank(&mut self, bank: u32, policy: &policy::Tables) -> Result<(), TableError>;
    /// Writes a record into a slot that no packet reads.
    fn write_generation(&mut self, slot: u32, record: Generation) -> Result<(), TableError>;
    /// Lets a generation decide, from the next packet on.
    fn publish(&mut self, word: ControlWord) -> Result<(), TableError>;
    /// Kernel ids of the tables in a bank.
    fn bank_maps(&self, bank: u32) -> Result<[u32; BANK_TABLES], TableError>;
    /// `CLOCK_BOOTTIME` in nanoseconds.
    fn boottime(&self) -> u64;
}

impl PolicyTables for Tables {
    fn generations(&self) -> Result<(ControlWord, Records), TableError> {
        Ok((self.control().active, Self::generations(self)?))
    }

    fn build_bank(&mut self, bank: u32, policy: &policy::Tables) -> Result<(), TableError> {
        Self::build_bank(self, bank, policy)
    }

    fn write_generation(&mut self, slot: u32, record: Generation) -> Result<(), TableError> {
        Self::write_generation(self, slot, record)
    }

    fn publish(&mut self, word: ControlWord) -> Result<(), TableError> {
        Self::publish(self, word);
        Ok(())
    }

    fn bank_maps(&self, bank: u32) -> Result<[u32; BANK_TABLES], TableError> {
        Self::bank_maps(self, bank)
    }

    fn boottime(&self) -> u64 {
        tables::boottime()
    }
}

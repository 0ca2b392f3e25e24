//! How much of the kernel's memory the tables hold.

use std::{fs, io, os::fd::AsRawFd, os::fd::OwnedFd};

use enforcer_common::limits::BANKS;
use serde::{Deserialize, Serialize};

use super::{
    bpf,
    pins::Pins,
    tables::{self, TableError},
};

/// Bytes of kernel memory by what they are for, as the kernel tells them of each table (`memlock` in
/// `/proc/PID/fdinfo`; kernels before 6.4 leave out what a table holds besides its entries).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Records of flows.
    pub flows: u64,
    /// Conversations that rules admitted, and fragments.
    pub conversations: u64,
    /// Every generation of the policy that is kept.
    pub policies: u64,
    /// Counters.
    pub counters: u64,
    /// Endpoints, addresses, events and the like.
    pub others: u64,
}

impl Memory {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.flows + self.conversations + self.policies + self.counters + self.others
    }

    /// What the pinned tables hold.
    pub fn of(pins: &Pins) -> Result<Self, TableError> {
        let mut memory = Self::default();
        for name in tables::NAMES {
            let bytes = bytes_of(pins, name).map_err(|source| TableError::Io {
                operation: "measure",
                name,
                source,
            })?;
            *memory.share(name) += bytes;
        }
        Ok(memory)
    }

    fn share(&mut self, table: &str) -> &mut u64 {
        match table {
            "FLOWS4" | "FLOWS6" | "DENIED_SETS" | "FLOWS" | "DENIED" => &mut self.flows,
            "STATE" | "FRAGMENTS" => &mut self.conversations,
            "GENERATIONS" => &mut self.policies,
            name if is_of_banks(name) => &mut self.policies,
            "REASONS" | "WOULD_DROPS" | "ENDPOINT_COUNTERS" | "NETWORK_COUNTERS" | "RULE_COUNTERS" => {
                &mut self.counters
            }
            _ => &mut self.others,
        }
    }
}

/// Tables that have one of their own for each bank.
fn is_of_banks(name: &str) -> bool {
    matches!(name, "PREFIXES" | "MEMBERSHIPS" | "LISTS" | "SET_MEMBERS" | "PAIRS" | "SERVICES")
}

/// What a table holds, those of its banks included.
fn bytes_of(pins: &Pins, name: &str) -> io::Result<u64> {
    let table = bpf::open_pin(&pins.map(name))?;
    let mut bytes = memlock(&table)?;
    for bank in (0..BANKS).filter(|_| is_of_banks(name)) {
        if let Some(id) = bpf::lookup::<u32, u32>(&table, &bank)? {
            // It may be gone by now.
            bytes += bpf::map_by_id(id).and_then(|inner| memlock(&inner)).unwrap_or(0);
        }
    }
    Ok(bytes)
}

fn memlock(table: &OwnedFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", table.as_raw_fd()))?;
    let told = text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    told.ok_or_else(|| io::Error::other("the kernel does not tell"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_share() {
        let mut memory = Memory::default();
        for name in tables::NAMES {
            *memory.share(name) += 1;
        }
        assert_eq!(
            memory,
            Memory { flows: 5, conversations: 2, policies: 7, counters: 5, others: 10 },
            "a table that is new belongs somewhere"
        );
        assert_eq!(memory.total(), tables::NAMES.len() as u64);
    }
}

//! How much of the kernel's memory the tables hold.

use std::{fs, io, os::fd::AsRawFd, os::fd::OwnedFd};

use enforcer_common::limits::BANKS;
use serde::{Deserialize, Serialize};

use super::{
    bank::BANKED,
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
    /// Every generation of the policy that is kept; `None` where whoever asks may not look into its tables, which takes
    /// `CAP_SYS_ADMIN`.
    pub policies: Option<u64>,
    /// Counters.
    pub counters: u64,
    /// Endpoints, addresses, events and the like.
    pub others: u64,
}

impl Memory {
    /// All that is known.
    pub fn total(&self) -> u64 {
        self.flows + self.conversations + self.policies.unwrap_or_default() + self.counters + self.others
    }

    /// What the pinned tables hold.
    pub fn of(pins: &Pins) -> Result<Self, TableError> {
        let mut memory = Self { policies: Some(0), ..Self::default() };
        for name in tables::NAMES {
            let failed = |source| TableError::Io { operation: "measure", name, source };
            let table = bpf::open_pin(&pins.map(name)).map_err(failed)?;
            let own = memlock(&table).map_err(failed)?;
            if let Some(share) = memory.share(name) {
                *share += own;
            } else {
                let banks = banks(name, &table).map_err(failed)?;
                memory.policies = memory.policies.zip(banks).map(|(before, banks)| before + own + banks);
            }
        }
        Ok(memory)
    }

    /// Where it is added up what a table holds; `None` for those of policies.
    fn share(&mut self, table: &str) -> Option<&mut u64> {
        Some(match table {
            "FLOWS4" | "FLOWS6" | "DENIED_SETS" | "FLOWS" | "DENIED" => &mut self.flows,
            "STATE" | "FRAGMENTS" => &mut self.conversations,
            "REASONS" | "WOULD_DROPS" | "ENDPOINT_COUNTERS" | "NETWORK_COUNTERS" | "RULE_COUNTERS" => {
                &mut self.counters
            }
            "GENERATIONS" => return None,
            name if BANKED.contains(&name) => return None,
            _ => &mut self.others,
        })
    }
}

/// What the tables of all banks hold that lie in a table; `None` without the privilege to look.
fn banks(name: &str, table: &OwnedFd) -> io::Result<Option<u64>> {
    if !BANKED.contains(&name) {
        return Ok(Some(0));
    }
    let mut bytes = 0;
    for bank in 0..BANKS {
        let Some(id) = bpf::lookup::<u32, u32>(table, &bank)? else { continue };
        match bpf::map_by_id(id).and_then(|inner| memlock(&inner)) {
            Ok(inner) => bytes += inner,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            // It is gone by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(bytes))
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
        let mut memory = Memory { policies: Some(0), ..Memory::default() };
        for name in tables::NAMES {
            match memory.share(name) {
                Some(share) => *share += 1,
                None => memory.policies = memory.policies.map(|tables| tables + 1),
            }
        }
        assert_eq!(
            memory,
            Memory { flows: 5, conversations: 2, policies: Some(7), counters: 5, others: 10 },
            "a table that is new belongs somewhere"
        );
        assert_eq!(memory.total(), tables::NAMES.len() as u64);
    }
}

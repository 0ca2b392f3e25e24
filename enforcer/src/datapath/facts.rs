//! Facts: who sits behind which veth and who owns which address. Written at once, whatever policy
//! decides; after each change the version moves, and with it dies what flows remember.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapError, PerCpuValues, lpm_trie::Key};
use enforcer_common::{
    address::Address,
    counter::EndpointCounters,
    endpoint::{AddressOwner, Endpoint, EndpointId, MaskedSender},
    host::HostEnd,
    mode::ModeRecord,
};

use super::tables::{TableError, Tables};
use crate::host_end;

impl Tables {
    /// Says who sits behind the veth `ifindex`.
    pub fn write_endpoint(&mut self, ifindex: u32, endpoint: &Endpoint) -> Result<(), TableError> {
        self.endpoints
            .insert(ifindex, endpoint, 0)
            .map_err(|source| TableError::Map { name: "ENDPOINTS", source })
    }

    /// Nobody known sits behind `ifindex` any more; not an error if nobody did.
    pub fn remove_endpoint(&mut self, ifindex: u32) -> Result<(), TableError> {
        gone("ENDPOINTS", self.endpoints.remove(&ifindex))
    }

    /// Says who owns the prefix of `bits` bits (in the 128-bit space) at `address`.
    pub fn write_address(
        &mut self,
        address: Address,
        bits: u8,
        owner: &AddressOwner,
    ) -> Result<(), TableError> {
        self.addresses
            .insert(&Key::new(u32::from(bits), address), owner, 0)
            .map_err(|source| TableError::Map { name: "ADDRESSES", source })
    }

    /// Nobody owns the prefix any more; not an error if nobody did.
    pub fn remove_address(&mut self, address: Address, bits: u8) -> Result<(), TableError> {
        gone("ADDRESSES", self.addresses.remove(&Key::new(u32::from(bits), address)))
    }

    /// Every endpoint, by interface.
    pub fn endpoints(&self) -> Result<Vec<(u32, Endpoint)>, TableError> {
        let mut records = self.interfaces()?;
        records.retain(|(_, record)| !is_uplink(record));
        Ok(records)
    }

    /// The interfaces that lead outside.
    pub fn uplinks(&self) -> Result<BTreeMap<u32, Endpoint>, TableError> {
        let uplinks = self.interfaces()?.into_iter().filter(|(_, record)| is_uplink(record));
        Ok(uplinks.collect())
    }

    fn interfaces(&self) -> Result<Vec<(u32, Endpoint)>, TableError> {
        let entries: Result<_, _> = self.endpoints.iter().collect();
        entries.map_err(|source| TableError::Map { name: "ENDPOINTS", source })
    }

    /// Every owned address: address, bits in the 128-bit space, owner.
    pub fn addresses(&self) -> Result<Vec<(Address, u8, AddressOwner)>, TableError> {
        let entries = self.addresses.iter().map(|entry| {
            let (key, owner) = entry?;
            Ok((key.data(), key.prefix_len() as u8, owner))
        });
        let entries: Result<_, MapError> = entries.collect();
        entries.map_err(|source| TableError::Map { name: "ADDRESSES", source })
    }

    /// An endpoint that is given a used id starts counting from zero, and under the mode of the host.
    pub fn reset_endpoint(&mut self, id: EndpointId) -> Result<(), TableError> {
        self.set_mode(id.0, ModeRecord::default())?;
        self.reset_endpoint_counters(id)
    }

    fn reset_endpoint_counters(&mut self, id: EndpointId) -> Result<(), TableError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| TableError::Io {
            operation: "count the CPUs for",
            name: "ENDPOINT_COUNTERS",
            source,
        })?;
        let zero = PerCpuValues::try_from(vec![EndpointCounters::default(); cpus])
            .map_err(|source| TableError::Io { operation: "reset", name: "ENDPOINT_COUNTERS", source })?;
        self.endpoint_counters
            .set(id.0, zero, 0)
            .map_err(|source| TableError::Map { name: "ENDPOINT_COUNTERS", source })
    }

    /// The mode of the host ([`ModeRecord::HOST`]) or of the endpoint with this id.
    pub fn mode(&self, slot: u32) -> Result<ModeRecord, TableError> {
        self.modes.get(&slot, 0).map_err(|source| TableError::Map { name: "MODES", source })
    }

    /// Changes it, from the next packet on.
    pub fn set_mode(&mut self, slot: u32, record: ModeRecord) -> Result<(), TableError> {
        self.modes.set(slot, record, 0).map_err(|source| TableError::Map { name: "MODES", source })
    }

    /// The host as an end.
    pub fn host_end(&self) -> Result<HostEnd, TableError> {
        self.host.get(&0, 0).map_err(|source| TableError::Map { name: "HOST", source })
    }

    /// Changes it; what flows remember dies with the facts.
    pub fn set_host_end(&mut self, end: &HostEnd) -> Result<(), TableError> {
        self.host.set(0, end, 0).map_err(|source| TableError::Map { name: "HOST", source })
    }

    /// A table that was just made says what holds where no host file says anything.
    pub(super) fn introduce_host(&mut self) -> Result<(), TableError> {
        // No list of services is all zeroes: what is unused ends before it begins.
        if self.host_end()? == bytemuck::Zeroable::zeroed() {
            self.set_host_end(&host_end::builtin())?;
        }
        Ok(())
    }

    /// Whom stamps stand for where NAT hides the source.
    pub fn senders(&self) -> Result<BTreeMap<u32, MaskedSender>, TableError> {
        let entries: Result<_, _> = self.senders.iter().collect();
        entries.map_err(|source| TableError::Map { name: "SENDERS", source })
    }

    /// Says whom a stamp stands for.
    pub fn write_sender(&mut self, stamp: u32, sender: &MaskedSender) -> Result<(), TableError> {
        self.senders.insert(stamp, sender, 0).map_err(|source| TableError::Map { name: "SENDERS", source })
    }

    /// It stands for nobody any more; not an error if it did not.
    pub fn remove_sender(&mut self, stamp: u32) -> Result<(), TableError> {
        gone("SENDERS", self.senders.remove(&stamp))
    }

    /// Ends the validity of everything that was decided under the facts so far.
    pub fn facts_changed(&self) {
        // SAFETY: the mapping is live, writable and aligned.
        let facts = unsafe { AtomicU64::from_ptr(&raw mut (*self.control.as_ptr()).facts) };
        facts.fetch_add(1, Ordering::Release);
    }
}

/// Nobody local: a record for what judges at uplinks.
const fn is_uplink(record: &Endpoint) -> bool {
    record.flags & Endpoint::UPLINK != 0
}

fn gone(name: &'static str, outcome: Result<(), MapError>) -> Result<(), TableError> {
    match outcome {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome.map_err(|source| TableError::Map { name, source }),
    }
}

//! The kernel as the daemon's core sees it, over a [`Machine`].

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use enforcer_common::{
    control::{ControlWord, Generation},
    limits::BANK_TABLES,
    mode::ModeRecord,
};

use super::{
    faults::Faults,
    flows, invariants,
    machine::{ADDRESSES, ENDPOINTS, Link, Machine},
    pool::Passes,
};
use crate::{
    conntrack::{Conversation, Entry},
    daemon::{
        event::Facts,
        generations::Records,
        kernel::{Kernel, OpError},
        modes::{self, ModeTable},
        op::Op,
        policies::PolicyTables,
    },
    datapath::{attach::AttachError, tables::TableError},
    policy,
};

/// See the module; clones are the same kernel.
#[derive(Clone)]
pub struct FakeKernel {
    /// What it holds.
    pub machine: Rc<RefCell<Machine>>,
    /// What goes wrong.
    pub faults: Rc<Faults>,
}

impl FakeKernel {
    fn change(&self, change: impl FnOnce(&mut Machine) -> io::Result<()>) -> io::Result<()> {
        self.faults.change(|| self.checked(change))
    }

    fn checked(&self, change: impl FnOnce(&mut Machine) -> io::Result<()>) -> io::Result<()> {
        let mut machine = self.machine.borrow_mut();
        let outcome = change(&mut machine);
        let violation = invariants::always(&machine).or_else(|| flows::send(&mut machine));
        machine.violation = machine.violation.take().or(violation);
        outcome
    }
}

impl PolicyTables for FakeKernel {
    fn generations(&self) -> Result<(ControlWord, Records), TableError> {
        self.faults.read().map_err(table)?;
        let machine = self.machine.borrow();
        Ok((machine.word, machine.records))
    }

    fn build_bank(&mut self, bank: u32, policy: &policy::Tables) -> Result<(), TableError> {
        let passes = Passes::of(policy);
        let build = |machine: &mut Machine| {
            if machine.in_use().any(|word| machine.record(word).bank == bank) {
                machine.violation.get_or_insert(format!("bank {bank} is written while packets read it"));
            }
            machine.banks[bank as usize] = Some(passes);
            machine.since[bank as usize].clone_from(&policy.since);
            // Ids are never used again.
            let newest = machine.bank_maps.iter().map(|maps| maps[0]).max().unwrap_or(0);
            machine.bank_maps[bank as usize] = [newest + 1; BANK_TABLES];
            Ok(())
        };
        self.change(build).map_err(table)
    }

    fn write_generation(&mut self, slot: u32, record: Generation) -> Result<(), TableError> {
        let write = |machine: &mut Machine| {
            if machine.in_use().any(|word| word.slot() == slot) {
                machine.violation.get_or_insert(format!("slot {slot} is written while packets read it"));
            }
            machine.records[slot as usize] = record;
            Ok(())
        };
        self.change(write).map_err(table)
    }

    fn publish(&mut self, word: ControlWord) -> Result<(), TableError> {
        let publish = |machine: &mut Machine| {
            if word.confirmed() != machine.word.confirmed() {
                machine.before = machine.word;
                // Flows may remember what the same word meant some generations of members ago.
                machine.changed |= word.generation() == machine.word.generation();
            }
            machine.word = word;
            Ok(())
        };
        self.faults.store(|| self.checked(publish)).map_err(table)
    }

    fn bank_maps(&self, bank: u32) -> Result<[u32; BANK_TABLES], TableError> {
        self.faults.read().map_err(table)?;
        Ok(self.machine.borrow().bank_maps[bank as usize])
    }

    fn boottime(&self) -> u64 {
        self.machine.borrow().now
    }
}

impl ModeTable for FakeKernel {
    fn mode(&self, slot: u32) -> Result<ModeRecord, TableError> {
        self.faults.read().map_err(table)?;
        Ok(self.machine.borrow().modes.get(&slot).copied().unwrap_or_default())
    }

    fn set_mode(&mut self, slot: u32, record: ModeRecord) -> Result<(), TableError> {
        let write = |machine: &mut Machine| {
            machine.modes.insert(slot, record);
            Ok(())
        };
        self.change(write).map_err(table)
    }
}

impl Kernel for FakeKernel {
    type Policy = Self;

    fn policy(&mut self) -> &mut Self {
        self
    }

    fn perform(&mut self, op: &Op) -> Result<(), OpError> {
        match op {
            Op::Attach { ifindex, name } => self.attach(*ifindex, name, |machine| &mut machine.links),
            Op::Guard { ifindex, name, uplink } => {
                if let Some(record) = uplink {
                    let write = Op::WriteEndpoint { ifindex: *ifindex, endpoint: *record };
                    self.change(|machine| write_table(machine, &write)).map_err(table)?;
                }
                self.attach(*ifindex, name, |machine| &mut machine.guards)
            }
            Op::Unguard { ifindex, uplink } => {
                self.change(|machine| {
                    machine.guards.remove(ifindex);
                    Ok(())
                })
                .map_err(table)?;
                let remove = Op::RemoveEndpoint { ifindex: *ifindex };
                let outcome =
                    if *uplink { self.change(|machine| write_table(machine, &remove)) } else { Ok(()) };
                Ok(outcome.map_err(table)?)
            }
            Op::AttachUplink { ifindex, name, record } => {
                let write = Op::WriteEndpoint { ifindex: *ifindex, endpoint: *record };
                self.write(&write)?;
                self.attach(*ifindex, name, |machine| &mut machine.uplinks)
            }
            Op::DetachUplink { ifindex, record, .. } => {
                self.faults.store(|| self.checked(|machine| write_table(machine, op))).map_err(table)?;
                let remove = Op::RemoveEndpoint { ifindex: *ifindex };
                if *record { self.write(&remove) } else { Ok(()) }
            }
            Op::ConfigureMode { slot, mode } => Ok(modes::configure(self, *slot, *mode)?),
            // Removing a pin or an entry of a hash table is never refused.
            Op::Forget { .. } | Op::RemoveSender { .. } | Op::FactsChanged => {
                Ok(self.faults.store(|| self.checked(|machine| write_table(machine, op))).map_err(table)?)
            }
            _ => self.write(op),
        }
    }

    fn connections(&mut self) -> Vec<Entry> {
        Vec::new()
    }

    fn open_conversation(&mut self, _: &Conversation) -> Result<(), OpError> {
        Ok(())
    }

    fn facts(&mut self) -> Result<Facts, OpError> {
        self.faults.read().map_err(table)?;
        Ok(self.machine.borrow().facts())
    }
}

impl FakeKernel {
    fn write(&self, op: &Op) -> Result<(), OpError> {
        let write = |machine: &mut Machine| {
            write_table(machine, op)?;
            machine.changed |= op.ends_judgements();
            Ok(())
        };
        Ok(self.change(write).map_err(table)?)
    }

    fn attach(
        &self,
        ifindex: u32,
        name: &str,
        links: fn(&mut Machine) -> &mut BTreeMap<u32, Link>,
    ) -> Result<(), OpError> {
        let mut gone = false;
        let attach = |machine: &mut Machine| {
            let known = links(machine).get(&ifindex).copied();
            // A new link goes by the name, one that is there already by itself.
            let is_meant = known.is_some_and(|link| machine.is_alive(ifindex, &link))
                || machine.host.by_name(name) == Some(ifindex);
            match machine.host.birth(ifindex).filter(|_| is_meant) {
                Some(birth) => {
                    let link = Link { birth, daemon: machine.daemon };
                    links(machine).insert(ifindex, link);
                }
                None => gone = true,
            }
            Ok(())
        };
        self.change(attach).map_err(|error| refused(&error))?;
        if gone { Err(AttachError::Gone { name: name.to_owned(), ifindex }.into()) } else { Ok(()) }
    }
}

fn write_table(machine: &mut Machine, op: &Op) -> io::Result<()> {
    let full = || io::Error::from_raw_os_error(libc::ENOSPC);
    match op {
        Op::WriteEndpoint { ifindex, endpoint } => {
            if machine.endpoints.len() >= ENDPOINTS && !machine.endpoints.contains_key(ifindex) {
                return Err(full());
            }
            machine.endpoints.insert(*ifindex, *endpoint);
        }
        Op::RemoveEndpoint { ifindex } => drop(machine.endpoints.remove(ifindex)),
        Op::WriteAddress { network, owner } => {
            if machine.addresses.len() >= ADDRESSES && !machine.addresses.contains_key(network) {
                return Err(full());
            }
            machine.addresses.insert(*network, *owner);
        }
        Op::RemoveAddress(network) => drop(machine.addresses.remove(network)),
        Op::Forget { ifindex, .. } => drop(machine.links.remove(ifindex)),
        Op::FactsChanged => {
            machine.changed = false;
            machine.flows.forget();
        }
        Op::WriteHostEnd(end) => machine.host_end = **end,
        Op::WriteSender { stamp, sender } => drop(machine.senders.insert(*stamp, *sender)),
        Op::RemoveSender { stamp } => drop(machine.senders.remove(stamp)),
        Op::WriteShortcut { id, shortcut } => drop(machine.shortcuts.insert(*id, *shortcut)),
        Op::DetachUplink { ifindex, .. } => drop(machine.uplinks.remove(ifindex)),
        Op::ResetCounters(id) => drop(machine.modes.remove(&id.0)),
        Op::Attach { .. }
        | Op::AttachUplink { .. }
        | Op::Guard { .. }
        | Op::Unguard { .. }
        | Op::WriteOutside { .. }
        | Op::Lease(_)
        | Op::ConfigureMode { .. } => {}
    }
    Ok(())
}

fn table(source: io::Error) -> TableError {
    TableError::Io { operation: "change", name: "TABLE", source }
}

fn refused(error: &io::Error) -> AttachError {
    AttachError::Pin { operation: "pin", path: "link".into(), reason: error.to_string() }
}

//! The kernel, as the daemon's core sees it.

use std::{error::Error, sync::Arc};

use enforcer_common::control::{ControlWord, Generation};
use tracing::{debug, warn};

use super::{
    event::Facts,
    generations::Records,
    op::{Op, Owned},
};
use crate::{
    datapath::{
        attach::{self, AttachError, Hold, Interface, Mechanism},
        guard::{self, Mode},
        load::Datapath,
        pins::Pins,
        tables::{self, TableError, Tables},
    },
    policy,
    view::endpoint_name,
};

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// A table refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// An interface refused.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Carries out what the core decided, and tells what is there.
pub trait Kernel {
    /// Its tables of policies.
    type Policy: PolicyTables;
    /// Its tables of policies.
    fn policy(&mut self) -> &mut Self::Policy;
    /// Does one operation, wholly or not at all.
    fn perform(&mut self, op: &Op) -> Result<(), OpError>;
    /// The facts it holds.
    fn facts(&mut self) -> Result<Facts, OpError>;
}

/// The running kernel.
pub struct LiveKernel {
    /// Programs and tables.
    pub datapath: Datapath,
    /// Handles of the tables for whoever only reads.
    pub reader: Arc<Tables>,
    /// Where everything is pinned.
    pub pins: Pins,
    /// How programs get onto interfaces.
    pub mechanism: Mechanism,
}

impl Kernel for LiveKernel {
    type Policy = Tables;

    fn policy(&mut self) -> &mut Tables {
        &mut self.datapath.tables
    }

    fn facts(&mut self) -> Result<Facts, OpError> {
        let tables = &self.datapath.tables;
        let addresses = tables.addresses()?.into_iter();
        let mut facts = Facts {
            endpoints: tables.endpoints()?.into_iter().collect(),
            addresses: addresses.map(|(address, bits, owner)| (Owned { address, bits }, owner)).collect(),
            uplinks: tables.uplinks()?,
            ..Facts::default()
        };
        for (&ifindex, record) in &facts.endpoints {
            let name = endpoint_name(record);
            let hold = self.datapath.hold(Interface { name: &name, ifindex }, self.mechanism, &self.pins);
            if hold != Hold::None {
                facts.linked.insert(ifindex);
            }
            if hold == Hold::Ours {
                facts.attached.insert(ifindex);
            }
        }
        for (ifindex, program, pin) in self.pins.list_links().map_err(AttachError::from)? {
            if Mode::of_pin(&program).is_none() {
                facts.link_pins.insert(ifindex);
                if attach::link_ifindex(&pin).is_ok_and(|linked| linked != ifindex) {
                    facts.dead.insert(ifindex);
                }
            }
        }
        for (ifindex, mode) in self.pins.list_guards().map_err(AttachError::from)? {
            facts.guard_pins.insert(ifindex);
            if attach::link_ifindex(&self.pins.guard(ifindex, mode)).is_ok_and(|linked| linked == ifindex) {
                facts.guards.insert(ifindex);
            }
        }
        Ok(facts)
    }

    fn perform(&mut self, op: &Op) -> Result<(), OpError> {
        debug!(?op, "kernel operation");
        let tables = &mut self.datapath.tables;
        match op {
            Op::Attach { ifindex, name } => {
                let interface = Interface { name, ifindex: *ifindex };
                self.datapath.attach(interface, self.mechanism, &self.pins)?;
            }
            Op::Forget { ifindex, name } => attach::detach(Interface { name, ifindex: *ifindex }, &self.pins),
            Op::Guard { ifindex, name, uplink } => {
                if let Some(record) = uplink {
                    tables.write_endpoint(*ifindex, record)?;
                }
                self.datapath.attach_guard(Interface { name, ifindex: *ifindex }, &self.pins)?;
            }
            Op::Unguard { ifindex, uplink } => {
                guard::detach(&self.pins, *ifindex)?;
                if *uplink {
                    tables.remove_endpoint(*ifindex)?;
                }
            }
            Op::ResetCounters(id) => tables.reset_endpoint_counters(*id)?,
            Op::WriteEndpoint { ifindex, endpoint } => tables.write_endpoint(*ifindex, endpoint)?,
            Op::RemoveEndpoint { ifindex } => tables.remove_endpoint(*ifindex)?,
            Op::WriteAddress { network, owner } => {
                tables.write_address(network.address, network.bits, owner)?;
            }
            Op::RemoveAddress(network) => tables.remove_address(network.address, network.bits)?,
            Op::FactsChanged => tables.facts_changed(),
        }
        Ok(())
    }
}

/// What was not done.
#[derive(Debug, Default)]
pub struct Failures {
    /// Interfaces that were gone before they were attached to.
    pub gone: Vec<u32>,
    /// Interfaces that could not be attached to.
    pub unattached: Vec<u32>,
    /// Interfaces that could not be guarded, and why.
    pub unguarded: Vec<(u32, String)>,
    /// Writes that the kernel refused.
    pub refused: usize,
}

/// Carries out operations that stand for themselves; one that fails is told and the rest goes on.
pub fn perform_each(kernel: &mut impl Kernel, ops: &[Op]) -> Failures {
    let mut failures = Failures::default();
    for op in ops {
        match (kernel.perform(op), op) {
            (Ok(()), _) => {}
            (Err(OpError::Attach(AttachError::Gone { name, ifindex })), Op::Attach { .. }) => {
                debug!(name, ifindex, "interface went away before it was attached to");
                failures.gone.push(ifindex);
            }
            (Err(error), Op::Attach { ifindex, .. }) => {
                warn!(error = &error as &dyn Error, "an endpoint stays unprotected until this works");
                failures.unattached.push(*ifindex);
            }
            // The core tells it once.
            (Err(error), Op::Guard { ifindex, .. }) => {
                failures.unguarded.push((*ifindex, format!("{:#}", anyhow::Error::from(error))));
            }
            (Err(error), _) => {
                warn!(error = &error as &dyn Error, ?op, "kernel operation failed");
                failures.refused += 1;
            }
        }
    }
    failures
}

/// The kernel, as far as policies go.
pub trait PolicyTables {
    /// What is published, and every record.
    fn generations(&self) -> Result<(ControlWord, Records), TableError>;
    /// Writes a whole policy into a bank that no packet reads.
    fn build_bank(&mut self, bank: u32, policy: &policy::Tables) -> Result<(), TableError>;
    /// Writes a record into a slot that no packet reads.
    fn write_generation(&mut self, slot: u32, record: Generation) -> Result<(), TableError>;
    /// Lets a generation decide, from the next packet on.
    fn publish(&mut self, word: ControlWord) -> Result<(), TableError>;
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

    fn boottime(&self) -> u64 {
        tables::boottime()
    }
}

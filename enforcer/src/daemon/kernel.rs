//! The kernel, as the daemon's core sees it.

use std::error::Error;

use tracing::{debug, warn};

use super::op::Op;
use crate::datapath::{
    attach::{self, AttachError, Interface, Mechanism},
    guard,
    load::Datapath,
    pins::Pins,
    tables::TableError,
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

/// Carries out what the core decided.
pub trait Kernel {
    /// Does one operation, wholly or not at all.
    fn perform(&mut self, op: &Op) -> Result<(), OpError>;
}

/// The running kernel.
pub struct LiveKernel {
    /// Programs and tables.
    pub datapath: Datapath,
    /// Where everything is pinned.
    pub pins: Pins,
    /// How programs get onto interfaces.
    pub mechanism: Mechanism,
}

impl Kernel for LiveKernel {
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
            Op::BuildBank { bank, tables: policy } => tables.build_bank(*bank, policy)?,
            Op::Publish(generation) => tables.publish(*generation)?,
        }
        Ok(())
    }
}

/// What was not done.
#[derive(Debug, Default)]
pub struct Failures {
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
                failures.unattached.push(ifindex);
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

/// Carries out operations that only make sense together; the first failure ends it.
pub fn perform_all(kernel: &mut impl Kernel, ops: &[Op]) -> Result<(), OpError> {
    ops.iter().try_for_each(|op| kernel.perform(op))
}

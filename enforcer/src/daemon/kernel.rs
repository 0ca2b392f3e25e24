//! The kernel, as the daemon's core sees it.

use std::{collections::BTreeSet, error::Error, sync::Arc};

use enforcer_common::mode::ModeRecord;
use nix::net::if_::{self, if_nameindex};
use tracing::{debug, warn};

use super::{
    event::Facts,
    modes::{self, ModeTable},
    op::{Op, Owned},
    policies::PolicyTables,
};
use crate::conntrack::{self, Conversation, Entry};
use crate::datapath::{
    attach::{self, AttachError, FILTER_MINOR, Interface, Mechanism},
    filters,
    guard::{self, Mode},
    holds::Hold,
    load::{Datapath, FROM_UPLINK},
    pins::Pins,
    tables::{TableError, Tables},
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
    /// Its tables of policies and modes.
    type Policy: PolicyTables + ModeTable;
    /// Its tables of policies and modes.
    fn policy(&mut self) -> &mut Self::Policy;
    /// Does one operation, wholly or not at all.
    fn perform(&mut self, op: &Op) -> Result<(), OpError>;
    /// The facts it holds.
    fn facts(&mut self) -> Result<Facts, OpError>;
    /// What the host's connection tracking knows; nothing where there is none.
    fn connections(&mut self) -> Vec<Entry>;
    /// Makes a conversation known to the datapath as opened.
    fn open_conversation(&mut self, conversation: &Conversation) -> Result<(), OpError>;
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

/// Endpoints without links that filters of ours hold: an earlier daemon attached in the other way.
fn held_by_filters(facts: &Facts) -> Result<Vec<u32>, OpError> {
    let unlinked = facts.endpoints.keys().filter(|ifindex| !facts.linked.contains(ifindex));
    let unlinked: Vec<u32> = unlinked.copied().collect();
    if unlinked.is_empty() {
        return Ok(unlinked);
    }
    let filters = filters::with_minor(FILTER_MINOR, &unlinked).map_err(AttachError::Filters)?;
    let found = unlinked.into_iter().zip(filters);
    Ok(found.filter(|(_, pair)| pair.iter().any(Option::is_some)).map(|(ifindex, _)| ifindex).collect())
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
            host_end: tables.host_end()?,
            senders: tables.senders()?,
            ..Facts::default()
        };
        let slots = facts.endpoints.values().map(|endpoint| endpoint.id.0).chain([ModeRecord::HOST]);
        let modes = slots.map(|slot| Ok((slot, tables.mode(slot)?)));
        facts.modes = modes.collect::<Result<_, TableError>>()?;
        // Also those whose record is gone: their programs may still run.
        let present = if_nameindex().into_iter();
        let present = present.flat_map(|all| all.iter().map(if_::Interface::index).collect::<Vec<_>>());
        let interfaces: BTreeSet<u32> = facts.endpoints.keys().copied().chain(present).collect();
        let interfaces = Vec::from_iter(interfaces);
        let holds = self.datapath.holds(&interfaces, self.mechanism, &self.pins)?;
        for (&ifindex, hold) in interfaces.iter().zip(holds) {
            if hold != Hold::None {
                facts.linked.insert(ifindex);
            }
            if hold == Hold::Ours {
                facts.attached.insert(ifindex);
            }
        }
        facts.linked.extend(held_by_filters(&facts)?);
        let uplinks = self.datapath.holds_uplinks(&interfaces, self.mechanism, &self.pins)?;
        for (&ifindex, hold) in interfaces.iter().zip(uplinks) {
            if hold != Hold::None {
                facts.uplinks_linked.insert(ifindex);
            }
            if hold == Hold::Ours {
                facts.uplinks_attached.insert(ifindex);
            }
        }
        facts.uplinks_linked.extend(self.pins.list_uplinks().map_err(AttachError::from)?);
        for (ifindex, program, pin) in self.pins.list_links().map_err(AttachError::from)? {
            if Mode::of_pin(&program).is_none() && program != FROM_UPLINK {
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

    fn connections(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        match conntrack::dump(&mut entries) {
            Ok(()) => {}
            Err(error) if conntrack::is_missing(&error) => debug!(%error, "there is no connection tracking"),
            Err(error) => warn!(
                %error,
                told = entries.len(),
                "connection tracking does not tell of all that goes on: who answers the rest waits for the next question"
            ),
        }
        entries
    }

    fn open_conversation(&mut self, conversation: &Conversation) -> Result<(), OpError> {
        let Conversation { key, payer, flags } = conversation;
        Ok(self.datapath.open_conversation(key, *payer, *flags)?)
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
            Op::AttachUplink { ifindex, name, record } => {
                tables.write_endpoint(*ifindex, record)?;
                let interface = Interface { name, ifindex: *ifindex };
                self.datapath.attach_uplink(interface, self.mechanism, &self.pins)?;
            }
            Op::DetachUplink { ifindex, name, record } => {
                attach::detach_uplink(Interface { name, ifindex: *ifindex }, &self.pins);
                if *record {
                    tables.remove_endpoint(*ifindex)?;
                }
            }
            Op::ConfigureMode { slot, mode } => modes::configure(tables, *slot, *mode)?,
            Op::WriteHostEnd(end) => tables.set_host_end(end)?,
            Op::WriteSender { stamp, sender } => tables.write_sender(*stamp, sender)?,
            Op::RemoveSender { stamp } => tables.remove_sender(*stamp)?,
            Op::ResetCounters(id) => tables.reset_endpoint(*id)?,
            Op::WriteEndpoint { ifindex, endpoint } => tables.write_endpoint(*ifindex, endpoint)?,
            Op::RemoveEndpoint { ifindex } => tables.remove_endpoint(*ifindex)?,
            Op::WriteAddress { network, owner } => {
                tables.write_address(network.address, network.bits, owner)?;
            }
            Op::RemoveAddress(network) => tables.remove_address(network.address, network.bits)?,
            Op::WriteShortcut { id, shortcut } => self.datapath.shortcuts.write(*id, *shortcut)?,
            Op::WriteOutside { ifindex, kinds } => self.datapath.shortcuts.write_outside(*ifindex, *kinds)?,
            Op::Lease(kinds) => self.datapath.shortcuts.lease(*kinds)?,
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
    /// Uplinks that could not be attached to, and why.
    pub unattached_uplinks: Vec<(u32, String)>,
    /// Interfaces that could not be guarded, and why.
    pub unguarded: Vec<(u32, String)>,
    /// Writes that the kernel refused.
    pub refused: usize,
    /// Addresses of which the last of them was about: whose they are, the kernel sees otherwise.
    pub addresses: BTreeSet<Owned>,
}

/// Carries out operations that stand for themselves; one that fails is told and the rest goes on.
pub fn perform_each(kernel: &mut impl Kernel, ops: &[Op]) -> Failures {
    let mut failures = Failures::default();
    for op in ops {
        match (kernel.perform(op), op) {
            (Ok(()), _) => _ = op.owned().map(|address| failures.addresses.remove(&address)),
            (
                Err(OpError::Attach(AttachError::Gone { name, ifindex })),
                Op::Attach { .. } | Op::AttachUplink { .. },
            ) => {
                debug!(name, ifindex, "interface went away before it was attached to");
                failures.gone.push(ifindex);
            }
            (Err(error), Op::Attach { ifindex, .. }) => {
                warn!(error = &error as &dyn Error, "an endpoint stays unprotected until this works");
                failures.unattached.push(*ifindex);
            }
            // The core tells both once.
            (Err(error), Op::AttachUplink { ifindex, .. }) => {
                failures.unattached_uplinks.push((*ifindex, format!("{:#}", anyhow::Error::from(error))));
            }
            (Err(error), Op::Guard { ifindex, .. }) => {
                failures.unguarded.push((*ifindex, format!("{:#}", anyhow::Error::from(error))));
            }
            (Err(error), _) => {
                warn!(error = &error as &dyn Error, ?op, "kernel operation failed");
                failures.refused += 1;
                failures.addresses.extend(op.owned());
            }
        }
    }
    failures
}

//! Stands in for what the datapath is about to have.

use std::collections::BTreeMap;

use enforcer_common::{endpoint::MaskedSender, host::HostEnd};

use super::{
    attach::{AttachError, Interface, Mechanism},
    load::Datapath,
    pins::Pins,
    tables::{TableError, Tables},
};

impl Tables {
    /// The host as an end.
    pub fn host_end(&self) -> Result<HostEnd, TableError> {
        Ok(HostEnd::default())
    }

    /// Changes it.
    pub fn set_host_end(&mut self, _: &HostEnd) -> Result<(), TableError> {
        Ok(())
    }

    /// Whom stamps stand for.
    pub fn senders(&self) -> Result<BTreeMap<u32, MaskedSender>, TableError> {
        Ok(BTreeMap::new())
    }

    /// Says so.
    pub fn write_sender(&mut self, _: u32, _: &MaskedSender) -> Result<(), TableError> {
        Ok(())
    }

    /// Nobody any more.
    pub fn remove_sender(&mut self, _: u32) -> Result<(), TableError> {
        Ok(())
    }
}

impl Datapath {
    /// Puts the program on an uplink.
    pub fn attach_uplink(&mut self, _: Interface<'_>, _: Mechanism, _: &Pins) -> Result<(), AttachError> {
        Ok(())
    }
}

/// Takes it off.
pub fn detach_uplink(_: Interface<'_>, _: &Pins) {}

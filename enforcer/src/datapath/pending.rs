//! Stands in for the program of uplinks until it is there: nothing is attached, and nothing is missing.

use super::{
    attach::{AttachError, Interface, Mechanism},
    load::Datapath,
    pins::Pins,
};

impl Datapath {
    /// Puts the program on an uplink.
    pub const fn attach_uplink(
        &mut self,
        _: Interface<'_>,
        _: Mechanism,
        _: &Pins,
    ) -> Result<(), AttachError> {
        Ok(())
    }
}

/// Takes it off.
pub const fn detach_uplink(_: Interface<'_>, _: &Pins) {}

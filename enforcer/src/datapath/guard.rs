//! Brings the early guard to an interface: a pinned XDP link, in the driver where it can, else behind it.

use std::{fs, path::Path};

use aya::programs::{ProgramError, Xdp, XdpMode, xdp::XdpLink};
use serde::{Deserialize, Serialize};

use super::{
    attach::{AttachError, Interface, living_link, pin_link, refuse_without_ethernet, refused},
    bpf,
    load::{Datapath, GUARD},
    pins::Pins,
};

/// Where an XDP program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In the driver, before there is a socket buffer.
    Native,
    /// Behind the driver, on a socket buffer.
    Generic,
}

impl Mode {
    /// The better one first.
    pub const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// How the pin of a guard in this mode is called.
    pub(super) const fn pin_name(self) -> &'static str {
        match self {
            Self::Native => "xdp_guard-native",
            Self::Generic => "xdp_guard-generic",
        }
    }

    /// The mode of the guard with a pin of this name; `None` if it is no guard's.
    pub fn of_pin(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.pin_name() == name)
    }

    const fn of_attachment(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

impl Datapath {
    /// Puts the guard on the interface, replacing ours where it is already: atomically, with no packet
    /// unseen. Somebody else's XDP program stays.
    pub fn attach_guard(&mut self, interface: Interface<'_>, pins: &Pins) -> Result<(), AttachError> {
        refuse_without_ethernet(interface)?;
        let guard = self.guard()?;
        for mode in Mode::ALL {
            let link: Option<XdpLink> = living_link(&pins.guard(interface.ifindex, mode), interface.ifindex)?;
            if let Some(link) = link {
                let replaced = guard.attach_to_link(link).and_then(|id| guard.take_link(id));
                return replaced.map(drop).map_err(|source| refused(GUARD, interface, source));
            }
        }
        let mut attach = |mode| attach(guard, mode, interface, &pins.guard(interface.ifindex, mode));
        match attach(Mode::Native) {
            // A driver without XDP, or one that cannot run it as the interface is configured.
            Err(AttachError::Attach { .. }) => attach(Mode::Generic),
            outcome => outcome,
        }
    }
}

fn attach(guard: &mut Xdp, mode: Mode, interface: Interface<'_>, pin: &Path) -> Result<(), AttachError> {
    let link = guard
        .attach_to_if_index(interface.ifindex, mode.of_attachment())
        .and_then(|id| guard.take_link(id))
        .map_err(|error| match errno(&error) {
            // In this mode or in the other one.
            Some(libc::EBUSY | libc::EEXIST) => AttachError::Occupied { name: interface.name.to_owned() },
            _ => refused(GUARD, interface, error),
        })?;
    pin_link(link, interface, pin)
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Takes the guard off an interface; when this returns, it sees no more packets.
pub fn detach(pins: &Pins, ifindex: u32) -> Result<(), AttachError> {
    for mode in Mode::ALL {
        let pin = pins.guard(ifindex, mode);
        if pin.exists() {
            let detached =
                bpf::open_pin(&pin).and_then(bpf::detach_link).and_then(|()| fs::remove_file(&pin));
            detached.map_err(|error| AttachError::Pin {
                operation: "remove",
                path: pin,
                reason: error.to_string(),
            })?;
        }
    }
    Ok(())
}

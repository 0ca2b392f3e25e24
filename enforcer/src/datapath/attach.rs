//! Brings the programs to the host side of a veth: pinned tcx links where the kernel has them, filters on
//! a clsact qdisc elsewhere. Both outlive the process.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, LinkError, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};

use super::{
    bpf,
    load::{Datapath, FROM_ENDPOINT, FROM_UPLINK, LoadError, TO_ENDPOINT},
    pins::{PinError, Pins},
    probe,
};

/// Where our filters stand on a clsact qdisc: what finds them again after a restart.
const FILTER_PRIORITY: u16 = 1;
/// The minor number of their handle at a veth.
pub const FILTER_MINOR: u16 = 0xe4f0;
/// The same at an uplink: an interface may be both, one after the other.
pub const UPLINK_FILTER_MINOR: u16 = 0xe4f1;

/// A program and where it goes.
#[derive(Clone, Copy)]
pub(super) struct TcHook {
    pub(super) program: &'static str,
    pub(super) side: TcAttachType,
    pub(super) minor: u16,
}

/// The two programs of a veth.
pub(super) static AT_VETH: [TcHook; 2] = [
    TcHook { program: FROM_ENDPOINT, side: TcAttachType::Ingress, minor: FILTER_MINOR },
    TcHook { program: TO_ENDPOINT, side: TcAttachType::Egress, minor: FILTER_MINOR },
];

/// The program of an uplink.
pub(super) static AT_UPLINK: [TcHook; 1] =
    [TcHook { program: FROM_UPLINK, side: TcAttachType::Ingress, minor: UPLINK_FILTER_MINOR }];

/// How programs get onto an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Pinned tcx links, kernel 6.6 and later.
    Tcx,
    /// Filters on a clsact qdisc.
    Clsact,
}

impl Mechanism {
    /// The best that this kernel has.
    pub fn best() -> Self {
        if probe::tcx() { Self::Tcx } else { Self::Clsact }
    }
}

/// Why an interface cannot be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It is gone, or another interface has its name by now.
    #[error("interface {name} (index {ifindex}) is gone")]
    Gone {
        /// Its name.
        name: String,
        /// Its index.
        ifindex: u32,
    },
    /// The kernel refused the attachment.
    #[error("failed to attach {program} to {name}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        name: String,
        /// What aya said.
        source: ProgramError,
    },
    /// A program cannot be asked for its id.
    #[error("failed to look at program {program}")]
    Program {
        /// The program.
        program: &'static str,
        /// What aya said.
        source: ProgramError,
    },
    /// The filters cannot be listed.
    #[error("failed to list filters")]
    Filters(#[source] std::io::Error),
    /// Somebody else's XDP program is there, and an interface runs only one.
    #[error("another XDP program runs on {name} and is left alone")]
    Occupied {
        /// The interface.
        name: String,
    },
    /// Packets begin with their IP header there, and the programs read Ethernet frames.
    #[error("{name} has no Ethernet header")]
    NoEthernet {
        /// The interface.
        name: String,
    },
    /// What kinds of interfaces there are cannot be listed.
    #[error("failed to list interfaces")]
    Addresses(#[source] nix::Error),
    /// The program of the early guard cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The pins cannot be listed.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The qdisc could not be made.
    #[error("failed to add a clsact qdisc to {name}")]
    Qdisc {
        /// The interface.
        name: String,
        /// What aya said.
        source: TcError,
    },
    /// The link could not be pinned or opened.
    #[error("failed to {operation} link {path}: {reason}")]
    Pin {
        /// What was tried.
        operation: &'static str,
        /// The pin.
        path: PathBuf,
        /// What aya said.
        reason: String,
    },
}

/// One host-side interface.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name at this moment; what tc goes by.
    pub name: &'a str,
    /// Its index; what it *is*.
    pub ifindex: u32,
}

impl Datapath {
    /// Puts both programs on the interface, replacing ours where they are already: atomically, hook by
    /// hook, with no packet unseen.
    pub fn attach(
        &mut self,
        interface: Interface<'_>,
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<(), AttachError> {
        self.attach_all(&AT_VETH, interface, mechanism, pins)
    }

    /// The same for the program of an uplink, which may be anything: a tunnel that carries bare IP is refused, since
    /// its packets would be misread.
    pub fn attach_uplink(
        &mut self,
        interface: Interface<'_>,
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<(), AttachError> {
        refuse_without_ethernet(interface)?;
        self.attach_all(&AT_UPLINK, interface, mechanism, pins)
    }

    fn attach_all(
        &mut self,
        hooks: &[TcHook],
        interface: Interface<'_>,
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<(), AttachError> {
        for hook in hooks {
            let classifier = self.classifier(hook.program)?;
            match mechanism {
                Mechanism::Tcx => attach_tcx(classifier, *hook, interface, pins)?,
                Mechanism::Clsact => attach_clsact(classifier, *hook, interface, pins)?,
            }
        }
        // What an earlier daemon attached in the other way would count every packet twice.
        match mechanism {
            Mechanism::Tcx => take_filters_off(hooks, interface.name),
            Mechanism::Clsact => take_links_off(hooks, pins, interface.ifindex),
        }
        Ok(())
    }
}

pub(super) fn refused(program: &'static str, interface: Interface<'_>, source: ProgramError) -> AttachError {
    if current_index(interface.name) == Some(interface.ifindex) {
        AttachError::Attach { program, name: interface.name.to_owned(), source }
    } else {
        gone(interface)
    }
}

fn gone(interface: Interface<'_>) -> AttachError {
    AttachError::Gone { name: interface.name.to_owned(), ifindex: interface.ifindex }
}

/// An interface that is gone is not refused: attaching to it tells so.
pub(super) fn refuse_without_ethernet(interface: Interface<'_>) -> Result<(), AttachError> {
    let has_ethernet = |address: SockaddrStorage| {
        address.as_link_addr().is_some_and(|link| {
            link.ifindex() == interface.ifindex as usize && link.hatype() == libc::ARPHRD_ETHER
        })
    };
    let mut addresses = getifaddrs().map_err(AttachError::Addresses)?;
    if addresses.any(|entry| entry.address.is_some_and(has_ethernet))
        || current_index(interface.name) != Some(interface.ifindex)
    {
        Ok(())
    } else {
        Err(AttachError::NoEthernet { name: interface.name.to_owned() })
    }
}

fn current_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn current_name(ifindex: u32) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex).ok()?.into_string().ok()
}

fn attach_tcx(
    classifier: &mut SchedClassifier,
    TcHook { program, side, .. }: TcHook,
    interface: Interface<'_>,
    pins: &Pins,
) -> Result<(), AttachError> {
    let pin = &pins.link(interface.ifindex, program);
    if let Some(link) = living_link(pin, interface.ifindex)? {
        let replaced = classifier.attach_to_link(link).and_then(|id| classifier.take_link(id));
        return replaced.map(drop).map_err(|source| refused(program, interface, source));
    }
    // First, so that no program of somebody else can accept a packet past us.
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = classifier
        .attach_with_options(interface.name, side, options)
        .and_then(|id| classifier.take_link(id))
        .map_err(|source| refused(program, interface, source))?;
    pin_link(link, interface, pin)
}

/// Lets a new link outlive the process.
pub(super) fn pin_link(
    link: impl TryInto<FdLink, Error = LinkError>,
    interface: Interface<'_>,
    pin: &Path,
) -> Result<(), AttachError> {
    let failed = |reason: String| AttachError::Pin { operation: "pin", path: pin.to_owned(), reason };
    let link = link.try_into().map_err(|error| failed(error.to_string()))?;
    // Names move: make sure that this is still the interface that was meant. With its cause: the error's own text
    // only names the call.
    let pinned = link.pin(pin).map_err(|error| failed(format!("{:#}", anyhow::Error::from(error))))?;
    match link_ifindex(pin) {
        Ok(ifindex) if ifindex == interface.ifindex => Ok(()),
        _ => {
            drop(pinned.unpin());
            Err(gone(interface))
        }
    }
}

/// The pinned link if it still holds on to the interface; a dead one is removed.
pub(super) fn living_link<L: TryFrom<FdLink, Error = LinkError>>(
    pin: &Path,
    ifindex: u32,
) -> Result<Option<L>, AttachError> {
    if !pin.exists() {
        return Ok(None);
    }
    let failed = |error: String| AttachError::Pin { operation: "open", path: pin.to_owned(), reason: error };
    if link_ifindex(pin).map_err(|error| failed(error.to_string()))? != ifindex {
        fs::remove_file(pin).map_err(|error| failed(error.to_string()))?;
        return Ok(None);
    }
    let link = PinnedLink::from_pin(pin).map_err(|error| failed(error.to_string()))?;
    FdLink::from(link).try_into().map(Some).map_err(|error: LinkError| failed(error.to_string()))
}

/// The interface that a pinned link is attached to; 0 when that is gone.
pub fn link_ifindex(pin: &Path) -> std::io::Result<u32> {
    Ok(bpf::link_target(bpf::open_pin(pin)?.as_fd())?.ifindex)
}

fn attach_clsact(
    classifier: &mut SchedClassifier,
    hook: TcHook,
    interface: Interface<'_>,
    pins: &Pins,
) -> Result<(), AttachError> {
    match qdisc_add_clsact(interface.name) {
        Ok(()) => pins.mark_qdisc(interface.ifindex),
        Err(error) if is_errno(&error, libc::EEXIST) => {}
        Err(source) => return Err(AttachError::Qdisc { name: interface.name.to_owned(), source }),
    }
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: FILTER_PRIORITY,
        handle: TcHandle::new(0, hook.minor),
        ..NlOptions::default()
    });
    let (attached, is_new) = match classifier.attach_with_options(interface.name, hook.side, options) {
        // Ours from before: the same place, replaced in one message.
        Err(ProgramError::TcError(error)) if is_errno(&error, libc::EEXIST) => {
            let replaced = our_filter(interface.name, hook);
            (replaced.and_then(|filter| classifier.attach_to_link(filter)), false)
        }
        outcome => (outcome, true),
    };
    let link = attached.and_then(|id| classifier.take_link(id));
    let link = link.map_err(|source| refused(hook.program, interface, source))?;
    // Names move: make sure that this is still the interface that was meant. What was there before is left to whoever
    // had it there.
    let is_meant = current_index(interface.name) == Some(interface.ifindex);
    if is_meant || !is_new {
        // A netlink attachment lives until it is deleted; dropping the handle would delete it.
        std::mem::forget(link);
    }
    if is_meant { Ok(()) } else { Err(gone(interface)) }
}

fn our_filter(name: &str, hook: TcHook) -> Result<SchedClassifierLink, ProgramError> {
    SchedClassifierLink::attached(name, hook.side, FILTER_PRIORITY, TcHandle::new(0, hook.minor), None)
        .map_err(ProgramError::from)
}

fn is_errno(error: &TcError, errno: i32) -> bool {
    matches!(error, TcError::NetlinkError(error) if error.raw_os_error() == Some(errno))
}

/// Takes our programs off a veth, however they got there, and forgets it.
pub fn detach(interface: Interface<'_>, pins: &Pins) {
    detach_all(&AT_VETH, interface, pins);
}

/// The same for the program of an uplink.
pub fn detach_uplink(interface: Interface<'_>, pins: &Pins) {
    detach_all(&AT_UPLINK, interface, pins);
}

fn detach_all(hooks: &[TcHook], interface: Interface<'_>, pins: &Pins) {
    take_links_off(hooks, pins, interface.ifindex);
    // The name may be another interface's by now, and this one may have another: that may be why it is let go.
    if let Some(name) = current_name(interface.ifindex) {
        take_filters_off(hooks, &name);
    }
    pins.unmark_qdisc(interface.ifindex);
}

fn take_links_off(hooks: &[TcHook], pins: &Pins, ifindex: u32) {
    for hook in hooks {
        // The pin is the last reference: without it the kernel detaches. A missing one is what we want.
        drop(fs::remove_file(pins.link(ifindex, hook.program)));
    }
}

fn take_filters_off(hooks: &[TcHook], name: &str) {
    for hook in hooks {
        // Dropping the handle deletes the filter; a missing one is what we want.
        drop(our_filter(name, *hook));
    }
}

/// Takes all our filters off an interface's clsact qdisc; the qdisc stays.
pub fn detach_clsact(name: &str) {
    take_filters_off(&AT_VETH, name);
    take_filters_off(&AT_UPLINK, name);
}

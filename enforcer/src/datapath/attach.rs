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

pub use super::pending::detach_uplink;
use super::{
    bpf, filters,
    load::{Datapath, LoadError},
    pins::{PinError, Pins},
    probe,
};

/// Where our filters stand on a clsact qdisc: what finds them again after a restart.
const FILTER_PRIORITY: u16 = 1;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, FILTER_MINOR);
/// The minor number of their handle.
pub const FILTER_MINOR: u16 = 0xe4f0;

/// The two programs and the tc hook of each.
const HOOKS: [(&str, TcAttachType); 2] =
    [("from_endpoint", TcAttachType::Ingress), ("to_endpoint", TcAttachType::Egress)];

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

/// Whose programs hold an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// None of ours, or links not at both hooks.
    None,
    /// Those of an earlier daemon.
    Earlier,
    /// The programs of this process.
    Ours,
}

impl Datapath {
    /// Whose programs hold each of the interfaces.
    pub fn holds(
        &mut self,
        interfaces: &[u32],
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<Vec<Hold>, AttachError> {
        let mut ours = [0; HOOKS.len()];
        for (id, (program, _)) in ours.iter_mut().zip(HOOKS) {
            let info = self.program(program).and_then(|program| program.info());
            *id = info.map_err(|source| AttachError::Program { program, source })?.id();
        }
        let links = interfaces.iter().map(|ifindex| hold_by_links(*ifindex, ours, pins));
        if mechanism == Mechanism::Tcx {
            return Ok(links.collect());
        }
        let filters = filters::with_minor(FILTER_MINOR, interfaces).map_err(AttachError::Filters)?;
        let holds = filters.into_iter().zip(links).map(|(filters, links)| match filters {
            [Some(from), Some(to)] if [from.program_id, to.program_id] == ours => Hold::Ours,
            [None, None] if links == Hold::None => Hold::None,
            // Half of them, another version's, or links of a daemon that attached in the other way.
            _ => Hold::Earlier,
        });
        Ok(holds.collect())
    }

    /// Puts both programs on the interface, replacing ours where they are already: atomically, hook by
    /// hook, with no packet unseen.
    pub fn attach(
        &mut self,
        interface: Interface<'_>,
        mechanism: Mechanism,
        pins: &Pins,
    ) -> Result<(), AttachError> {
        for (program, hook) in HOOKS {
            let classifier = self.program(program).map_err(|source| refused(program, interface, source))?;
            match mechanism {
                Mechanism::Tcx => {
                    attach_tcx(classifier, program, hook, interface, &pins.link(interface.ifindex, program))?;
                }
                Mechanism::Clsact => attach_clsact(classifier, program, hook, interface, pins)?,
            }
        }
        // What an earlier daemon attached in the other way would count every packet twice.
        match mechanism {
            Mechanism::Tcx => detach_clsact(interface.name),
            Mechanism::Clsact => detach_tcx(pins, interface.ifindex),
        }
        Ok(())
    }
}

fn hold_by_links(ifindex: u32, ours: [u32; HOOKS.len()], pins: &Pins) -> Hold {
    let mut hold = Hold::Ours;
    for ((program, _), ours) in HOOKS.into_iter().zip(ours) {
        match bpf::open_pin(&pins.link(ifindex, program)).and_then(bpf::link_target) {
            Ok(target) if target.ifindex != ifindex => return Hold::None,
            Ok(target) if target.program_id == ours => {}
            Ok(_) => hold = Hold::Earlier,
            Err(_) => return Hold::None,
        }
    }
    hold
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

fn current_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn attach_tcx(
    classifier: &mut SchedClassifier,
    program: &'static str,
    hook: TcAttachType,
    interface: Interface<'_>,
    pin: &Path,
) -> Result<(), AttachError> {
    if let Some(link) = living_link(pin, interface.ifindex)? {
        let replaced = classifier.attach_to_link(link).and_then(|id| classifier.take_link(id));
        return replaced.map(drop).map_err(|source| refused(program, interface, source));
    }
    // First, so that no program of somebody else can accept a packet past us.
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = classifier
        .attach_with_options(interface.name, hook, options)
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
    program: &'static str,
    hook: TcAttachType,
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
        handle: FILTER_HANDLE,
        ..NlOptions::default()
    });
    let attached = match classifier.attach_with_options(interface.name, hook, options) {
        // Ours from before: the same place, replaced in one message.
        Err(ProgramError::TcError(error)) if is_errno(&error, libc::EEXIST) => {
            our_filter(interface.name, hook).and_then(|filter| classifier.attach_to_link(filter))
        }
        outcome => outcome,
    };
    let link = attached.and_then(|id| classifier.take_link(id));
    // A netlink attachment lives until it is deleted; dropping the handle would delete it.
    link.map(std::mem::forget).map_err(|source| refused(program, interface, source))
}

fn our_filter(name: &str, hook: TcAttachType) -> Result<SchedClassifierLink, ProgramError> {
    SchedClassifierLink::attached(name, hook, FILTER_PRIORITY, FILTER_HANDLE, None)
        .map_err(ProgramError::from)
}

fn is_errno(error: &TcError, errno: i32) -> bool {
    matches!(error, TcError::NetlinkError(error) if error.raw_os_error() == Some(errno))
}

/// Takes our programs off an interface, however they got there, and forgets it.
pub fn detach(interface: Interface<'_>, pins: &Pins) {
    detach_tcx(pins, interface.ifindex);
    // The name may be another interface's by now.
    if current_index(interface.name) == Some(interface.ifindex) {
        detach_clsact(interface.name);
    }
    pins.unmark_qdisc(interface.ifindex);
}

/// Takes our programs off an interface, by the pins of its links.
pub fn detach_tcx(pins: &Pins, ifindex: u32) {
    for (program, _) in HOOKS {
        // The pin is the last reference: without it the kernel detaches. A missing one is what we want.
        drop(fs::remove_file(pins.link(ifindex, program)));
    }
}

/// Takes our filters off an interface's clsact qdisc; the qdisc stays.
pub fn detach_clsact(name: &str) {
    for (_, hook) in HOOKS {
        // Dropping the handle deletes the filter; a missing one is what we want.
        drop(our_filter(name, hook));
    }
}

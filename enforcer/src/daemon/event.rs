//! What the daemon's core is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use enforcer_common::{
    endpoint::{AddressOwner, Endpoint, MaskedSender},
    host::HostEnd,
    mode::ModeRecord,
};
use ipnet::IpNet;

use super::{containers::Running, op::Owned};
use crate::{
    config::Config,
    shortcut::{Barrier, Surroundings},
};

/// What the daemon learns.
#[derive(Clone, Debug)]
pub enum Event {
    /// A wanted interface appeared; nothing more is known of it.
    Appeared {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// A wanted interface went. Its index may be another's before the next look.
    Vanished {
        /// Its index.
        ifindex: u32,
    },
    /// A complete look at the host.
    Observed(Observation),
    /// A look at a few workloads that wait for addresses, ahead of the next complete one.
    Glimpsed(Observation),
    /// The host file was read again. What follows from it follows with the next look.
    Configured(Arc<Config>),
    /// What containers run.
    Containers(Running),
    /// Somebody says that what an endpoint once had counts no more: what it has is learned anew.
    Relearn {
        /// Its interface.
        ifindex: u32,
    },
    /// The host could not be looked at: what stands in the way there is not known any more.
    Blinded,
    /// What stands in the way of shortcuts.
    LookedAround(Surroundings),
    /// What the kernel holds, compared with what it was told.
    Inspected(Box<Facts>),
    /// Attaching to an interface did not work; it is tried again with the next look.
    AttachFailed {
        /// Its index.
        ifindex: u32,
    },
    /// Attaching the uplink's program did not work; it is tried again with the next look.
    UplinkFailed {
        /// Its index.
        ifindex: u32,
        /// Why, for people.
        reason: String,
    },
    /// Guarding an interface did not work; it is tried again with the next look.
    GuardFailed {
        /// Its index.
        ifindex: u32,
        /// Why, for people.
        reason: String,
    },
}

/// The facts that the kernel holds: those of an earlier daemon, or our own as somebody else left them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Records of endpoints, by interface.
    pub endpoints: BTreeMap<u32, Endpoint>,
    /// Interfaces at which both programs run: ours, and this version's.
    pub attached: BTreeSet<u32>,
    /// Interfaces that programs of ours hang on to, whichever version's.
    pub linked: BTreeSet<u32>,
    /// Indices whose links were made for an interface that is gone; another may have the index.
    pub dead: BTreeSet<u32>,
    /// Interfaces for which links are pinned, whether anything hangs on them or not.
    pub link_pins: BTreeSet<u32>,
    /// Owned prefixes.
    pub addresses: BTreeMap<Owned, AddressOwner>,
    /// Records of uplinks, by interface.
    pub uplinks: BTreeMap<u32, Endpoint>,
    /// Uplinks at which the program runs: ours, and this version's.
    pub uplinks_attached: BTreeSet<u32>,
    /// Interfaces that the uplink's program hangs on, or is pinned for, whether it still runs or not.
    pub uplinks_linked: BTreeSet<u32>,
    /// Interfaces at which the early guard runs.
    pub guards: BTreeSet<u32>,
    /// Interfaces of which a guard is pinned, whether it still runs or not.
    pub guard_pins: BTreeSet<u32>,
    /// The modes of the host and of all endpoints that have a record, by slot.
    pub modes: BTreeMap<u32, ModeRecord>,
    /// The host as an end.
    pub host_end: HostEnd,
    /// Whom stamps stand for behind NAT.
    pub senders: BTreeMap<u32, MaskedSender>,
}

/// What the host looks like at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observation {
    /// What the host answers to: its addresses, subnet broadcasts and anycasts.
    pub host: BTreeSet<IpNet>,
    /// Every wanted veth, by index.
    pub veths: BTreeMap<u32, Veth>,
    /// Names of the interfaces that lead outside, or are to be guarded and are no wanted veth, by index.
    pub uplinks: BTreeMap<u32, String>,
    /// What stands in the way of all shortcuts.
    pub barriers: Vec<Barrier>,
    /// What stands at interfaces that lead outside, in the way of shortcuts to and from there.
    pub outside: BTreeMap<u32, Vec<Barrier>>,
    /// Interfaces that came or went while it was taken: it says nothing of them.
    pub unsure: BTreeSet<u32>,
    /// Interfaces whose workloads were given something since it began: it takes nothing back from them.
    pub overtaken: BTreeSet<u32>,
}

impl Observation {
    /// What was seen of an interface may be of another that had its index, or not of this one yet.
    pub fn doubt(&mut self, ifindex: u32) {
        self.veths.remove(&ifindex);
        self.uplinks.remove(&ifindex);
        self.outside.remove(&ifindex);
        self.unsure.insert(ifindex);
    }
}

/// One host-side veth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Veth {
    /// Its name.
    pub name: String,
    /// Its alias.
    pub alias: Option<String>,
    /// Names of the namespace at the other end, where the host file goes by them.
    pub netns: BTreeSet<String>,
    /// Id of the namespace at the other end.
    pub nsid: Option<i32>,
    /// MAC of the interface at the other end.
    pub mac: Option<[u8; 6]>,
    /// Host routes (/32, /128) to this very veth.
    pub routed: BTreeSet<IpAddr>,
    /// Subnets on the veth, or on the bridge it is a port of: they bound what may be learned.
    pub subnets: Vec<IpNet>,
    /// Addresses on the interface at the other end.
    pub inside: BTreeSet<IpAddr>,
    /// How frames get to it.
    pub wire: Wire,
}

/// What a shortcut to a workload has to know of its veth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wire {
    /// Bytes of the largest packet that it takes.
    pub mtu: u32,
    /// The bridge that it is a port of; 0 for none.
    pub bridge: u32,
    /// MAC under which the workload knows the host: of the bridge, or of the veth itself.
    pub gateway: Option<[u8; 6]>,
    /// MAC of the interface at the other end, at this moment.
    pub mac: Option<[u8; 6]>,
    /// What stands in the way here.
    pub barriers: Vec<Barrier>,
}

//! What the daemon's core is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{config::Config, policy};

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
    /// The host file was read again. What follows from it follows with the next look.
    Configured(Arc<Config>),
    /// A policy was accepted.
    Apply(NewPolicy),
    /// Attaching to an interface did not work; it is tried again with the next look.
    AttachFailed {
        /// Its index.
        ifindex: u32,
    },
    /// Guarding an interface did not work; it is tried again with the next look.
    GuardFailed {
        /// Its index.
        ifindex: u32,
        /// Why, for people.
        reason: String,
    },
}

/// A compiled policy on its way to the kernel.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    /// Its tables.
    pub tables: Arc<policy::Tables>,
    /// SHA-256 of the canonical policy.
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch.
    pub applied_at: u64,
}

/// What the host looks like at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observation {
    /// What the host answers to: its addresses, subnet broadcasts and anycasts.
    pub host: BTreeSet<IpNet>,
    /// Every wanted veth, by index.
    pub veths: BTreeMap<u32, Veth>,
    /// Names of the interfaces that are to be guarded and are no wanted veth, by index.
    pub uplinks: BTreeMap<u32, String>,
}

/// One host-side veth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Veth {
    /// Its name.
    pub name: String,
    /// MAC of the interface at the other end.
    pub mac: Option<[u8; 6]>,
    /// Host routes (/32, /128) to this very veth.
    pub routed: BTreeSet<IpAddr>,
    /// Subnets on the veth, or on the bridge it is a port of: they bound what may be learned.
    pub subnets: Vec<IpNet>,
    /// Addresses on the interface at the other end.
    pub inside: BTreeSet<IpAddr>,
}

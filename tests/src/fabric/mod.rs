//! Two hosts and what carries packets between them: the same workloads and the same policy on every underlay.
//!
//! ```text
//!   web db hub probe                     api store shop watch
//!        │ veth-*                              │ veth-*
//!     host one ── eth0 ── the middle ── eth0 ── host two
//!                              │
//!                          a stranger
//! ```
//!
//! The middle is a router or a switch, as the underlay wants it. Each host has a daemon of its own; they know
//! nothing of each other.

mod places;
mod site;
mod tunnels;
mod underlay;
mod wires;

use std::thread;

use crate::daemon::Daemon;
use crate::host::Host;
use crate::netns::NetNs;
use crate::workload::Workload;

pub use places::{PLACES, POLICY, Place, may_open};
pub use site::Site;
pub use underlay::Underlay;

/// Two hosts with their workloads, joined by an underlay. No enforcer yet.
#[derive(Debug)]
pub struct Fabric {
    /// What carries the packets.
    pub underlay: Underlay,
    /// All workloads, those of the first host first.
    pub workloads: Vec<Workload>,
    /// Somebody on the underlay who is neither a host nor a workload of one.
    pub stranger: NetNs,
    /// The router or switch between the hosts.
    pub middle: NetNs,
    /// The hosts.
    pub hosts: [Host; 2],
}

impl Fabric {
    /// Builds the hosts and their workloads, and joins them.
    #[track_caller]
    pub fn build(underlay: Underlay, name: &str) -> Self {
        let hosts = Site::HOSTS.map(|site| {
            Host::numbered(&format!("{name}-{}", site.name), site.number, &site.own_addresses(underlay))
        });
        let middle = NetNs::create(&format!("{name}-middle"));
        let stranger = NetNs::create(&format!("{name}-stranger"));
        let placed = PLACES
            .iter()
            .zip(&hosts)
            .flat_map(|(places, host)| places.iter().map(move |place| (place, host)));
        let workloads = placed.map(|(place, host)| place.build(host, underlay)).collect();
        underlay.lay(&hosts, &middle, &stranger);
        Self { underlay, workloads, stranger, middle, hosts }
    }

    /// Starts both enforcers and waits until they know their workloads. They have no policy. Their host files name
    /// the uplinks, beyond which is the rest of the fabric.
    #[track_caller]
    pub fn enforce(&self) -> [Daemon; 2] {
        self.enforce_by(&self.underlay.host_file("fabric"))
    }

    /// The same with another host file.
    #[track_caller]
    pub fn enforce_by(&self, config: &str) -> [Daemon; 2] {
        let start = |index: usize| {
            let daemon = Daemon::start_with(&self.hosts[index], config);
            let interfaces: Vec<_> = self.workloads_of(index).iter().map(Workload::interface).collect();
            daemon.wait_ready(&interfaces);
            daemon
        };
        thread::scope(|scope| {
            let starts = [0, 1].map(|index| scope.spawn(move || start(index)));
            starts.map(|started| started.join().expect("a daemon did not start"))
        })
    }

    /// The workloads of one host.
    pub fn workloads_of(&self, host: usize) -> &[Workload] {
        &self.workloads[self.places_of(host)]
    }

    /// The places of one host's workloads in the list of all.
    pub fn places_of(&self, host: usize) -> std::ops::Range<usize> {
        let first = PLACES[0].len();
        if host == 0 { 0..first } else { first..self.workloads.len() }
    }

    /// The workload of that name.
    #[track_caller]
    pub fn workload(&self, name: &str) -> &Workload {
        let found = self.workloads.iter().find(|workload| workload.name() == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}"))
    }
}

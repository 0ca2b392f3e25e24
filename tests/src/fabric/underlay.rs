//! The underlays: what differs between them, and nothing else does.

use clap::ValueEnum;

use crate::daemon::DEFAULT_CONFIG;
use crate::fabric::wires::WIRE;
use crate::fabric::{Site, tunnels, wires};
use crate::host::Host;
use crate::netns::NetNs;
use crate::packet::Family;

/// What carries packets between the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Underlay {
    /// A router between the hosts, several subnets and links of their own on each.
    L3,
    /// The same without any IPv4.
    Ipv6,
    /// One flat layer 2 over both hosts: each one's bridge has a port on the shared wire.
    Bridge,
    /// A VXLAN overlay with one subnet per host, as flannel lays it.
    Vxlan,
    /// The same subnets without a tunnel: each host is the gateway to its own, as flannel's `host-gw`.
    HostGw,
    /// A subnet per host that is computed from the host's underlay address, through a tunnel, as Ubuntu's Fan.
    Fan,
}

impl Underlay {
    /// What it is, in a line.
    pub fn caption(self) -> &'static str {
        match self {
            Self::L3 => "routed: a router between the hosts, static routes, three subnets on each",
            Self::Ipv6 => "IPv6 only: a router between the hosts, static routes, no IPv4 anywhere",
            Self::Bridge => "bridged: one flat layer 2, one subnet over both hosts",
            Self::Vxlan => "VXLAN: a subnet per host, an overlay without learning, a routed underlay",
            Self::HostGw => "host-gw: a subnet per host, each host the gateway to its own, no tunnel",
            Self::Fan => "Fan: a subnet per host, computed from its underlay address, tunnelled",
        }
    }

    /// Whether workloads have IPv4 addresses.
    pub fn has_ipv4(self) -> bool {
        self != Self::Ipv6
    }

    /// The families of the workloads.
    pub fn families(self) -> &'static [Family] {
        if self.has_ipv4() { &Family::BOTH } else { &[Family::V6] }
    }

    /// The lengths of the prefixes that the workloads' subnets have: of a third of a host's slice, of the slice, or
    /// of all slices together.
    pub(crate) fn subnets(self) -> (Option<u8>, u8) {
        match self {
            Self::L3 => (Some(26), 64),
            Self::Ipv6 => (None, 64),
            Self::Bridge => (Some(16), 48),
            Self::Vxlan | Self::HostGw | Self::Fan => (Some(24), 56),
        }
    }

    /// Whether a workload may hang on a link of its own; on the other underlays a host has one bridge for all.
    pub(crate) fn leaves_the_choice(self) -> bool {
        matches!(self, Self::L3 | Self::Ipv6)
    }

    /// The largest packet that gets from a workload of one host to one of the other.
    pub fn mtu(self) -> usize {
        match self {
            Self::L3 | Self::Ipv6 | Self::Bridge | Self::HostGw => 1500,
            Self::Vxlan => tunnels::FLANNEL_MTU,
            Self::Fan => tunnels::FAN_MTU,
        }
    }

    /// The interfaces at which packets of other hosts' workloads arrive and can be judged: the wire, and the ends of
    /// tunnels that have an Ethernet header. Fan's has none.
    pub fn uplinks(self) -> &'static [&'static str] {
        match self {
            Self::L3 | Self::Ipv6 | Self::Bridge | Self::HostGw | Self::Fan => &[WIRE],
            Self::Vxlan => &[WIRE, tunnels::FLANNEL],
        }
    }

    /// The host file of both hosts, with all uplinks at that trust: `fabric` or `external`.
    pub fn host_file(self, trust: &str) -> String {
        let uplink = |name: &&str| format!("[[uplink]]\nmatch = \"{name}\"\ntrust = \"{trust}\"\n");
        DEFAULT_CONFIG.to_owned() + &self.uplinks().iter().map(uplink).collect::<String>()
    }

    /// Joins the hosts, whose workloads are there already.
    #[track_caller]
    pub(crate) fn lay(self, hosts: &[Host; 2], middle: &NetNs, stranger: &NetNs) {
        match self {
            Self::L3 => wires::routed(hosts, middle, stranger, &Family::BOTH),
            Self::Ipv6 => wires::routed(hosts, middle, stranger, &[Family::V6]),
            Self::Bridge => wires::flat(hosts, middle, stranger),
            Self::Vxlan => wires::routed(hosts, middle, stranger, &[Family::V4]),
            Self::HostGw => wires::switched(hosts, middle, stranger, &Family::BOTH),
            Self::Fan => wires::switched(hosts, middle, stranger, &[Family::V4]),
        }
        let [one, two] = Site::HOSTS;
        for (host, here, there) in [(&hosts[0], one, two), (&hosts[1], two, one)] {
            match self {
                Self::L3 | Self::Ipv6 | Self::Bridge => {}
                Self::Vxlan => tunnels::flannel(host.netns(), here, there),
                Self::HostGw => host.netns().ip(&wires::routes_to(there)),
                Self::Fan => tunnels::fan(host.netns(), there),
            }
        }
    }
}

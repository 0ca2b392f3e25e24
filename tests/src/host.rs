//! The container host: a namespace that routes between its workloads.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use ipnet::IpNet;

use crate::bridge;
use crate::netns::NetNs;
use crate::workload::NewWorkload;

/// The host's own IPv4 address, from a documentation prefix: what it uses when it talks to a workload itself.
pub const HOST_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host's own IPv6 address.
pub const HOST_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);

/// What a router's kernel is told before it has any interface.
const ROUTER: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
    // The kernel's own source check would hide whether the enforcer's works.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
];

/// How the workloads of a subnet hang on their host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wiring {
    /// Each behind a veth of its own, with a host route to it.
    Routed,
    /// All on this bridge.
    Bridged(String),
}

/// A namespace that plays a container host.
#[derive(Debug)]
pub struct Host {
    name: String,
    netns: Arc<NetNs>,
    number: u8,
    own: Vec<IpAddr>,
    subnets: Mutex<BTreeMap<IpNet, Wiring>>,
}

impl Host {
    /// Creates a host with forwarding on for both families and no workloads.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::numbered(name, 1, &[HOST_IPV4.into(), HOST_IPV6.into()])
    }

    /// One of several hosts: its addresses are its own, and so is its gateway in a subnet that they share.
    #[track_caller]
    pub fn numbered(name: &str, number: u8, own: &[IpAddr]) -> Self {
        let netns = NetNs::create(name);
        netns.sysctls(ROUTER);
        let addresses = own.iter().map(|address| match address {
            IpAddr::V4(_) => format!("addr add {address}/32 dev lo\n"),
            IpAddr::V6(_) => format!("addr add {address}/128 dev lo nodad\n"),
        });
        netns.ip(&addresses.collect::<String>());
        let (name, own) = (name.to_owned(), own.to_vec());
        Self { name, netns: Arc::new(netns), number, own, subnets: Mutex::default() }
    }

    /// Starts the description of a workload; works at any time, also while traffic runs.
    pub fn workload(&self, name: &str) -> NewWorkload<'_> {
        NewWorkload::on(self, name)
    }

    /// The host's namespace.
    pub fn netns(&self) -> &Arc<NetNs> {
        &self.netns
    }

    /// The name given to [`Host::new`]: the first part of its workloads' namespace names.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's own address of a family, from which it talks to routed workloads.
    pub fn own(&self, is_family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
        self.own.iter().copied().find(is_family)
    }

    /// Its address on the bridge of a subnet.
    pub(crate) fn gateway_of(&self, subnet: IpNet) -> IpAddr {
        bridge::gateway_of(subnet, self.number)
    }

    /// Notes that the subnets of a workload are routed.
    #[track_caller]
    pub(crate) fn route_subnets_of(&self, addresses: &[IpNet]) {
        let mut subnets = self.subnets.lock().expect("a thread panicked while wiring a workload");
        for address in addresses {
            let wiring = subnets.entry(address.trunc()).or_insert(Wiring::Routed);
            assert_eq!(*wiring, Wiring::Routed, "{address} would be routed, its subnet is bridged");
        }
    }

    /// Finds or creates the bridge for a workload's addresses, with a gateway for each on it; returns its name.
    ///
    /// A subnet is on one bridge or routed, never both: its workloads would look for each other in vain.
    #[track_caller]
    pub(crate) fn bridge_for(&self, addresses: &[IpNet]) -> String {
        let mut subnets = self.subnets.lock().expect("a thread panicked while wiring a workload");
        let name = bridge::name_for(addresses[0]);
        let wiring = Wiring::Bridged(name.clone());
        let mut batch = String::new();
        if !subnets.values().any(|known| *known == wiring) {
            batch += &bridge::creation(&name, addresses[0], self.number);
        }
        for address in addresses {
            let known = subnets.get(&address.trunc());
            assert!(
                known.is_none_or(|known| *known == wiring),
                "{address} would be on {name}, but is {known:?}"
            );
            if known.is_none() {
                batch += &bridge::gateway_address(&name, *address, self.number);
                subnets.insert(address.trunc(), wiring.clone());
            }
        }
        self.netns.ip(&batch);
        name
    }
}

impl AsRef<NetNs> for Host {
    fn as_ref(&self) -> &NetNs {
        &self.netns
    }
}

/// The `ip` commands for the host's side of a routed workload: a point-to-point link, as Calico wires it.
///
/// Every such veth bears the same link-local gateway. The host itself talks from its own address; one without an
/// IPv4 address has no IPv4 there either.
pub(crate) fn routed_side(host: &Host, interface: &str) -> String {
    let ipv4 = host
        .own(IpAddr::is_ipv4)
        .map(|_| format!("addr add {ROUTED_GATEWAY_IPV4}/32 dev {interface} scope link\n"));
    format!(
        "{}addr add {ROUTED_GATEWAY_IPV6}/64 dev {interface} nodad\nlink set {interface} up\n",
        ipv4.unwrap_or_default()
    )
}

/// The `ip` commands that lead the host to a routed workload.
pub(crate) fn routes_to(host: &Host, interface: &str, addresses: &[IpNet]) -> String {
    let mut batch = String::new();
    for address in addresses {
        let (length, source) = match address.addr() {
            IpAddr::V4(_) => (32, host.own(IpAddr::is_ipv4)),
            IpAddr::V6(_) => (128, host.own(IpAddr::is_ipv6)),
        };
        let source = source.map(|source| format!(" src {source}")).unwrap_or_default();
        writeln!(batch, "route add {}/{length} dev {interface}{source}", address.addr())
            .expect("a string takes all that is written");
    }
    batch
}

/// The gateway of every routed workload, reachable on its link only.
pub(crate) const ROUTED_GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
pub(crate) const ROUTED_GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

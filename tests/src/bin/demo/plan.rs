//! Who is there and who may talk to whom: all that the demo expects follows from these two tables.

use std::net::IpAddr;

use enforcer_tests::{Host, Workload, traffic::Protocol};
use ipnet::IpNet;

/// How a workload hangs on the host.
#[derive(Debug, Clone, Copy)]
pub enum Wiring {
    /// A point-to-point link and a host route.
    Routed,
    /// A port of its subnet's bridge.
    Bridged,
}

/// One workload of the demo.
#[derive(Debug)]
pub struct Place {
    /// Its name; the host side of its veth is `veth-<name>`.
    pub name: &'static str,
    /// Its address and subnet.
    pub ipv4: &'static str,
    /// The same for IPv6.
    pub ipv6: &'static str,
    /// How it hangs on the host.
    pub wiring: Wiring,
}

/// Six workloads in four IPv4 subnets and two IPv6 prefixes. Three of them share a bridge, and not one network.
#[rustfmt::skip]
pub const PLACES: [Place; 6] = [
    Place { name: "web",    ipv4: "10.1.0.10/24", ipv6: "2001:db8:1::b:10/64", wiring: Wiring::Routed },
    Place { name: "api",    ipv4: "10.2.0.10/24", ipv6: "2001:db8:1::b:20/64", wiring: Wiring::Routed },
    Place { name: "db",     ipv4: "10.3.0.10/24", ipv6: "2001:db8:2::10/64",   wiring: Wiring::Bridged },
    Place { name: "report", ipv4: "10.3.0.20/24", ipv6: "2001:db8:2::20/64",   wiring: Wiring::Bridged },
    Place { name: "audit",  ipv4: "10.3.0.40/24", ipv6: "2001:db8:2::40/64",   wiring: Wiring::Bridged },
    Place { name: "batch",  ipv4: "10.4.0.10/24", ipv6: "2001:db8:1::d:10/64", wiring: Wiring::Routed },
];

/// One logical network of the demo.
#[derive(Debug)]
pub struct Network {
    /// Its name in the policy.
    pub name: &'static str,
    /// What it covers.
    pub prefixes: &'static [&'static str],
}

/// Three logical networks. `blue` spans three subnets; `db` is a member of both `blue` and `green`.
pub const NETWORKS: [Network; 3] = [
    Network {
        name: "blue",
        prefixes: &[
            "10.1.0.0/24",
            "10.2.0.0/24",
            "10.3.0.10/32",
            "2001:db8:1::b:0/112",
            "2001:db8:2::10/128",
        ],
    },
    Network { name: "green", prefixes: &["10.3.0.0/27", "2001:db8:2::/122"] },
    Network {
        name: "red",
        prefixes: &["10.3.0.40/32", "10.4.0.0/24", "2001:db8:2::40/128", "2001:db8:1::d:0/112"],
    },
];

impl Place {
    /// Creates the workload.
    pub fn build(&self, host: &Host) -> Workload {
        let workload = host.workload(self.name).at(self.ipv4).at(self.ipv6);
        match self.wiring {
            Wiring::Routed => workload.routed(),
            Wiring::Bridged => workload.bridged(),
        }
    }
}

impl Network {
    /// Whether an address is a member.
    fn covers(&self, address: IpAddr) -> bool {
        self.prefixes.iter().any(|prefix| {
            let prefix: IpNet = prefix.parse().expect("the demo's prefixes are well-formed");
            prefix.contains(&address)
        })
    }
}

/// A rule besides: who is in `red` may open these to who is in `blue`, and nothing comes of the other
/// direction.
pub const RULE: &str = r#"
[[rule]]
name  = "red uses what blue serves"
from  = ["red"]
to    = ["blue"]
allow = ["tcp/5432", "ping"]
"#;

/// What networks alone let pass: two addresses talk if one covers both.
pub fn may_talk(one: IpAddr, other: IpAddr) -> bool {
    NETWORKS.iter().any(|network| network.covers(one) && network.covers(other))
}

/// The same for any probe.
pub fn shares_a_network(from: IpAddr, to: IpAddr, _: Protocol) -> bool {
    may_talk(from, to)
}

/// What networks and the rule let pass.
pub fn may_open(from: IpAddr, to: IpAddr, protocol: Protocol) -> bool {
    let ruled = matches!(protocol, Protocol::Tcp(5432) | Protocol::Ping);
    let (red, blue) = (networks_of(from).contains(&"red"), networks_of(to).contains(&"blue"));
    may_talk(from, to) || (ruled && red && blue)
}

/// The names of an address' networks.
pub fn networks_of(address: IpAddr) -> Vec<&'static str> {
    NETWORKS.iter().filter(|network| network.covers(address)).map(|network| network.name).collect()
}

/// The same networks as the enforcer reads them.
pub fn policy() -> String {
    let networks = NETWORKS
        .iter()
        .map(|Network { name, prefixes }| format!("[network.{name}]\nprefixes = {prefixes:?}\n"));
    "version = 1\n\n".to_owned() + &networks.collect::<Vec<_>>().join("\n")
}

/// The same with the rule.
pub fn policy_with_rule() -> String {
    policy() + RULE
}

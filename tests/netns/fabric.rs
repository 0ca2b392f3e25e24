//! Two hosts with an enforcer each, one policy, and every underlay: who reaches whom is the same on all of them.

mod external;
mod segments;
mod staggered;
mod wire;

use std::net::SocketAddr;

use enforcer_tests::connection::Connection;
use enforcer_tests::fabric::{Fabric, POLICY, Underlay, may_open};
use enforcer_tests::matrix::Matrix;
use enforcer_tests::packet::Family;
use enforcer_tests::{Daemon, Workload};

/// As much as one GSO packet holds: far more than fits into any underlay's packet.
const BULK: usize = 64 << 10;
/// A port of the policy's second rule at which no echo server listens.
const PORT: u16 = 7000;

/// A fabric under the policy.
fn governed(underlay: Underlay, name: &str) -> (Fabric, [Daemon; 2]) {
    governed_by(underlay, name, &underlay.host_file("fabric"))
}

/// The same with another host file.
fn governed_by(underlay: Underlay, name: &str, host_file: &str) -> (Fabric, [Daemon; 2]) {
    let fabric = Fabric::build(underlay, name);
    let daemons = fabric.enforce_by(host_file);
    for daemon in &daemons {
        daemon.apply(POLICY);
    }
    (fabric, daemons)
}

/// Everybody reaches exactly whom the policy says, and packets of any size arrive.
#[track_caller]
fn assert_holds_on(underlay: Underlay, name: &str) {
    let (fabric, daemons) = governed(underlay, name);
    for family in underlay.families() {
        let matrix = match family {
            Family::V4 => Matrix::ask("IPv4", &fabric.workloads, Workload::ipv4, &may_open),
            Family::V6 => Matrix::ask("IPv6", &fabric.workloads, Workload::ipv6, &may_open),
        };
        assert!(matrix.as_expected() == matrix.probes(), "{}", matrix.shown(false));
        assert_bulk_passes(&fabric, *family);
    }
    for daemon in &daemons {
        let drops = daemon.counts("drop");
        let dropped: Vec<_> = drops.iter().filter(|(_, packets)| **packets > 0).collect();
        let is_policy = |reason: &str| ["default-deny", "denied-by-rule", "multicast"].contains(&reason);
        assert!(dropped.iter().all(|(reason, _)| is_policy(reason)), "only by policy, but {dropped:?}");
    }
}

/// Within a network and through a rule, to and from another host. Where the underlay's packets are smaller, the
/// host says so, and its word passes.
#[track_caller]
fn assert_bulk_passes(fabric: &Fabric, family: Family) {
    for (client, server) in [("web", "api"), ("shop", "hub")] {
        let (client, server) = (fabric.workload(client), fabric.workload(server));
        let address = server.address(family);
        let connection = Connection::open(client, server, SocketAddr::new(address, PORT)).unwrap();
        connection.upload(BULK).unwrap_or_else(|error| panic!("{family:?} there: {error}"));
        connection.download(BULK).unwrap_or_else(|error| panic!("{family:?} back: {error}"));
        if fabric.underlay.mtu() < 1500 {
            let route = client.netns().run("ip", &["route", "get", &address.to_string()]);
            let route = String::from_utf8(route.stdout).unwrap();
            assert!(route.contains(&format!("mtu {}", fabric.underlay.mtu())), "{family:?}: {route}");
        }
    }
}

#[test]
fn it_holds_on_a_routed_fabric() {
    assert_holds_on(Underlay::L3, "l3");
}

#[test]
fn it_holds_where_there_is_no_ipv4() {
    assert_holds_on(Underlay::Ipv6, "ipv6");
    let fabric = Fabric::build(Underlay::Ipv6, "noipv4");
    let [one, two] = fabric.hosts.each_ref().map(|host| &**host.netns());
    let workloads = fabric.workloads.iter().map(Workload::netns);
    for netns in workloads.chain([one, two, &fabric.middle, &fabric.stranger]) {
        let addresses = netns.run("ip", &["-4", "-oneline", "address"]).stdout;
        let addresses = String::from_utf8(addresses).unwrap();
        assert!(addresses.lines().all(|line| line.contains("127.0.0.1/8")), "{}: {addresses}", netns.name());
    }
}

#[test]
fn it_holds_on_a_flat_layer_2() {
    assert_holds_on(Underlay::Bridge, "flat");
}

#[test]
fn it_holds_on_a_vxlan_overlay() {
    assert_holds_on(Underlay::Vxlan, "vxlan");
}

#[test]
fn it_holds_where_hosts_are_gateways() {
    assert_holds_on(Underlay::HostGw, "hostgw");
}

#[test]
fn it_holds_on_a_fan() {
    assert_holds_on(Underlay::Fan, "fan");
}

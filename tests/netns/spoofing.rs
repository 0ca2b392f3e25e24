//! Addresses that are not the sender's own.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use enforcer_tests::host::{HOST_IPV4, HOST_IPV6};
use enforcer_tests::traffic::{ECHO_PORT, ping, ping_soon, tcp};
use enforcer_tests::{Daemon, Host};

use crate::town::Town;

#[test]
fn a_spoofed_source_is_dropped_at_the_senders_veth() {
    let town = Town::governed("spoof");
    // The thief's neighbours know it: else its stolen address would be dropped from ARP already.
    assert!(ping(&town.db, HOST_IPV4.into()) && ping(&town.db, HOST_IPV6.into()));
    // The victim's flow exists: no cache may help the spoofer.
    assert!(tcp(&town.api, town.web.ipv4(), ECHO_PORT));
    for (stolen, target) in [(town.api.ipv4(), town.web.ipv4()), (town.api.ipv6(), town.web.ipv6())] {
        let before = town.daemon.dropped("spoofed-source");
        let (length, nodad) = if stolen.is_ipv4() { (32, "") } else { (128, " nodad") };
        town.db.netns().ip(&format!("address add {stolen}/{length} dev lo{nodad}"));
        town.db.netns().enter(|| {
            let socket = UdpSocket::bind((stolen, 47000)).expect("the stolen address is configured");
            for _ in 0..50 {
                socket
                    .send_to(b"it is me", SocketAddr::new(target, ECHO_PORT))
                    .expect("a datagram can be sent");
            }
        });
        assert_eq!(town.daemon.dropped("spoofed-source") - before, 50, "as {stolen}");
    }
}

#[test]
fn an_address_somebody_has_cannot_be_claimed() {
    let host = Host::new("claim");
    let first = host.workload("first").at("10.1.0.5/24").bridged();
    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[first.interface()]);
    let thief = host.workload("thief").at("10.1.0.6/24").bridged();
    daemon.wait_ready(&[thief.interface()]);
    thief.netns().ip("address add 10.1.0.5/24 dev eth0");
    let status =
        enforcer_tests::wait::until("the conflict is shown", std::time::Duration::from_secs(10), || {
            let status = daemon.json(&["status"]);
            status["warnings"].to_string().contains("claims 10.1.0.5").then_some(status)
        });
    assert!(status["warnings"].to_string().contains(thief.interface()), "{status}");
    let endpoints = daemon.json(&["endpoints"]);
    let owner = |name: &str| {
        let endpoint =
            endpoints.as_array().unwrap().iter().find(|endpoint| endpoint["name"] == name).unwrap();
        endpoint["addresses"].to_string()
    };
    assert!(owner(first.interface()).contains("\"10.1.0.5\""));
    assert!(!owner(thief.interface()).contains("\"10.1.0.5\""));
}

#[test]
fn a_local_source_from_elsewhere_on_the_host_is_dropped() {
    let town = Town::governed("unstamped");
    let before = town.daemon.dropped("unstamped-source");
    // The host itself plays a workload: it has the address, but not the veth's stamp.
    let stolen: IpAddr = town.web.ipv4();
    town.host.netns().enter(|| {
        let socket = enforcer_tests::spoof::bind_foreign(SocketAddr::new(stolen, 47001))
            .expect("root may bind anything");
        for _ in 0..20 {
            socket
                .send_to(b"from web, really", SocketAddr::new(town.api.ipv4(), ECHO_PORT))
                .expect("a datagram can be sent");
        }
    });
    assert_eq!(town.daemon.dropped("unstamped-source") - before, 20);
}

#[test]
fn a_workload_joins_no_network_by_taking_an_address_of_it() {
    let host = Host::new("joining");
    let blue = host.workload("blue").at("10.1.0.5/24").bridged();
    let red = host.workload("red").at("10.1.0.100/24").bridged();
    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[blue.interface(), red.interface()]);
    daemon.apply("version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/26\"]\n[network.red]\nprefixes = [\"10.1.0.96/27\"]\n");
    blue.netns().ip("address add 10.1.0.101/24 dev eth0");
    enforcer_tests::wait::until("the claim is shown", std::time::Duration::from_secs(10), || {
        let warnings = daemon.json(&["status"])["warnings"].to_string();
        warnings.contains("claims 10.1.0.101").then_some(())
    });
    assert!(!ping_soon(&blue, red.ipv4()));
    let endpoints = daemon.json(&["endpoints"]);
    let networks = |name: &str| {
        let endpoint = endpoints.as_array().unwrap().iter().find(|endpoint| endpoint["name"] == name);
        endpoint.unwrap()["networks"].clone()
    };
    assert_eq!(networks(blue.interface()), serde_json::json!(["blue"]));
}

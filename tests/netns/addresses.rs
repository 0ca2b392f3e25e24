//! How addresses come to their endpoints: declared, configured late, formed by SLAAC.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::traffic::{ECHO_PORT, ping, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, NetNs, router, wait};

use crate::town::Town;

/// The IPv6 address of an endpoint, once it has one.
fn formed(daemon: &Daemon, interface: &str) -> Option<IpAddr> {
    let endpoints = daemon.json(&["endpoints"]);
    let endpoint = endpoints.as_array().unwrap().iter().find(|endpoint| endpoint["name"] == interface)?;
    let addresses = endpoint["addresses"].as_array().unwrap().iter();
    addresses.filter_map(|address| address.as_str()?.parse().ok()).find(|address: &IpAddr| address.is_ipv6())
}

#[test]
fn slaac_and_duplicate_address_detection_work() {
    let town = Town::governed("slaac");
    let client = town.host.workload("client").at("10.2.0.50/24").bridged();
    town.daemon.wait_ready(&[client.interface()]);
    let prefix = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0);
    router::advertise(town.host.netns(), "br-10.2.0", prefix);
    let address =
        wait::until("the client has formed an address and the daemon knows", Duration::from_secs(15), || {
            formed(&town.daemon, client.interface())
        });
    wait::until("web reaches it over the shared network", Duration::from_secs(5), || {
        tcp_soon(&town.web, address, ECHO_PORT).then_some(())
    });
    assert!(!tcp_soon(&town.db, address, ECHO_PORT), "db shares nothing with {address}");
    let tentative = client.netns().run("ip", &["-6", "address", "show", "dev", "eth0", "tentative"]);
    assert!(tentative.stdout.is_empty(), "{tentative:?}");
}

#[test]
fn a_workload_is_quarantined_until_it_has_an_address() {
    let host = Host::new("latecomer");
    let client = host.workload("client").at("10.1.0.5/24").bridged();
    client.netns().ip("address flush dev eth0");
    let daemon = Daemon::start(&host);
    let endpoints = daemon.json(&["endpoints"]);
    assert_eq!(endpoints[0]["state"], "quarantined", "{endpoints}");
    assert_eq!(daemon.json(&["status"])["endpoints_quarantined"], 1);
    client.netns().ip("address add 10.1.0.6/24 dev eth0");
    daemon.wait_ready(&[client.interface()]);
    assert_eq!(daemon.json(&["endpoints"])[0]["addresses"], serde_json::json!(["10.1.0.6"]));
    assert!(ping(&client, "10.1.0.1".parse().unwrap()), "the gateway is reached with the address of now");
}

/// Docker and others give an interface its MAC just before its address. A look in between must not note the one without
/// the other.
#[test]
fn the_mac_that_counts_is_the_one_that_comes_with_the_address() {
    const COUNT: u8 = 120;
    let host = Host::new("macs");
    let inside = NetNs::create("macs-inside");
    host.netns().ip("link add br0 type bridge\naddress add 10.9.0.1/24 dev br0\nlink set br0 up\n");
    let daemon = Daemon::start(&host);
    let numbers = || 10..10 + COUNT;
    let pairs = numbers().map(|n| {
        format!(
            "link add veth-{n} type veth peer name eth{n} netns {}\nlink set veth-{n} master br0 up\n",
            inside.name()
        )
    });
    let ends = numbers().map(|n| {
        format!("link set eth{n} address 02:00:00:00:00:{n:02x}\naddress add 10.9.0.{n}/24 dev eth{n}\nlink set eth{n} up\n")
    });
    host.netns().ip(&pairs.collect::<String>());
    inside.ip(&ends.collect::<String>());
    let names: Vec<String> = numbers().map(|n| format!("veth-{n}")).collect();
    daemon.wait_ready(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for endpoint in daemon.json(&["endpoints"]).as_array().unwrap() {
        let number: u8 = endpoint["name"].as_str().unwrap()["veth-".len()..].parse().unwrap();
        assert_eq!(endpoint["mac"], format!("02:00:00:00:00:{number:02x}"), "{endpoint}");
    }
}

#[test]
fn declared_addresses_need_no_look_inside() {
    let host = Host::new("declared");
    let web = host.workload("web").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let db = host.workload("db").at("10.2.0.5/24").at("2001:db8:2::5/64").routed();
    let config = format!(
        "{DEFAULT_CONFIG}[[endpoint]]\nmatch = \"veth-web\"\naddresses = [\"10.1.0.5\", \"2001:db8:1::/80\"]\n"
    );
    let daemon = Daemon::start_with(&host, &config);
    daemon.wait_ready(&[web.interface(), db.interface()]);
    daemon.apply("version = 1\n[network.all]\nprefixes = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n");
    let endpoints = daemon.json(&["endpoints", "veth-web"]);
    assert!(endpoints.to_string().contains("2001:db8:1::/80"), "{endpoints}");
    assert!(tcp(&db, web.ipv4(), ECHO_PORT) && tcp(&db, web.ipv6(), ECHO_PORT));
}

//! Interfaces change under the daemon: renamed, moved away and back, deleted, replaced by another of the same index.
//! Whoever stands behind one is judged by what is true now, and inherits nothing.

use std::time::Duration;

use enforcer::datapath::attach::Mechanism;
use enforcer_tests::daemon::attaching_by;
use enforcer_tests::hooks::programs;
use enforcer_tests::traffic::{ECHO_PORT, tcp, udp_soon};
use enforcer_tests::{NetNs, Workload, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::town::{POLICY, Town};

/// How long the daemon may take to see a change.
const PATIENCE: Duration = Duration::from_secs(10);
/// An index that nothing else gets.
const INDEX: u32 = 777;

fn endpoint(town: &Town, name: &str) -> Option<Value> {
    let endpoints = town.daemon.json(&["endpoints"]);
    endpoints.as_array().unwrap().iter().find(|endpoint| endpoint["name"] == name).cloned()
}

fn addresses(endpoint: &Value) -> Vec<&str> {
    endpoint["addresses"].as_array().unwrap().iter().map(|address| address.as_str().unwrap()).collect()
}

/// Web's two addresses, asked and asking.
#[track_caller]
fn assert_web_is_governed(town: &Town, when: &str) {
    for (web, api, db) in [
        (town.web.ipv4(), town.api.ipv4(), town.db.ipv4()),
        (town.web.ipv6(), town.api.ipv6(), town.db.ipv6()),
    ] {
        // What web asked its neighbours before it was known again was dropped, and it waits a second before it asks again.
        let answered =
            |from: &Workload, to| wait::within(PATIENCE, || udp_soon(from, to, ECHO_PORT).then_some(()));
        assert!(answered(&town.web, api).is_some(), "{when}: web asks {api}");
        assert!(answered(&town.api, web).is_some(), "{when}: api asks {web}");
        assert!(!udp_soon(&town.web, db, ECHO_PORT), "{when}: web asks {db}");
    }
}

/// `explain` exits otherwise for what is denied.
#[track_caller]
fn assert_nobody_has_webs_address(town: &Town) {
    let output = town.daemon.cli(&["explain", "10.1.0.5", "10.2.0.5", "-o", "json"]);
    let explained: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(explained["src"]["address"], "10.1.0.5", "{explained}");
    assert_eq!(explained["src"]["endpoint"], Value::Null, "{explained}");
}

/// The routes that lead to a workload are gone when its interface was down or away.
fn lead_to(workload: &Workload, town: &Town) {
    let interface = workload.interface();
    let routes = workload.addresses().iter().map(|address| {
        let address = address.addr();
        let source = if address.is_ipv4() { "192.0.2.1" } else { "2001:db8:ff::1" };
        format!("route replace {address} dev {interface} src {source}\n")
    });
    let gateway = format!(
        "addr replace 169.254.1.1/32 dev {interface} scope link\naddr replace fe80::1/64 dev {interface} nodad\n"
    );
    town.host.netns().ip(&(format!("link set {interface} up\n") + &gateway + &routes.collect::<String>()));
    town.host.netns().wait_for_carrier(interface);
}

#[test]
fn a_renamed_interface_stays_the_endpoint_it_is() {
    let town = Town::governed("rename");
    let before = endpoint(&town, "veth-web").unwrap();
    town.host.netns().ip("link set veth-web down\nlink set veth-web name veth-renamed\n");
    let host = town.host.netns();
    let routes = [("10.1.0.5", "192.0.2.1"), ("2001:db8:1::5", "2001:db8:ff::1")];
    host.ip("link set veth-renamed up\naddr replace fe80::1/64 dev veth-renamed nodad\n");
    for (address, source) in routes {
        host.ip(&format!("route replace {address} dev veth-renamed src {source}\n"));
    }
    host.wait_for_carrier("veth-renamed");
    let after = wait::until("it bears its new name", PATIENCE, || endpoint(&town, "veth-renamed"));
    assert_eq!((&after["id"], &after["ifindex"]), (&before["id"], &before["ifindex"]));
    assert_eq!(endpoint(&town, "veth-web"), None);
    town.daemon.wait_ready(&["veth-renamed"]);
    assert_web_is_governed(&town, "renamed");
}

#[test]
fn an_interface_renamed_out_of_the_pattern_is_let_go_and_comes_back() {
    for attach in ["auto", "clsact"] {
        let config = attaching_by(attach);
        let town = Town::build_with(&format!("pattern-{attach}"), &config);
        town.daemon.apply(POLICY);
        leave_the_pattern_and_come_back(&town);
    }
}

#[track_caller]
fn leave_the_pattern_and_come_back(town: &Town) {
    let host = town.host.netns();
    host.ip("link set veth-web down\nlink set veth-web name other0\nlink set other0 up\n");
    wait::until("it is forgotten", PATIENCE, || endpoint(town, "veth-web").is_none().then_some(()));
    let ifindex = host.enter(|| nix::net::if_::if_nametoindex("other0")).unwrap();
    wait::until("it is nobody's business any more", PATIENCE, || {
        (programs(host, ifindex) == [0, 0]).then_some(())
    });
    host.ip("link set other0 down\nlink set other0 name veth-web\n");
    lead_to(&town.web, town);
    town.daemon.wait_ready(&["veth-web"]);
    assert_web_is_governed(town, "back under its name");
}

#[test]
fn an_interface_that_moves_to_another_namespace_and_back_is_enforced_again() {
    let town = Town::governed("move");
    let elsewhere = NetNs::create("move-elsewhere");
    let host = town.host.netns();
    host.ip(&format!("link set veth-web netns {}\n", elsewhere.name()));
    wait::until("it is forgotten", PATIENCE, || endpoint(&town, "veth-web").is_none().then_some(()));
    assert_nobody_has_webs_address(&town);
    elsewhere.ip(&format!("link set veth-web netns {}\n", host.name()));
    lead_to(&town.web, &town);
    town.daemon.wait_ready(&["veth-web"]);
    assert_web_is_governed(&town, "back in its namespace");
}

/// A workload of *blue* at [`INDEX`], and what replaces it there.
fn blue_at_index(town: &Town, inside: &NetNs, name: &str, address: &str) {
    let inside = inside.name();
    town.host.netns().ip(&format!(
        "link add {name} index {INDEX} type veth peer name eth0 netns {inside}\nlink set {name} up\n\
         addr add 169.254.1.1/32 dev {name} scope link\nroute add {address} dev {name} src 192.0.2.1\n"
    ));
}

#[test]
fn a_freed_index_inherits_nothing_even_when_the_kernel_could_not_tell_all() {
    let town = Town::governed("overrun");
    let host = town.host.netns();
    let (first, second) = (NetNs::create("overrun-first"), NetNs::create("overrun-second"));
    blue_at_index(&town, &first, "veth-old", "10.1.0.50");
    let old = wait::until("the first is ready", PATIENCE, || {
        endpoint(&town, "veth-old").filter(|endpoint| addresses(endpoint).contains(&"10.1.0.50"))
    });
    town.daemon.signal(Signal::SIGSTOP);
    // More news than a netlink socket has room for: of what comes then, the daemon hears nothing.
    host.ip(&"link set veth-db alias one\nlink set veth-db alias other\n".repeat(1000));
    host.ip("link delete veth-old\n");
    blue_at_index(&town, &second, "veth-new", "10.3.0.50");
    town.daemon.signal(Signal::SIGCONT);
    let new = wait::until("the second is an endpoint of its own", PATIENCE, || {
        endpoint(&town, "veth-new").filter(|new| addresses(new) == ["10.3.0.50"])
    });
    assert_eq!(new["ifindex"], INDEX);
    let is_attached = || programs(host, INDEX) == [1, 1];
    wait::until("the second is enforced", PATIENCE, || is_attached().then_some(()));
    let id = || endpoint(&town, "veth-new").map(|new| new["id"].clone());
    wait::until("it has an id of its own", PATIENCE, || (id()? != old["id"]).then_some(()));
}

#[test]
fn an_interface_deleted_under_us_is_forgotten_with_all_it_had() {
    let town = Town::governed("deleted");
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
    town.host.netns().ip("link delete veth-web\n");
    wait::until("it is forgotten", PATIENCE, || endpoint(&town, "veth-web").is_none().then_some(()));
    let links = enforcer::datapath::pins::Pins::new(town.daemon.bpffs()).list_links().unwrap();
    let left = if Mechanism::best() == Mechanism::Tcx { 3 } else { 0 };
    assert_eq!(links.len(), 2 * left, "two of each that is left, and none where there are none: {links:?}");
    assert_nobody_has_webs_address(&town);
}

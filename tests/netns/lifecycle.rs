//! The daemon may die: the kernel goes on enforcing and counting, and the next daemon takes over.

use std::time::Duration;

use aya::maps::{MapData, lpm_trie::Key};
use enforcer::datapath::bpf::update_batch;
use enforcer::datapath::pins::Pins;
use enforcer_common::address::Address;
use enforcer_common::endpoint::{AddressOwner, EndpointId};
use enforcer_common::limits::MAX_ADDRESSES;
use enforcer_tests::Numbered;
use enforcer_tests::hooks::programs;
use enforcer_tests::traffic::{ECHO_PORT, tcp, tcp_soon};
use serde_json::Value;

use crate::town::Town;

/// How long an interface may take to become an endpoint.
const PATIENCE: Duration = Duration::from_secs(5);

fn passed(status: &Value) -> u64 {
    status["passed"]["packets"].as_u64().unwrap()
}

#[test]
fn enforcement_and_counters_survive_sigkill() {
    let mut town = Town::governed("sigkill");
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
    town.daemon.kill();
    assert!(tcp(&town.web, town.api.ipv6(), ECHO_PORT), "what is allowed passes with the daemon dead");
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT), "what is denied does not");
    let dead = town.daemon.json(&["status"]);
    assert_eq!((&dead["generation"], &dead["daemon"]), (&Value::from(1), &Value::Null));
    let flows = town.daemon.json(&["flows", "--src", "10.1.0.5", "--dst", "10.3.0.5"]);
    assert!(!flows.as_array().unwrap().is_empty(), "the denial was counted with the daemon dead");
    town.daemon.start_again();
    let alive = town.daemon.json(&["status"]);
    assert!(passed(&alive) >= passed(&dead), "counters went back from {dead} to {alive}");
    assert_eq!(alive["generation"], 1, "the saved policy is the kernel's: nothing to do");
    assert_eq!(town.daemon.not_ready(&town.interfaces()), [""; 0]);
}

#[test]
fn restarts_lose_no_packet() {
    let mut town = Town::governed("restart");
    let stream = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(5000).start();
    for _ in 0..3 {
        town.daemon.kill();
        town.daemon.start_again();
        town.daemon.restart();
    }
    let report = stream.finish();
    assert_eq!(report.lost().len(), 0, "lost {:?} of {}", report.lost(), report.sent);
}

#[test]
fn restarts_let_nothing_pass_that_is_denied() {
    let mut town = Town::governed("gap");
    let denied = Numbered::new(&town.web, &town.db, town.db.ipv4()).rate(5000).start();
    for _ in 0..3 {
        town.daemon.kill();
        town.daemon.start_again();
        town.daemon.restart();
    }
    let report = denied.finish();
    assert!(report.sent > 1000, "only {} packets were sent", report.sent);
    assert!(
        report.received.is_empty(),
        "{} of {} denied packets arrived",
        report.received.len(),
        report.sent
    );
}

#[test]
fn a_policy_outlives_its_daemon_and_its_kernel_tables() {
    let mut town = Town::governed("outlive");
    let digest = town.daemon.json(&["status"])["digest"].clone();
    town.daemon.stop();
    town.daemon.lose_pins();
    town.daemon.start_again();
    town.daemon.wait_ready(&town.interfaces());
    assert_eq!(town.daemon.json(&["status"])["digest"], digest);
    assert!(tcp(&town.web, town.api.ipv4(), ECHO_PORT));
    assert!(!tcp_soon(&town.web, town.db.ipv4(), ECHO_PORT));
}

#[test]
fn a_workload_that_goes_takes_its_address_along() {
    let town = Town::governed("gone");
    let first = town.host.workload("first").at("10.1.0.50/24").routed();
    town.daemon.wait_ready(&[first.interface()]);
    let interface = first.interface().to_owned();
    drop(first);
    enforcer_tests::wait::until("the endpoint is forgotten", Duration::from_secs(5), || {
        let endpoints = town.daemon.json(&["endpoints"]).to_string();
        (!endpoints.contains(&interface)).then_some(())
    });
    let second = town.host.workload("second").at("10.1.0.50/24").routed();
    town.daemon.wait_ready(&[second.interface()]);
    assert!(tcp(&second, town.api.ipv4(), ECHO_PORT), "the address is the second one's now");
}

#[test]
fn an_index_that_is_used_again_is_another_endpoint() {
    let town = Town::governed("reuse");
    let host = town.host.netns();
    let find = |name: &str| {
        let endpoints = town.daemon.json(&["endpoints"]);
        endpoints.as_array().unwrap().iter().find(|endpoint| endpoint["name"] == name).cloned()
    };
    host.ip("link add veth-old index 777 type veth peer name inner-old\n");
    let old = enforcer_tests::wait::until("the first is an endpoint", PATIENCE, || find("veth-old"));
    host.ip("link del veth-old\nlink add veth-new index 777 type veth peer name inner-new\n");
    let new = enforcer_tests::wait::until("the second is an endpoint of its own", PATIENCE, || {
        find("veth-new").filter(|new| new["id"] != old["id"])
    });
    assert_eq!((&old["ifindex"], &new["ifindex"]), (&Value::from(777), &Value::from(777)));
    assert_eq!(programs(host, 777), [1, 1], "of the second");
}

#[test]
fn a_table_that_is_full_is_told_and_heals() {
    let town = Town::governed("full");
    let table = MapData::from_pin(Pins::new(town.daemon.bpffs()).map("ADDRESSES")).unwrap();
    let stranger = AddressOwner { endpoint: EndpointId(4000), ifindex: 4_000_000, ..AddressOwner::default() };
    let address = |number: u32| Address([0x2001_0db8_u32.to_be(), u32::MAX, 0, number]);
    // The kernel stops at the first that finds no room.
    for start in (0..MAX_ADDRESSES).step_by(65_536) {
        let keys: Vec<_> = (start..start + 65_536).map(|number| Key::new(128, address(number))).collect();
        if update_batch(table.fd(), &keys, &vec![stranger; keys.len()]).is_err() {
            break;
        }
    }
    let late = town.host.workload("late").at("10.1.0.77/24").routed();
    town.daemon.wait_ready(&[late.interface()]);
    // Its record says that it has an address before the kernel has taken that one, with the next look.
    enforcer_tests::wait::until("what the kernel had refused is found again", PATIENCE, || {
        tcp_soon(&late, town.api.ipv4(), ECHO_PORT).then_some(())
    });
    assert!(town.daemon.log().contains("kernel operation failed"), "and it was told: {}", town.daemon.log());
    assert!(!town.daemon.json(&["status"])["warnings"].to_string().contains("refuses"), "and is over");
}

//! Uplinks that are not trusted: whoever is beyond one is a member of nothing, whatever address he bears.

use enforcer_tests::fabric::{Fabric, Underlay, may_open};
use enforcer_tests::matrix::Matrix;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::Protocol;
use enforcer_tests::{Daemon, Workload};
use serde_json::json;

use super::governed_by;

/// Every host is a fabric of its own: what the policy says holds within it, and nobody gets an answer from the other.
/// That leaves nothing of those either who are in no network: the answers to them come from members.
#[track_caller]
fn assert_alone_on(underlay: Underlay, name: &str) {
    let (fabric, daemons) = governed_by(underlay, name, &underlay.host_file("external"));
    for daemon in &daemons {
        assert_told(daemon, underlay);
    }
    let expected = |from: &Workload, to: &Workload, by: Protocol| {
        is_neighbour(&fabric, from, to) && may_open(from, to, by)
    };
    for family in underlay.families() {
        let matrix = match family {
            Family::V4 => Matrix::ask("IPv4", &fabric.workloads, Workload::ipv4, &expected),
            Family::V6 => Matrix::ask("IPv6", &fabric.workloads, Workload::ipv6, &expected),
        };
        assert!(matrix.as_expected() == matrix.probes(), "{}", matrix.shown(false));
    }
    for daemon in &daemons {
        assert!(daemon.dropped("spoofed-outside") > 0, "members of the other host are refused at the uplink");
    }
}

/// Whether both are on one host.
fn is_neighbour(fabric: &Fabric, one: &Workload, other: &Workload) -> bool {
    let is_first =
        |who: &Workload| fabric.workloads_of(0).iter().any(|workload| workload.name() == who.name());
    is_first(one) == is_first(other)
}

/// `status` names each uplink with its trust.
#[track_caller]
fn assert_told(daemon: &Daemon, underlay: Underlay) {
    let status = daemon.json(&["status"]);
    for name in underlay.uplinks() {
        let told = status["uplinks"].as_array().expect("a list");
        let uplink = told.iter().find(|uplink| uplink["interface"] == *name);
        assert_eq!(uplink.expect(name)["trust"], json!("external"), "{status}");
    }
}

#[test]
fn no_member_is_beyond_an_external_router() {
    assert_alone_on(Underlay::L3, "extl3");
}

#[test]
fn no_member_is_in_the_rest_of_an_external_layer_2() {
    assert_alone_on(Underlay::Bridge, "extflat");
}

#[test]
fn no_member_is_in_an_external_overlay() {
    assert_alone_on(Underlay::Vxlan, "extvxlan");
}

//! The core's guards, and what the host file says an endpoint provides.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::{Endpoint, EndpointId};

use super::{
    event::{Event, Facts, Observation, Veth},
    op::Op,
    step_tests::{bridged, left_behind, state, told},
};

const GUARDED: &str = "[guard]\nmatch = [\"veth7\", \"eth*\"]";

fn look(veths: &[(u32, Veth)], uplinks: &[(u32, &str)]) -> Event {
    let uplinks = uplinks.iter().map(|(ifindex, name)| (*ifindex, (*name).to_owned())).collect();
    let veths: BTreeMap<u32, Veth> = veths.iter().cloned().collect();
    Event::Observed(Observation { veths, uplinks, ..Observation::default() })
}

fn web() -> (u32, Veth) {
    (7, bridged("veth7", &["10.1.0.5"]))
}

fn guard(ifindex: u32, name: &str, uplink: Option<Endpoint>) -> Op {
    Op::Guard { ifindex, name: name.to_owned(), uplink }
}

fn uplink(name: &[u8]) -> Endpoint {
    let mut padded = [0; 16];
    padded[..name.len()].copy_from_slice(name);
    Endpoint { id: EndpointId::REMOTE, flags: Endpoint::UPLINK, name: padded, ..Endpoint::default() }
}

#[test]
fn a_veth_is_guarded_once_its_record_is_there() {
    let mut state = state(GUARDED);
    let host = look(&[web(), (8, bridged("veth8", &["10.1.0.6"]))], &[]);
    let ops = state.step(host.clone());
    assert_eq!(ops.last(), Some(&guard(7, "veth7", None)));
    assert_eq!(
        ops.iter().filter(|op| matches!(op, Op::Guard { .. })).count(),
        1,
        "veth8 is not to be guarded"
    );
    assert_eq!(state.step(host), []);
}

#[test]
fn an_ignored_veth_is_not_guarded_either() {
    let mut state = state(&format!("[attach]\nunknown = \"ignore\"\n{GUARDED}"));
    assert_eq!(state.step(look(&[(7, bridged("veth7", &[]))], &[])), []);
    assert!(state.step(look(&[web()], &[])).contains(&guard(7, "veth7", None)));
}

#[test]
fn an_uplink_brings_its_record_and_is_no_endpoint() {
    let mut state = state(GUARDED);
    let ops = state.step(look(&[], &[(2, "eth0")]));
    assert_eq!(ops, [guard(2, "eth0", Some(uplink(b"eth0"))), Op::FactsChanged]);
    assert!(state.endpoints.is_empty());
    assert_eq!(state.step(look(&[], &[])), [Op::Unguard { ifindex: 2, uplink: true }, Op::FactsChanged]);
}

#[test]
fn a_veth_that_goes_is_unguarded_before_it_is_forgotten() {
    for event in [look(&[], &[]), Event::Vanished { ifindex: 7 }] {
        let mut state = state(GUARDED);
        state.step(look(&[web()], &[]));
        let ops = state.step(event);
        assert!(matches!(ops[0], Op::RemoveSender { .. }), "{ops:?}");
        assert_eq!(ops[1..3], [Op::Unguard { ifindex: 7, uplink: false }, Op::RemoveEndpoint { ifindex: 7 }]);
        assert!(!state.step(look(&[], &[])).iter().any(|op| matches!(op, Op::Unguard { .. })), "once");
    }
}

#[test]
fn an_uplink_that_becomes_a_workload_changes_its_record_unguarded() {
    let mut state = state(GUARDED);
    state.step(look(&[], &[(7, "eth7")]));
    let ops = state.step(look(&[web()], &[]));
    let at = |wanted: fn(&Op) -> bool| ops.iter().position(wanted).unwrap();
    let off = at(|op| *op == Op::Unguard { ifindex: 7, uplink: true });
    let record = at(|op| matches!(op, Op::WriteEndpoint { ifindex: 7, .. }));
    let on = at(|op| matches!(op, Op::Guard { ifindex: 7, uplink: None, .. }));
    assert!(off < record && record < on, "{ops:?}");
}

#[test]
fn a_refused_guard_is_tried_again_and_told() {
    let mut state = state(GUARDED);
    let host = look(&[], &[(2, "eth0")]);
    let first = state.step(host.clone());
    let refused = Event::GuardFailed { ifindex: 2, reason: "occupied".to_owned() };
    assert!(state.step(refused).is_empty());
    assert_eq!(state.guards.failing().collect::<Vec<_>>(), [("eth0", "occupied")]);
    assert_eq!(state.step(host.clone()), first);
    assert_eq!(state.guards.failing().count(), 0);
    assert_eq!(state.step(host), []);
}

#[test]
fn guards_of_an_earlier_daemon_run_this_program_or_go() {
    let running = BTreeSet::from([2, 3]);
    let mut state = state(GUARDED);
    let uplinks = BTreeMap::from([(2, uplink(b"eth0")), (3, uplink(b"eth1"))]);
    let facts = Facts { uplinks, guard_pins: running, ..told(&state) };
    assert_eq!(state.adopt(&facts), [Op::FactsChanged]);
    let ops = state.step(look(&[], &[(2, "eth0")]));
    let unguard = Op::Unguard { ifindex: 3, uplink: true };
    let guard = guard(2, "eth0", Some(uplink(b"eth0")));
    assert_eq!(ops, [unguard, Op::FactsChanged, guard, Op::FactsChanged]);
}

#[test]
fn what_an_endpoint_provides_is_in_its_first_record() {
    let declared = "[[endpoint]]\nmatch = \"veth7\"\nprovides = [\"dhcp-server\", \"router\"]";
    let mut state = state(declared);
    let ops = state.step(Event::Appeared { ifindex: 7, name: "veth7".to_owned() });
    let flags = |ops: &[Op]| {
        ops.iter().find_map(|op| match op {
            Op::WriteEndpoint { endpoint, .. } => Some(endpoint.flags),
            _ => None,
        })
    };
    assert_eq!(flags(&ops), Some(Endpoint::DHCP_SERVER | Endpoint::ROUTER));
    let ops = state.step(look(&[web()], &[]));
    assert_eq!(flags(&ops), Some(Endpoint::ADDRESSED | Endpoint::DHCP_SERVER | Endpoint::ROUTER));
}

#[test]
fn what_is_provided_no_longer_is_written_at_once() {
    let mut before = state("[[endpoint]]\nmatch = \"veth7\"\nprovides = [\"router\"]");
    before.step(look(&[web()], &[]));
    let record = before.endpoints[&7].record;
    let mut after = state("");
    after.adopt(&left_behind((7, record), &[]));
    let ops = after.step(look(&[web()], &[]));
    let written = Endpoint { flags: Endpoint::ADDRESSED, ..record };
    assert!(ops.contains(&Op::WriteEndpoint { ifindex: 7, endpoint: written }), "{ops:?}");
    assert_eq!(ops.last(), Some(&Op::FactsChanged), "flows judged under the old record are stale");
}

//! What an earlier daemon left, and what somebody else broke.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::{AddressOwner, EndpointId};

use super::{
    event::{Event, Facts, Observation},
    op::{Op, Owned},
    step::State,
    step_tests::{bridged, state, told},
    uplinks,
};
use crate::config::Trust;

fn owned(text: &str) -> Owned {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// A host with an address, an endpoint and a guarded uplink.
fn settled() -> State {
    let mut state = state("[guard]\nmatch = [\"eth*\"]");
    state.step(Event::Observed(Observation {
        host: BTreeSet::from(["192.0.2.1/32".parse().unwrap()]),
        veths: BTreeMap::from([(7, bridged("veth7", &["10.1.0.5"]))]),
        uplinks: BTreeMap::from([(2, "eth0".to_owned())]),
        ..Observation::default()
    }));
    state
}

/// What the kernel holds when all is well.
fn whole(state: &State) -> Facts {
    let owner = |id, ifindex, stamp, flags| AddressOwner { endpoint: id, ifindex, stamp, flags };
    let record = state.endpoints[&7].record;
    Facts {
        endpoints: BTreeMap::from([(7, record)]),
        attached: BTreeSet::from([7]),
        linked: BTreeSet::from([7]),
        addresses: BTreeMap::from([
            (owned("10.1.0.5"), owner(record.id, 7, record.stamp, AddressOwner::LEARNED)),
            (owned("192.0.2.1"), AddressOwner::HOST),
        ]),
        uplinks: BTreeMap::from([(2, uplinks::record("eth0", Trust::Fabric))]),
        guards: BTreeSet::from([2]),
        guard_pins: BTreeSet::from([2]),
        link_pins: BTreeSet::from([7]),
        senders: state.senders.clone(),
        ..told(state)
    }
}

fn inspect(state: &mut State, facts: &Facts) -> Vec<Op> {
    state.step(Event::Inspected(facts.clone().into()))
}

#[test]
fn what_is_whole_is_left_alone() {
    let mut state = settled();
    let facts = whole(&state);
    assert_eq!(inspect(&mut state, &facts), []);
    assert_eq!(state.repairs.count(), 0);
}

#[test]
fn everything_that_is_gone_comes_back() {
    let mut state = settled();
    let whole = whole(&state);
    let ops = inspect(&mut state, &Facts::default());
    assert!(ops.contains(&Op::Attach { ifindex: 7, name: "veth7".to_owned() }));
    assert!(ops.contains(&Op::WriteEndpoint { ifindex: 7, endpoint: whole.endpoints[&7] }));
    for (network, owner) in &whole.addresses {
        assert!(ops.contains(&Op::WriteAddress { network: *network, owner: *owner }), "{network:?}");
    }
    assert!(ops.iter().any(|op| matches!(op, Op::Guard { ifindex: 2, uplink: Some(_), .. })));
    assert_eq!(ops.last(), Some(&Op::FactsChanged));
    // The record, the programs, two addresses, the guard, the host's mode and end, a masked sender.
    assert_eq!(state.repairs.latest().count(), 8);
}

#[test]
fn what_nobody_wrote_goes() {
    let mut state = settled();
    let mut facts = whole(&state);
    let forged = AddressOwner { endpoint: EndpointId(9), ifindex: 9, ..AddressOwner::default() };
    facts.addresses.insert(owned("10.1.0.66"), forged);
    facts.endpoints.insert(9, facts.endpoints[&7]);
    let ops = inspect(&mut state, &facts);
    assert_eq!(
        ops,
        [Op::RemoveEndpoint { ifindex: 9 }, Op::RemoveAddress(owned("10.1.0.66")), Op::FactsChanged]
    );
}

#[test]
fn who_keeps_breaking_the_same_is_answered_ever_less_often() {
    let mut state = settled();
    let broken = Facts { attached: BTreeSet::new(), ..whole(&state) };
    let mended = (0..100).filter(|_| !inspect(&mut state, &broken).is_empty()).count();
    assert!((4..=10).contains(&mended), "{mended} repairs in 100 inspections");
    assert_eq!(state.repairs.contested().count(), 1);
}

#[test]
fn who_breaks_something_once_in_a_while_fights_nobody() {
    let mut state = settled();
    let whole = whole(&state);
    let broken = Facts { attached: BTreeSet::new(), ..whole.clone() };
    for round in 0..20 {
        assert_eq!(inspect(&mut state, &broken).len(), 1, "round {round}");
        for _ in 0..3 {
            assert_eq!(inspect(&mut state, &whole), []);
        }
    }
    assert_eq!(state.repairs.contested().count(), 0);
}

#[test]
fn what_hangs_on_nothing_is_not_adopted() {
    let before = settled();
    let facts = Facts { linked: BTreeSet::new(), guard_pins: BTreeSet::from([3]), ..whole(&before) };
    let mut after = state("");
    let ops = after.adopt(&facts);
    assert_eq!(
        ops,
        [
            Op::RemoveSender { stamp: 0x0020_0000 },
            Op::RemoveEndpoint { ifindex: 7 },
            Op::Forget { ifindex: 7, name: "veth7".to_owned() },
            Op::RemoveAddress(owned("10.1.0.5")),
            Op::Unguard { ifindex: 3, uplink: false },
            Op::RemoveEndpoint { ifindex: 2 },
            Op::FactsChanged,
        ]
    );
    assert!(after.endpoints.is_empty() && after.host.contains(&owned("192.0.2.1")));
}

//! Modes, uplinks, masked senders and what is learned anew, in the pure step.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::{
    endpoint::{Endpoint, EndpointId},
    mode::{Mode, ModeRecord},
};

use super::{
    event::{Event, Facts, Observation, Veth},
    op::Op,
    step_tests::{bridged, state, told},
    uplinks,
};
use crate::{config::Trust, shortcut::Kinds};

fn look(veths: &[(u32, Veth)], uplinks: &[(u32, &str)]) -> Event {
    let uplinks = uplinks.iter().map(|(ifindex, name)| (*ifindex, (*name).to_owned())).collect();
    Event::Observed(Observation { veths: veths.iter().cloned().collect(), uplinks, ..Observation::default() })
}

fn position(ops: &[Op], wanted: impl Fn(&Op) -> bool) -> usize {
    ops.iter().position(wanted).unwrap_or_else(|| panic!("not in {ops:?}"))
}

fn senders(ops: &[Op]) -> usize {
    ops.iter().filter(|op| matches!(op, Op::WriteSender { .. })).count()
}

#[test]
fn the_host_is_told_first_and_only_when_it_was_not() {
    let mut first = state("mode = \"observe\"");
    let ops = first.adopt(&Facts::default());
    let slot = ModeRecord::HOST;
    assert_eq!(ops[0], Op::ConfigureMode { slot, mode: Some(Mode::Observe) });
    assert!(matches!(ops[1], Op::WriteHostEnd(_)));
    let mut again = state("mode = \"observe\"");
    let facts = told(&again);
    assert_eq!(again.adopt(&facts), [Op::FactsChanged], "nothing flaps at a restart");
}

#[test]
fn an_endpoint_has_its_mode_before_it_is_attached_to() {
    let mut state = state("[[endpoint]]\nmatch = \"veth7\"\nmode = \"audit\"");
    let ops = state.step(Event::Appeared { ifindex: 7, name: "veth7".to_owned() });
    let reset = position(&ops, |op| *op == Op::ResetCounters(EndpointId(1)));
    let mode = position(&ops, |op| *op == Op::ConfigureMode { slot: 1, mode: Some(Mode::Audit) });
    assert!(reset < mode && mode < position(&ops, |op| matches!(op, Op::Attach { .. })), "{ops:?}");
    assert!(
        !state
            .step(look(&[(7, bridged("veth7", &[]))], &[]))
            .iter()
            .any(|op| matches!(op, Op::ConfigureMode { .. }))
    );
}

#[test]
fn another_host_file_is_told_with_the_next_look_and_inspection_mends_it() {
    let mut state = state("");
    state.step(look(&[(7, bridged("veth7", &["10.1.0.5"]))], &[]));
    let other = super::step_tests::state(
        "mode = \"audit\"\n[host]\nallow = []\n[[endpoint]]\nmatch = \"veth7\"\nmode = \"observe\"",
    );
    state.step(Event::Configured(other.config.clone()));
    let ops = state.step(look(&[(7, bridged("veth7", &["10.1.0.5"]))], &[]));
    assert!(ops.contains(&Op::ConfigureMode { slot: 0, mode: Some(Mode::Audit) }), "{ops:?}");
    assert!(ops.contains(&Op::ConfigureMode { slot: 1, mode: Some(Mode::Observe) }), "{ops:?}");
    assert!(matches!(ops[..], [.., Op::FactsChanged]), "what the host may be asked is remembered by flows");
    let mended = state.step(Event::Inspected(Box::default()));
    assert!(mended.contains(&Op::ConfigureMode { slot: 1, mode: Some(Mode::Observe) }), "{mended:?}");
    assert!(mended.iter().any(|op| matches!(op, Op::WriteHostEnd(_))) && senders(&mended) == 1);
}

#[test]
fn only_who_owns_one_address_is_known_behind_nat() {
    let mut state = state("[[endpoint]]\nmatch = \"veth9\"\naddresses = [\"10.9.0.0/24\"]");
    let one = (7, bridged("veth7", &["10.1.0.5", "2001:db8:1::5"]));
    let two = (8, bridged("veth8", &["10.1.0.6", "10.1.0.7"]));
    let prefix = (9, bridged("veth9", &[]));
    let ops = state.step(look(&[one.clone(), two.clone(), prefix], &[]));
    let written: Vec<_> = ops
        .iter()
        .filter_map(|op| if let Op::WriteSender { sender, .. } = op { Some(*sender) } else { None })
        .collect();
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!((written[0].ifindex, written[0].v4.to_string()), (7, "10.1.0.5".to_owned()));
    assert_eq!(written[0].v6.to_string(), "2001:db8:1::5");
    // What it has no more goes before the address can be another's.
    let ops = state.step(look(&[two], &[]));
    assert!(matches!(ops[0], Op::RemoveSender { .. }), "{ops:?}");
}

#[test]
fn stamps_are_shared_only_when_there_are_no_others_and_then_stand_for_nobody() {
    // Two bits: a single stamp, for three endpoints.
    let mut state = state("[datapath]\nmark_mask = \"0x00030000\"");
    let veth = |last: u32| {
        (
            last,
            Veth {
                mac: Some([2, 0, 0, 0, 0, last as u8]),
                ..bridged(&format!("veth{last}"), &[&*format!("10.1.0.{last}")])
            },
        )
    };
    assert_eq!(senders(&state.step(look(&[veth(5)], &[]))), 1);
    let ops = state.step(look(&[veth(5), veth(6)], &[]));
    assert!(matches!(ops[0], Op::RemoveSender { .. }) && senders(&ops) == 0, "{ops:?}");
    // Three bits: five stamps. The id after the last one whose stamp is free is given.
    let mut state = super::step_tests::state("[datapath]\nmark_mask = \"0x00070000\"");
    state.step(look(&[veth(5), veth(6), veth(7)], &[]));
    state.step(look(&[veth(5), veth(7)], &[]));
    for last in [8, 9, 10] {
        state.step(Event::Appeared { ifindex: last, name: format!("veth{last}") });
    }
    let stamps: BTreeSet<u32> = state.endpoints.values().map(|endpoint| endpoint.record.stamp).collect();
    assert_eq!((state.endpoints.len(), stamps.len()), (5, 5), "{:?}", state.endpoints);
}

#[test]
fn an_uplink_has_its_record_before_its_program_and_after_it() {
    let mut state = state("[[uplink]]\nmatch = \"eth*\"\ntrust = \"external\"");
    let record = uplinks::record("eth0", Trust::External);
    assert_eq!(record.flags, Endpoint::UPLINK | Endpoint::EXTERNAL);
    let host = look(&[], &[(2, "eth0")]);
    let ops = state.step(host.clone());
    assert_eq!(ops, [Op::AttachUplink { ifindex: 2, name: "eth0".to_owned(), record }, Op::FactsChanged]);
    assert_eq!(state.step(host.clone()), []);
    state.step(Event::UplinkFailed { ifindex: 2, reason: "no room".to_owned() });
    assert_eq!(state.uplinks.failing().collect::<Vec<_>>(), [("eth0", "no room")]);
    assert_eq!(state.step(host), ops, "tried again");
    let gone = state.step(look(&[], &[]));
    assert_eq!(
        gone,
        [Op::DetachUplink { ifindex: 2, name: "eth0".to_owned(), record: true }, Op::FactsChanged]
    );
}

#[test]
fn the_record_of_an_uplink_goes_with_the_last_that_needs_it() {
    let both = "[guard]\nmatch = [\"eth*\"]\n[[uplink]]\nmatch = \"eth*\"";
    let [guard, uplink] = ["[guard]\nmatch = [\"eth*\"]", "[[uplink]]\nmatch = \"eth*\""];
    let host = look(&[], &[(2, "eth0")]);
    for (left, wanted) in [
        (guard, Op::DetachUplink { ifindex: 2, name: "eth0".to_owned(), record: false }),
        (uplink, Op::Unguard { ifindex: 2, uplink: false }),
    ] {
        let mut state = state(both);
        state.step(host.clone());
        state.step(Event::Configured(super::step_tests::state(left).config.clone()));
        let ops = state.step(host.clone());
        assert!(
            ops.contains(&wanted) && !ops.iter().any(|op| matches!(op, Op::RemoveEndpoint { .. })),
            "{ops:?}"
        );
    }
}

#[test]
fn an_uplink_is_adopted_and_mended() {
    let mut state = state("[[uplink]]\nmatch = \"eth0\"");
    let record = |name| uplinks::record(name, Trust::Fabric);
    let facts = Facts {
        uplinks: BTreeMap::from([(2, record("eth0")), (3, record("eth1"))]),
        uplinks_linked: BTreeSet::from([2, 3]),
        ..told(&state)
    };
    assert_eq!(state.adopt(&facts), [Op::FactsChanged]);
    let ops = state.step(look(&[], &[(2, "eth0")]));
    let attach = Op::AttachUplink { ifindex: 2, name: "eth0".to_owned(), record: record("eth0") };
    assert!(
        ops.contains(&attach) && ops.iter().any(|op| matches!(op, Op::DetachUplink { ifindex: 3, .. })),
        "{ops:?}"
    );
    let mended = state.step(Event::Inspected(told(&state).into()));
    let shut = Op::WriteOutside { ifindex: 2, kinds: Kinds::NONE };
    assert_eq!(mended, [shut, attach, Op::FactsChanged], "what may have been lost is shut first");
}

#[test]
fn any_mac_is_no_mac_in_the_record() {
    let mut state = state("[[endpoint]]\nmatch = \"veth7\"\nmacs = \"any\"");
    state.step(look(&[(7, bridged("veth7", &["10.1.0.5"]))], &[]));
    assert_eq!(state.endpoints[&7].record.mac, [0; 6]);
}

#[test]
fn what_is_learned_anew_replaces_what_was_learned_first() {
    let mut state = state("");
    state.step(look(&[(7, bridged("veth7", &["10.1.0.5"]))], &[]));
    let moved = (7, Veth { mac: Some([2, 0, 0, 0, 0, 9]), ..bridged("veth7", &["10.1.0.77"]) });
    state.step(look(std::slice::from_ref(&moved), &[]));
    assert!(!state.endpoints[&7].conflicts.is_empty(), "refused: it came later");
    let ops = state.step(Event::Relearn { ifindex: 7 });
    assert!(
        ops.iter().any(|op| matches!(op, Op::RemoveAddress(network) if network.text() == "10.1.0.5")),
        "{ops:?}"
    );
    assert_eq!(ops.last(), Some(&Op::FactsChanged));
    state.step(look(&[moved], &[]));
    let endpoint = &state.endpoints[&7];
    assert_eq!(endpoint.owned.keys().map(|network| network.text()).collect::<Vec<_>>(), ["10.1.0.77"]);
    assert_eq!((endpoint.record.mac, endpoint.conflicts.len()), ([2, 0, 0, 0, 0, 9], 0));
}

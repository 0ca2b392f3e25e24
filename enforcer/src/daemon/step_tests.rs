//! The core against hand-written looks at a host.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use enforcer_common::{
    endpoint::{AddressOwner, Endpoint, EndpointId},
    mode::{Mode, ModeRecord},
};

use super::{
    event::{Event, Facts, Observation, Veth},
    op::{Op, Owned},
    step::State,
};
use crate::config::Config;

pub(super) fn state(config: &str) -> State {
    let config = Config::parse(Path::new("enforcer.toml"), config).unwrap();
    State::new(Arc::new(config))
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn owned(text: &str) -> Owned {
    text.parse::<IpAddr>().unwrap().into()
}

/// A veth on a bridge with `10.1.0.0/24` and `2001:db8:1::/64`.
pub(super) fn bridged(name: &str, inside: &[&str]) -> Veth {
    Veth {
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        subnets: vec!["10.1.0.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()],
        inside: addresses(inside),
        ..Veth::default()
    }
}

fn routed(name: &str, routes: &[&str], inside: &[&str]) -> Veth {
    Veth { subnets: Vec::new(), routed: addresses(routes), ..bridged(name, inside) }
}

fn look(host: &[&str], veths: &[(u32, Veth)]) -> Event {
    let veths: BTreeMap<u32, Veth> = veths.iter().cloned().collect();
    let host = host.iter().map(|text| text.parse::<IpAddr>().unwrap().into()).collect();
    Event::Observed(Observation { host, veths, ..Observation::default() })
}

/// What the kernel holds when it was told of the host what its file says, and of nothing else.
pub(super) fn told(state: &State) -> Facts {
    let configured = Mode::number(Some(state.config.mode));
    let host = ModeRecord { configured, ..ModeRecord::default() };
    Facts {
        modes: BTreeMap::from([(ModeRecord::HOST, host)]),
        host_end: *state.config.host.end(),
        ..Facts::default()
    }
}

/// What an earlier daemon left of one endpoint, with its programs still there.
pub(super) fn left_behind(endpoint: (u32, Endpoint), addresses: &[(Owned, AddressOwner)]) -> Facts {
    Facts {
        endpoints: BTreeMap::from([endpoint]),
        linked: BTreeSet::from([endpoint.0]),
        addresses: addresses.iter().copied().collect(),
        ..Facts::default()
    }
}

fn written(ops: &[Op]) -> Vec<(String, u32)> {
    let writes = ops.iter().filter_map(|op| match op {
        Op::WriteAddress { network, owner } => Some((network.text(), owner.ifindex)),
        _ => None,
    });
    writes.collect()
}

fn removed(ops: &[Op]) -> Vec<String> {
    let removals = ops.iter().filter_map(|op| match op {
        Op::RemoveAddress(network) => Some(network.text()),
        _ => None,
    });
    removals.collect()
}

#[test]
fn a_new_interface_is_closed_before_anything_is_known_of_it() {
    let mut state = state("");
    let ops = state.step(Event::Appeared { ifindex: 7, name: "veth7".to_owned() });
    let id = EndpointId(1);
    assert_eq!(ops[0], Op::ResetCounters(id));
    assert!(
        matches!(&ops[1], Op::WriteEndpoint { ifindex: 7, endpoint } if endpoint.id == id && endpoint.flags == 0)
    );
    assert_eq!(ops[2], Op::Attach { ifindex: 7, name: "veth7".to_owned() });
    assert!(
        state.step(Event::Appeared { ifindex: 7, name: "veth7".to_owned() }).is_empty(),
        "told twice, done once"
    );
}

#[test]
fn nothing_changes_when_nothing_changed() {
    let mut state = state("");
    let host = look(&["10.1.0.1", "fe80::1"], &[(7, bridged("veth7", &["10.1.0.5"]))]);
    assert!(!state.step(host.clone()).is_empty());
    assert_eq!(state.step(host), []);
}

#[test]
fn facts_move_after_the_last_write_and_only_then() {
    let mut state = state("");
    let ops = state.step(look(&["10.1.0.1"], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    assert_eq!(ops.last(), Some(&Op::FactsChanged));
    assert_eq!(ops.iter().filter(|op| **op == Op::FactsChanged).count(), 1);
}

#[test]
fn learned_addresses_stay_within_the_subnets_of_their_veth() {
    let mut state = state("");
    let inside = ["10.1.0.5", "192.0.2.9", "2001:db8:1::5", "fe80::5", "127.0.0.1"];
    let ops = state.step(look(&["10.1.0.1"], &[(7, bridged("veth7", &inside))]));
    let mine: Vec<String> =
        written(&ops).into_iter().filter(|(_, ifindex)| *ifindex == 7).map(|(text, _)| text).collect();
    assert_eq!(mine, ["10.1.0.5", "2001:db8:1::5"]);
}

#[test]
fn without_a_subnet_or_a_route_nothing_is_learned() {
    let mut state = state("");
    let ops = state.step(look(&[], &[(7, routed("veth7", &[], &["10.1.0.5"]))]));
    assert!(written(&ops).is_empty());
    assert!(state.endpoints[&7].owned.is_empty());
}

#[test]
fn host_routes_beat_what_the_workload_says() {
    let mut state = state("");
    let mut veth = routed("veth7", &["10.1.0.5"], &["10.1.0.6", "2001:db8:1::5"]);
    veth.subnets = vec!["10.1.0.0/24".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()];
    let ops = state.step(look(&[], &[(7, veth)]));
    assert_eq!(written(&ops), [("10.1.0.5".to_owned(), 7), ("2001:db8:1::5".to_owned(), 7)], "per family");
}

#[test]
fn declarations_beat_routes_and_may_be_prefixes() {
    let mut state = state("[[endpoint]]\nmatch = \"veth7\"\naddresses = [\"10.5.0.0/28\"]");
    let ops = state.step(look(&[], &[(7, routed("veth7", &["10.1.0.5"], &[]))]));
    assert_eq!(written(&ops), [("10.5.0.0/28".to_owned(), 7)]);
}

#[test]
fn another_host_file_counts_with_the_next_look() {
    let declared = "[[endpoint]]\nmatch = \"veth-web\"\naddresses = [\"10.9.0.9\"]";
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth-web", &["10.1.0.5"]))]));
    let config = Config::parse(Path::new("enforcer.toml"), declared).unwrap();
    assert!(state.step(Event::Configured(Arc::new(config))).is_empty());
    let ops = state.step(look(&[], &[(7, bridged("veth-web", &["10.1.0.5"]))]));
    assert_eq!(
        (removed(&ops), written(&ops)),
        (vec!["10.1.0.5".to_owned()], vec![("10.9.0.9".to_owned(), 7)])
    );
}

#[test]
fn a_learned_address_sticks_until_somebody_else_claims_it() {
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    let ops = state.step(look(&[], &[(7, bridged("veth7", &[]))]));
    assert!(removed(&ops).is_empty(), "a workload that is busy restarting keeps its address");
    let ops = state.step(look(&[], &[(7, bridged("veth7", &[])), (8, bridged("veth8", &["10.1.0.5"]))]));
    assert_eq!(written(&ops), [("10.1.0.5".to_owned(), 8)], "given up is given up");
}

#[test]
fn nobody_gets_an_address_that_somebody_has() {
    let mut state = state("");
    let first = (7, bridged("veth7", &["10.1.0.5"]));
    state.step(look(&[], std::slice::from_ref(&first)));
    let ops = state.step(look(&[], &[first, (6, bridged("veth6", &["10.1.0.5"]))]));
    assert!(written(&ops).is_empty() && removed(&ops).is_empty(), "{ops:?}");
    assert_eq!(state.endpoints[&6].conflicts, BTreeSet::from([owned("10.1.0.5")]));
    assert!(state.endpoints[&6].owned.is_empty());
}

#[test]
fn a_workload_joins_nothing_by_taking_further_addresses() {
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5", "10.1.0.6", "2001:db8:1::5"]))]));
    let more = ["10.1.0.5", "10.1.0.6", "10.1.0.77", "2001:db8:1::5", "2001:db8:1::77"];
    let ops = state.step(look(&[], &[(7, bridged("veth7", &more))]));
    assert_eq!(written(&ops), [("2001:db8:1::77".to_owned(), 7)], "SLAAC goes on within its /64");
    assert_eq!(state.endpoints[&7].conflicts, BTreeSet::from([owned("10.1.0.77")]));
}

#[test]
fn what_is_declared_is_nobody_elses_to_learn() {
    let mut state = state("[[endpoint]]\nmatch = \"veth9\"\naddresses = [\"10.1.0.64/28\", \"10.1.0.5\"]");
    state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5"])), (8, bridged("veth8", &["10.1.0.70"]))]));
    let all = [
        (7, bridged("veth7", &["10.1.0.5"])),
        (8, bridged("veth8", &["10.1.0.71"])),
        (9, bridged("veth9", &[])),
    ];
    let ops = state.step(look(&[], &all));
    assert!(written(&ops).contains(&("10.1.0.5".to_owned(), 9)), "declared beats learned: {ops:?}");
    assert!(state.endpoints[&7].owned.is_empty());
    let mut state = self::state("[[endpoint]]\nmatch = \"veth9\"\naddresses = [\"10.1.0.64/28\"]");
    state.step(look(&[], &[(8, bridged("veth8", &["10.1.0.70"])), (9, bridged("veth9", &[]))]));
    assert_eq!(state.endpoints[&8].conflicts, BTreeSet::from([owned("10.1.0.70")]));
}

#[test]
fn the_mac_is_the_one_of_the_first_address() {
    let mut state = state("");
    let with_mac =
        |mac: u8, inside: &[&str]| Veth { mac: Some([2, 0, 0, 0, 0, mac]), ..bridged("veth7", inside) };
    for (mac, inside, expected) in [(1, vec![], 1), (2, vec!["10.1.0.5"], 2), (3, vec!["10.1.0.5"], 2)] {
        state.step(look(&[], &[(7, with_mac(mac, &inside))]));
        assert_eq!(state.endpoints[&7].mac, Some([2, 0, 0, 0, 0, expected]));
    }
}

#[test]
fn a_new_mark_mask_gives_everything_a_new_stamp() {
    let mut before = state("");
    let host = look(&[], &[(7, bridged("veth7", &["10.1.0.5"]))]);
    before.step(host.clone());
    let record = before.endpoints[&7].record;
    let owner =
        AddressOwner { endpoint: record.id, ifindex: 7, stamp: record.stamp, flags: AddressOwner::LEARNED };
    let mut after = state("[datapath]\nmark_mask = \"0xf000\"");
    after.adopt(&left_behind((7, record), &[(owned("10.1.0.5"), owner)]));
    let ops = after.step(host);
    let stamps = ops.iter().filter_map(|op| match op {
        Op::WriteAddress { owner, .. } => Some(owner.stamp),
        Op::WriteEndpoint { endpoint, .. } => Some(endpoint.stamp),
        _ => None,
    });
    assert_eq!(stamps.collect::<Vec<_>>(), [0x2000, 0x2000]);
}

#[test]
fn only_learned_addresses_survive_a_restart_unclaimed() {
    let mut before = state("");
    before.step(look(&[], &[(7, routed("veth7", &["10.1.0.5"], &[]))]));
    let record = before.endpoints[&7].record;
    let owner = AddressOwner { endpoint: record.id, ifindex: 7, stamp: record.stamp, flags: 0 };
    let mut after = state("");
    after.adopt(&left_behind((7, record), &[(owned("10.1.0.5"), owner)]));
    let ops = after.step(look(&[], &[(7, routed("veth7", &[], &[]))]));
    assert_eq!(removed(&ops), ["10.1.0.5"], "the route went while no daemon looked");
}

#[test]
fn an_address_is_free_again_when_its_veth_is_gone() {
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5"])), (8, bridged("veth8", &["10.1.0.5"]))]));
    let ops = state.step(look(&[], &[(8, bridged("veth8", &["10.1.0.5"]))]));
    let removal = ops.iter().position(|op| *op == Op::RemoveAddress(owned("10.1.0.5"))).unwrap();
    let write = ops.iter().position(|op| matches!(op, Op::WriteAddress { .. })).unwrap();
    assert!(removal < write, "taken away before it is given");
    assert_eq!(ops[1], Op::RemoveEndpoint { ifindex: 7 });
    assert!(ops.contains(&Op::Forget { ifindex: 7, name: "veth7".to_owned() }));
    assert!(state.endpoints[&8].conflicts.is_empty());
}

#[test]
fn a_route_that_moves_takes_its_address_along() {
    let mut state = state("");
    let here =
        |a: &[&str], b: &[&str]| look(&[], &[(7, routed("veth7", a, &[])), (8, routed("veth8", b, &[]))]);
    state.step(here(&["10.1.0.5"], &[]));
    let ops = state.step(here(&[], &["10.1.0.5"]));
    assert_eq!(removed(&ops), ["10.1.0.5"]);
    assert_eq!(written(&ops), [("10.1.0.5".to_owned(), 8)]);
}

#[test]
fn the_hosts_own_address_is_never_a_workloads() {
    let mut state = state("");
    state.step(look(&["10.1.0.1"], &[(7, bridged("veth7", &["10.1.0.1"]))]));
    assert_eq!(state.endpoints[&7].conflicts, BTreeSet::from([owned("10.1.0.1")]));
    // And one that becomes the host's is taken from whoever had it.
    let ops = state.step(look(&["10.1.0.1"], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    assert_eq!(written(&ops), [("10.1.0.5".to_owned(), 7)]);
    let ops = state.step(look(&["10.1.0.1", "10.1.0.5"], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    assert_eq!(written(&ops), [("10.1.0.5".to_owned(), 0)]);
    assert!(!state.endpoints[&7].owned.contains_key(&owned("10.1.0.5")));
}

#[test]
fn a_failed_attachment_is_tried_again_with_the_next_look() {
    let mut state = state("");
    let host = look(&[], &[(7, bridged("veth7", &["10.1.0.5"]))]);
    state.step(host.clone());
    assert!(state.step(Event::AttachFailed { ifindex: 7 }).is_empty());
    assert_eq!(state.step(host.clone()), [Op::Attach { ifindex: 7, name: "veth7".to_owned() }]);
    assert_eq!(state.step(host), []);
}

#[test]
fn ignoring_unknown_workloads_waits_for_their_address() {
    let mut state = state("[attach]\nunknown = \"ignore\"");
    assert!(state.step(Event::Appeared { ifindex: 7, name: "veth7".to_owned() }).is_empty());
    assert_eq!(state.step(look(&[], &[(7, bridged("veth7", &[]))])), []);
    let ops = state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    assert!(ops.iter().any(|op| matches!(op, Op::Attach { ifindex: 7, .. })));
}

#[test]
fn ids_rest_before_they_are_used_again() {
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth7", &[]))]));
    state.step(look(&[], &[]));
    state.step(look(&[], &[(8, bridged("veth8", &[]))]));
    assert_eq!(state.endpoints[&8].id, EndpointId(2));
}

#[test]
fn adopting_keeps_ids_and_learned_addresses_and_attaches_again() {
    let mut before = state("");
    let host = look(&["10.1.0.1"], &[(7, bridged("veth7", &["10.1.0.5"]))]);
    let ops = before.step(host);
    let endpoints: Vec<_> = ops
        .iter()
        .filter_map(|op| match op {
            Op::WriteEndpoint { ifindex, endpoint } => Some((*ifindex, *endpoint)),
            _ => None,
        })
        .collect();
    let owners: Vec<_> = ops
        .iter()
        .filter_map(|op| match op {
            Op::WriteAddress { network, owner } => Some((*network, *owner)),
            _ => None,
        })
        .collect();
    let mut after = state("");
    after.adopt(&left_behind(endpoints[endpoints.len() - 1], &owners));
    let ops = after.step(look(&["10.1.0.1"], &[(7, bridged("veth7", &[]))]));
    assert_eq!(ops, [Op::Attach { ifindex: 7, name: "veth7".to_owned() }], "nothing else changes");
    assert_eq!(after.endpoints[&7].id, before.endpoints[&7].id);
    assert!(after.endpoints[&7].owned.contains_key(&owned("10.1.0.5")));
}

#[test]
fn a_workload_that_takes_ever_new_addresses_owns_a_bounded_number() {
    let mut state = state("");
    for hundred in 0..20_u32 {
        let inside: Vec<String> = (0..100).map(|number| format!("2001:db8:1::{hundred}:{number}")).collect();
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        state.step(look(&[], &[(7, bridged("veth7", &inside))]));
        let owned = state.endpoints[&7].owned.len();
        assert!((1..=64).contains(&owned), "{owned} addresses after look {hundred}");
    }
}

#[test]
fn an_interface_without_an_id_is_attached_to_and_closed() {
    let mut state = state("");
    let veth = |ifindex: u32| (ifindex, Veth { name: format!("veth{ifindex}"), ..Veth::default() });
    let many: Vec<(u32, Veth)> = (1..=4096).map(veth).collect();
    let ops = state.step(look(&[], &many));
    let attached = ops.iter().filter(|op| matches!(op, Op::Attach { .. })).count();
    let registered = ops.iter().filter(|op| matches!(op, Op::WriteEndpoint { .. })).count();
    assert_eq!((attached, registered), (4096, 4095));
    assert_eq!(state.unregistered.keys().collect::<Vec<_>>(), [&4096]);
    assert_eq!(state.step(look(&[], &many)), [], "done once");
    assert!(
        state
            .step(look(&[], &many[..4095]))
            .contains(&Op::Forget { ifindex: 4096, name: "veth4096".to_owned() })
    );
}

#[test]
fn an_index_that_is_used_again_inherits_nothing() {
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    let ops = state.step(Event::Vanished { ifindex: 7 });
    assert_eq!(removed(&ops), ["10.1.0.5"]);
    assert_eq!(ops.last(), Some(&Op::FactsChanged));
    let ops = state.step(look(&[], &[(7, bridged("other", &[]))]));
    assert!(ops.contains(&Op::Attach { ifindex: 7, name: "other".to_owned() }), "{ops:?}");
    assert!(state.endpoints[&7].owned.is_empty());
    assert_eq!(state.step(Event::Vanished { ifindex: 9 }), [], "nobody knew it");
}

#[test]
fn another_veth_with_the_same_index_inherits_nothing() {
    let mut state = state("");
    state.step(look(&[], &[(7, bridged("veth7", &["10.1.0.5"]))]));
    let first = state.endpoints[&7].id;
    let other = Veth { mac: Some([2, 0, 0, 0, 0, 9]), ..bridged("veth9", &["10.1.0.6"]) };
    let ops = state.step(look(&[], &[(7, other)]));
    assert_eq!(removed(&ops), ["10.1.0.5"]);
    assert_eq!(written(&ops), [("10.1.0.6".to_owned(), 7)]);
    assert_ne!(state.endpoints[&7].id, first, "it counts as somebody else");
}

#[test]
fn a_mac_that_two_workloads_bear_tells_neither() {
    let declared = "[[endpoint]]\nmatch = \"mac:02:00:00:00:00:01\"\naddresses = [\"10.1.0.99\"]";
    let mut state = state(&format!("[attach]\nmatch = [\"veth*\"]\n{declared}"));
    let (first, second) = ((7, bridged("veth7", &[])), (8, bridged("veth8", &[])));
    let has_it = |state: &State, ifindex| state.endpoints[&ifindex].owned.contains_key(&owned("10.1.0.99"));
    state.step(look(&[], std::slice::from_ref(&first)));
    assert!(has_it(&state, 7));
    state.step(look(&[], &[first, second.clone()]));
    assert!(!has_it(&state, 7) && !has_it(&state, 8), "whose is it?");
    state.step(look(&[], &[second]));
    assert!(has_it(&state, 8));
}

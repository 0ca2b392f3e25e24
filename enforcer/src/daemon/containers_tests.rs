//! Whose containers endpoints are, look by look.

use std::{net::IpAddr, path::Path, sync::Arc};

use super::*;
use crate::{
    config::Config,
    daemon::event::{Event, Veth},
};

fn state() -> State {
    State::new(Arc::new(Config::parse(Path::new("enforcer.toml"), "").unwrap()))
}

/// A look that sees these workloads: interface, namespace, address.
fn look(workloads: &[(u32, i32, &str)]) -> Event {
    let veths = workloads.iter().map(|(ifindex, nsid, address)| {
        let veth = Veth {
            name: format!("veth{ifindex}"),
            nsid: Some(*nsid),
            routed: [address.parse::<IpAddr>().unwrap()].into(),
            ..Veth::default()
        };
        (*ifindex, veth)
    });
    Event::Observed(Observation { veths: veths.collect(), ..Observation::default() })
}

fn container(name: &str, nsid: Option<i32>, asked_at: u64) -> Container {
    let labels = [format!("docker:name:{name}")].into();
    Container { name: name.to_owned(), labels, nsid, unseen: None, asked_at }
}

/// These run; they were asked for just now.
fn told(state: &State, containers: &[(&str, Option<i32>)]) -> Event {
    let now = state.containers.looks();
    let containers = containers.iter().map(|(name, nsid)| container(name, *nsid, now)).collect();
    Event::Containers(Running { containers, asked_at: now, told_at: now })
}

/// What is known of the address of the workload behind an interface.
fn known(state: &State, ifindex: u32) -> Vec<&str> {
    state.endpoints[&ifindex].labels.iter().map(|label| label.strip_prefix("docker:name:").unwrap()).collect()
}

const WEB: (u32, i32, &str) = (7, 3, "10.1.0.5");

/// The workload `WEB`, and the container in its namespace.
fn begun(containers: &[(&str, Option<i32>)]) -> State {
    let mut state = state();
    state.step(look(&[WEB]));
    let told = told(&state, containers);
    state.step(told);
    state.step(look(&[WEB]));
    assert_eq!(known(&state, 7), [""; 0], "that look may have begun before");
    assert!(state.awaits_look());
    state.step(look(&[WEB]));
    assert!(!state.awaits_look());
    state
}

#[test]
fn a_container_is_the_workload_in_its_namespace_once_that_was_seen_again() {
    let state = begun(&[("web", Some(3)), ("db", Some(4)), ("host", None)]);
    assert_eq!(known(&state, 7), ["web"]);
    let mut expected = Labels::none();
    expected.add("docker:name:web", "10.1.0.5/32".parse().unwrap());
    assert_eq!(state.labels(), Some(expected));
}

#[test]
fn several_containers_in_a_namespace_are_one_workload() {
    assert_eq!(known(&begun(&[("web", Some(3)), ("proxy", Some(3))]), 7), ["proxy", "web"]);
}

#[test]
fn several_interfaces_of_a_container_are_all_its() {
    let mut state = state();
    let both = [WEB, (8, 3, "10.2.0.5")];
    state.step(look(&both));
    let told = told(&state, &[("web", Some(3))]);
    state.step(told);
    (0..2).for_each(|_| drop(state.step(look(&both))));
    assert_eq!((known(&state, 7), known(&state, 8)), (vec!["web"], vec!["web"]));
}

#[test]
fn who_stops_is_forgotten_at_once() {
    let mut state = begun(&[("web", Some(3)), ("proxy", Some(3))]);
    let told = told(&state, &[("proxy", Some(3))]);
    state.step(told);
    assert_eq!(known(&state, 7), ["proxy"], "before any look");
}

#[test]
fn another_namespace_behind_the_same_interface_is_another_workload() {
    let mut state = begun(&[("web", Some(3))]);
    state.step(look(&[(7, 4, "10.1.0.5")]));
    assert_eq!(known(&state, 7), [""; 0]);
    assert_eq!(state.newcomers(), [4].into());
}

#[test]
fn who_came_after_a_container_was_asked_for_is_not_it_though_the_id_is_the_same() {
    let mut state = state();
    state.step(look(&[]));
    let told = told(&state, &[("gone", Some(3))]);
    // The namespace ended since, and a new one has its id.
    state.step(look(&[WEB]));
    state.step(told);
    (0..3).for_each(|_| drop(state.step(look(&[WEB]))));
    assert_eq!(known(&state, 7), [""; 0]);
    assert_eq!(state.newcomers(), [3].into(), "they are to be asked for again");
}

#[test]
fn before_anything_was_told_nothing_is_said() {
    let mut state = state();
    state.step(look(&[WEB]));
    assert_eq!(state.labels(), None);
    state.step(Event::Containers(Running::nothing()));
    assert_eq!(state.labels(), Some(Labels::none()));
    assert!(state.newcomers().is_empty(), "nobody is to be asked");
}

#[test]
fn nothing_is_said_of_a_prefix_in_which_somebody_else_owns_an_address() {
    let prefix: Owned = "10.1.0.0/24".parse::<ipnet::IpNet>().unwrap().into();
    let inner: Owned = "10.1.0.5".parse::<IpAddr>().unwrap().into();
    let (web, db) = (EndpointId(1), EndpointId(2));
    assert!(OwnedBy([(prefix, web), (inner, web)].into()).is_wholly(&prefix, web));
    let shared = OwnedBy([(prefix, web), (inner, db)].into());
    assert!(
        !shared.is_wholly(&prefix, web) && shared.is_wholly(&inner, db) && !shared.is_wholly(&inner, web)
    );
}

#[test]
fn whom_no_veth_leads_to_is_listed_with_the_reason() {
    let mut state = state();
    let unseen =
        Container { unseen: Some("it has the host's own network".to_owned()), ..container("ntp", None, 0) };
    let containers = vec![unseen, container("web", Some(3), 0)];
    state.step(Event::Containers(Running { containers, asked_at: 0, told_at: 0 }));
    assert_eq!(state.unenforced(), [("ntp".to_owned(), "it has the host's own network".to_owned())]);
}

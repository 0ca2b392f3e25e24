//! An attacker in a workload, or on a wire, who is after two victims that the policy keeps from it: by every way
//! that anybody has thought of. Nothing arrives, and each attempt is counted with its reason.
//!
//! Each attempt is made without an enforcer first. One that would not get anywhere then proves nothing, so most have
//! to arrive: [`Attempt::lands`].

mod attempts;
mod range;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use enforcer_tests::fabric::Underlay;
use rstest::rstest;

use attempts::{Attempt, attempts};
use range::{Range, TIMES, dropped, dropped_since};

#[rstest]
#[case::routed(Underlay::L3)]
#[case::flat(Underlay::Bridge)]
#[case::tunnelled(Underlay::Vxlan)]
fn no_attempt_reaches_its_victim_and_each_is_counted(#[case] underlay: Underlay) {
    let range = Range::build(underlay);
    let attempts = attempts(&range);
    let landed = range.make(&attempts);
    assert_lands(&attempts, &landed);
    assert!(!range.poisoned().is_empty(), "without an enforcer neighbours believe the attacker");

    let daemons = range.defend();
    let mut wrong = String::new();
    for (index, attempt) in attempts.iter().enumerate() {
        let before = dropped(&daemons);
        range.attempt(index, attempt);
        let seen = dropped_since(&daemons, &before, attempt.reason);
        let expected = [(attempt.reason.to_owned(), u64::from(TIMES))];
        if !seen.iter().map(|(reason, count)| (reason.clone(), *count)).eq(expected) {
            let _ = writeln!(wrong, "{attempt}: {} expected, seen {seen:?}", attempt.reason);
        }
    }
    let arrived: Vec<String> = range.arrived().iter().map(|index| attempts[*index].to_string()).collect();
    assert!(arrived.is_empty(), "these arrived:\n{}", arrived.join("\n"));
    assert!(
        wrong.is_empty(),
        "of {} attempts these were not counted as they should be:\n{wrong}",
        attempts.len()
    );
    println!("{} attempts, {} of which arrive without an enforcer", attempts.len(), landed.len());
}

/// What is meant to get through without an enforcer does.
#[track_caller]
fn assert_lands(attempts: &[Attempt], landed: &BTreeSet<usize>) {
    let astray: Vec<String> = attempts
        .iter()
        .enumerate()
        .filter(|(index, attempt)| attempt.lands && !landed.contains(index))
        .map(|(_, attempt)| attempt.to_string())
        .collect();
    assert!(astray.is_empty(), "without an enforcer these get nowhere:\n{}", astray.join("\n"));
}

/// A proxy on the host speaks for whoever asks it: who may ask is what decides.
#[test]
fn a_proxy_on_the_host_is_no_way_round() {
    let range = Range::build(Underlay::L3);
    let proxy = range.proxy();
    assert!(range.asks_proxy(), "without an enforcer the proxy leads to the victim");
    let daemons = range.defend();
    let (before, accepted) = (dropped(&daemons), proxy.accepted());
    assert!(!range.asks_proxy());
    assert_eq!(proxy.accepted(), accepted, "it never heard of it");
    assert!(dropped_since(&daemons, &before, "default-deny")["default-deny"] > 0);
}

//! The programs against the reference evaluator: random policies, facts and packets, and both must say the
//! same, whatever happened before.
//!
//! The scenes are the same in every run, so that a failure is about the change at hand; `PROPTEST_CASES`
//! asks for that many others. What is found is kept as a file and tried again for ever.

mod case;
mod found;
mod people;
mod policy;
mod scene;
mod story;
mod traffic;
mod wire;

use std::{cell::RefCell, collections::BTreeMap};

use case::Case;
use enforcer::policy::oracle::{Answer, Why};
use enforcer_common::event::Hook;
use enforcer_tests::prog_run::Lab;
use people::People;
use policy::Sketch;
use proptest::{
    collection::vec,
    option::weighted,
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use scene::{Scene, UPLINK};
use story::{Event, Mix};

/// Policies of one test, unless `PROPTEST_CASES` says otherwise, and the frames that they are worth at least.
const CASES: u32 = 520;
const FRAMES: u32 = 50_000;

/// How often each verdict was seen.
type Seen = BTreeMap<String, u32>;

#[test]
fn kernel_and_reference_agree_about_lone_frames() {
    let mix = Mix { lone: 20, talk: 1, pieces: 1, error: 1, dhcp: 2, apply: 1 };
    compare(
        1,
        mix,
        &[
            "bad-header-or-truncated",
            "vlan-tag",
            "ethertype",
            "martian",
            "mapped-address",
            "spoofed-source",
            "spoofed-neighbor",
            "unstamped-source",
            "masked-source",
            "not-owner",
            "router-advertisement",
            "spoofed-mac",
            "ip-options",
            "routing-header",
            "dhcp-server",
            "spoofed-outside",
            "multicast",
            "quarantined",
            "no-policy",
            "neighbor",
            "uplink",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_about_conversations() {
    let mix = Mix { lone: 3, talk: 20, pieces: 1, error: 1, dhcp: 1, apply: 3 };
    compare(
        2,
        mix,
        &[
            "shared-network",
            "allowed-by-rule",
            "reply",
            "host-allowed",
            "host-open",
            "denied-by-rule",
            "default-deny",
            "uplink",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_about_fragments() {
    let mix = Mix { lone: 2, talk: 3, pieces: 20, error: 1, dhcp: 1, apply: 2 };
    compare(
        3,
        mix,
        &[
            "fragment",
            "overlapping-fragment",
            "shared-network",
            "allowed-by-rule",
            "reply",
            "host-allowed",
            "host-open",
            "denied-by-rule",
            "bad-header-or-truncated",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_about_icmp_errors() {
    let mix = Mix { lone: 1, talk: 8, pieces: 2, error: 16, dhcp: 0, apply: 2 };
    compare(
        4,
        mix,
        &[
            "icmp-error",
            "bad-quote",
            "allowed-by-rule",
            "denied-by-rule",
            "default-deny",
            "host-open",
            "shared-network",
        ],
    );
}

#[test]
fn what_was_found_once_stays_found() {
    let mut lab = Lab::new();
    for (path, case) in found::all() {
        if let Err(error) = case.run(&mut lab, |_, _| {}) {
            panic!("{}{error}", path.display());
        }
    }
}

/// A scene and everything that happens in it, made into data.
type Sketched = (Scene, Option<Sketch>, Vec<Event>);

fn case((scene, policy, events): &Sketched) -> Case {
    let people = People::of(scene);
    Case {
        policy: policy.as_ref().map(Sketch::text),
        steps: story::steps(&people, events),
        endpoints: people.endpoints.into_iter().map(Into::into).collect(),
        host: people.host,
        uplinks: vec![UPLINK.to_owned()],
    }
}

/// Runs random cases of this kind; all verdicts of the list must be among them.
fn compare(seed: u8, mix: Mix, important: &[&str]) {
    let random = std::env::var_os("PROPTEST_CASES").is_some();
    let mut config =
        ProptestConfig { max_shrink_iters: 400, failure_persistence: None, ..Default::default() };
    let mut runner = if random {
        TestRunner::new(config)
    } else {
        config.cases = CASES;
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    };
    let lab = RefCell::new((Lab::new(), Seen::new()));
    let cases = (Scene::any(), weighted(0.95, Sketch::any()), vec(Event::of(mix), 10..50));
    let outcome = runner.run(&cases, |sketched| {
        let (lab, seen) = &mut *lab.borrow_mut();
        let count = |hook, answer: &Answer| *seen.entry(key(hook, answer)).or_default() += 1;
        case(&sketched).run(lab, count).map_err(TestCaseError::fail)
    });
    let (mut lab, seen) = lab.into_inner();
    println!("{seen:#?}");
    match outcome {
        Ok(()) if random => {}
        Ok(()) => assert_is_worth(&seen, important),
        Err(TestError::Fail(_, sketched)) => {
            let (case, error) = found::minimise(&mut lab, case(&sketched));
            panic!("{error}\nkept as {}", found::keep(&case).display());
        }
        Err(error) => panic!("{error}"),
    }
}

fn key(hook: Hook, answer: &Answer) -> String {
    let reason = match answer {
        Answer::Pass { reason, .. } => reason.slug(),
        Answer::Drop { why: Why::Exactly(reason), .. } => reason.slug(),
        Answer::Drop { why: Why::Malformed, .. } => "bad-header-or-truncated",
    };
    format!("{hook:?} {reason}")
}

/// A generator that got worse without anybody noticing finds nothing.
fn assert_is_worth(seen: &Seen, important: &[&str]) {
    let frames: u32 = seen.values().sum();
    assert!(frames >= FRAMES, "only {frames} frames were judged");
    for reason in important {
        let count: u32 =
            seen.iter().filter(|(key, _)| key.split(' ').nth(1) == Some(reason)).map(|(_, n)| n).sum();
        assert!(count > 0, "nothing was {reason}");
    }
}

//! The programs against the reference evaluator: random policies, facts and packets, and both must say the
//! same, whatever happened before.
//!
//! The scenes are the same in every run, so that a failure is about the change at hand; `PROPTEST_CASES` asks
//! for that many others. What is found is kept as a file and tried again for ever. `ENFORCER_CASES` asks for
//! the first so many scenes, and whether there is anything to find: it is not made small, and not kept.

mod case;
mod dhcp;
mod error;
mod found;
mod people;
mod policy;
mod scene;
mod story;
mod traffic;
mod wire;

use std::{cell::RefCell, collections::BTreeMap, env};

use case::Case;
use enforcer::datapath::sizes::TableKind;
use enforcer::policy::oracle::{Answer, Why};
use enforcer_common::event::Hook;
use enforcer_tests::prog_run::Lab;
use people::People;
use policy::Sketch;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use scene::{Scene, UPLINK};
use story::{Event, Mix};

/// Cases of one test, unless `PROPTEST_CASES` says otherwise, and the frames and policies that they are
/// worth at least: most have a second policy in the middle.
const CASES: u32 = 300;
const FRAMES: u32 = 50_000;
const POLICIES: u64 = 500;

/// How often each verdict was seen.
type Seen = BTreeMap<String, u32>;

#[test]
fn kernel_and_reference_agree_about_lone_frames() {
    let mix = Mix { lone: 40, talk: 2, pieces: 2, error: 2, dhcp: 4, apply: 1, mode: 3 };
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
            "neighbor",
            "uplink",
            "would-drop",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_about_conversations() {
    let mix = Mix { lone: 6, talk: 40, pieces: 2, error: 2, dhcp: 2, apply: 1, mode: 3 };
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
            "would-drop",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_about_fragments() {
    let mix = Mix { lone: 4, talk: 6, pieces: 40, error: 2, dhcp: 2, apply: 1, mode: 3 };
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
            "would-drop",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_about_icmp_errors() {
    let mix = Mix { lone: 2, talk: 20, pieces: 4, error: 30, dhcp: 1, apply: 1, mode: 3 };
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
            "would-drop",
        ],
    );
}

#[test]
fn kernel_and_reference_agree_before_the_first_policy() {
    let mix = Mix { lone: 6, talk: 6, pieces: 2, error: 3, dhcp: 1, apply: 0, mode: 2 };
    let cases = Cases { seed: 5, tables: TableKind::Own, count: 60, least: (0, 5_000), policy: Just(None) };
    cases.compare(mix, &["no-policy", "host-allowed", "host-open", "reply", "icmp-error", "would-drop"]);
}

#[test]
fn what_was_found_once_stays_found() {
    for (path, case) in found::all() {
        if let Err(error) = case.run(&mut Lab::new(), |_, _| {}) {
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
        host_end: scene.host_end(),
        uplinks: vec![UPLINK.to_owned()],
        external: scene.external,
    }
}

/// Runs random cases of this kind, a third of them with the kernel's kind of flow table; all verdicts of the list must be
/// among them.
fn compare(seed: u8, mix: Mix, important: &[&str]) {
    for (tables, thirds) in [(TableKind::Own, 2), (TableKind::Kernel, 1)] {
        let policy = Sketch::any().prop_map(Some);
        let least = (POLICIES * u64::from(thirds) / 3, FRAMES * thirds / 3);
        Cases { seed, tables, count: CASES * thirds / 3, least, policy }.compare(mix, important);
    }
}

/// How many cases, of which kind.
struct Cases<P> {
    seed: u8,
    tables: TableKind,
    count: u32,
    /// Policies and frames that they are worth at least.
    least: (u64, u32),
    policy: P,
}

impl<P: Strategy<Value = Option<Sketch>> + Clone> Cases<P> {
    fn compare(&self, mix: Mix, important: &[&str]) {
        let extent = Extent::asked_for();
        let lab = RefCell::new((Lab::with_tables(self.tables), Seen::new()));
        let outcome = self.runner(extent).run(
            &(Scene::any(), self.policy.clone(), vec(Event::of(mix), 20..80)),
            |sketched| {
                let (lab, seen) = &mut *lab.borrow_mut();
                let count = |hook, answer: &Answer| *seen.entry(key(hook, answer)).or_default() += 1;
                case(&sketched).run(lab, count).map_err(TestCaseError::fail)
            },
        );
        let (mut lab, seen) = lab.into_inner();
        println!("{seen:#?}");
        let (policies, frames) = (lab.generation(), seen.values().sum::<u32>());
        println!("{frames} frames under {policies} policies");
        match outcome {
            Ok(()) if extent != Extent::All => {}
            Ok(()) => {
                assert!(policies >= self.least.0 && frames >= self.least.1, "too little was judged");
                assert_holds(&seen, important);
            }
            Err(TestError::Fail(why, _)) if matches!(extent, Extent::First(_)) => panic!("{why}"),
            Err(TestError::Fail(_, sketched)) => {
                let (case, error) = found::minimise(&mut lab, case(&sketched));
                panic!("{error}\nkept as {}", found::keep(&case).display());
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn runner(&self, extent: Extent) -> TestRunner {
        let config =
            ProptestConfig { max_shrink_iters: 400, failure_persistence: None, ..Default::default() };
        let config = match extent {
            Extent::Random => return TestRunner::new(config),
            Extent::First(cases) => ProptestConfig { cases, max_shrink_iters: 0, ..config },
            Extent::All => ProptestConfig { cases: self.count, ..config },
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[self.seed; 32]);
        TestRunner::new_with_rng(config, rng)
    }
}

/// Which cases of a test are judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All that are the same in every run.
    All,
    /// The first so many of them.
    First(u32),
    /// Others, as many as proptest reads from `PROPTEST_CASES`.
    Random,
}

impl Extent {
    fn asked_for() -> Self {
        if env::var_os("PROPTEST_CASES").is_some() {
            return Self::Random;
        }
        env::var("ENFORCER_CASES")
            .map_or(Self::All, |cases| Self::First(cases.parse().expect("ENFORCER_CASES is a number")))
    }
}

fn key(hook: Hook, answer: &Answer) -> String {
    let reason = match answer {
        Answer::Pass { reason, .. } => reason.slug(),
        Answer::Drop { why, .. } | Answer::WouldDrop { why, .. } => match why {
            Why::Exactly(reason) => reason.slug(),
            Why::Malformed => "bad-header-or-truncated",
        },
    };
    let relaxed = if matches!(answer, Answer::WouldDrop { .. }) { " would-drop" } else { "" };
    format!("{hook:?} {reason}{relaxed}")
}

/// One word of what was seen is what follows the hook.
///
/// A generator that got worse without anybody noticing finds nothing.
fn assert_holds(seen: &Seen, important: &[&str]) {
    for reason in important {
        let seen = seen.keys().any(|key| key.split(' ').skip(1).any(|word| word == *reason));
        assert!(seen, "nothing was {reason}");
    }
}

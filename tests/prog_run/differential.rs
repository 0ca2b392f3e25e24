//! The programs against the reference evaluator: random policies, facts and frames, and both must say
//! the same.
//!
//! Every frame is judged twice in a row, so that what is remembered of it answers, too, and mostly at more
//! than one place, so that nothing is remembered for the wrong one. The scenes are the same in every run, so that a
//! failure is about the change at hand; `PROPTEST_CASES` asks for that many others.

mod scene;
mod traffic;

use std::{cell::RefCell, collections::BTreeMap, fmt::Write as _};

use enforcer::policy::oracle::{self, Answer, Arrival, World};
use enforcer_common::{event::Hook, verdict::PassReason};
use enforcer_tests::prog_run::{Judged, Lab};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use scene::Scene;
use traffic::Traffic;

/// Policies of one run, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 300;
/// Before the first policy there is less to find out.
const CASES_WITHOUT_POLICY: u32 = 40;

/// How often each verdict was seen.
type Seen = BTreeMap<String, u32>;

#[test]
fn kernel_and_reference_agree() {
    compare(CASES, &Scene::any());
}

#[test]
fn kernel_and_reference_agree_before_the_first_policy() {
    compare(CASES_WITHOUT_POLICY, &Scene::without_policy());
}

fn compare(cases: u32, scenes: &(impl Strategy<Value = Scene> + Clone)) {
    let mut config =
        ProptestConfig { max_shrink_iters: 400, failure_persistence: None, ..Default::default() };
    let mut runner = if std::env::var_os("PROPTEST_CASES").is_some() {
        TestRunner::new(config)
    } else {
        config.cases = cases;
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let lab = RefCell::new((Lab::new(), Seen::new()));
    let outcome = runner.run(&(scenes.clone(), vec(Traffic::any(), 1..30)), |(scene, traffic)| {
        let (lab, seen) = &mut *lab.borrow_mut();
        let mut world = scene.set_up(lab);
        traffic.iter().try_for_each(|traffic| check(lab, &mut world, &scene, traffic, seen))
    });
    println!("{:#?}", lab.borrow().1);
    // Not its debug form: the reason is a page of text.
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// One frame at all its places.
fn check(
    lab: &mut Lab,
    world: &mut World,
    scene: &Scene,
    traffic: &Traffic,
    seen: &mut Seen,
) -> Result<(), TestCaseError> {
    for (place, frame) in traffic.frames(world) {
        let arrival = place.arrival(&frame);
        for time in ["first", "second"] {
            let expected = oracle::judge(world, &arrival);
            let judged = lab.judge(&arrival);
            if !judged.as_ref().is_ok_and(|&judged| agree(expected, judged)) {
                let judged = judged.map_or_else(|error| error, |judged| judged.to_string());
                let report = report(world, scene, &arrival, &format!("{time} time"), expected, &judged);
                return Err(TestCaseError::fail(report));
            }
            *seen.entry(format!("{:?} {expected:?}", arrival.hook)).or_default() += 1;
            if arrival.hook == Hook::ToEndpoint && expected == Answer::Pass(PassReason::HostOpen) {
                world.conversations.extend(oracle::opens(&frame));
            }
        }
    }
    Ok(())
}

/// What passes at its destination was counted, with its reason, where it entered.
fn agree(expected: Answer, judged: Judged) -> bool {
    match judged {
        Judged::As(verdict) => expected.agrees_with(verdict),
        Judged::CountedBefore => matches!(expected, Answer::Pass(_)),
    }
}

/// Everything that is needed to tell who is wrong.
fn report(
    world: &World,
    scene: &Scene,
    arrival: &Arrival,
    time: &str,
    expected: Answer,
    judged: &str,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "\nreference: {expected:?}\nkernel, {time}: {judged}");
    let _ = writeln!(
        text,
        "{:?} of {}, stamp {:?}, locally generated: {}",
        arrival.hook, arrival.endpoint, arrival.stamp, arrival.locally_generated
    );
    for line in arrival.frame.chunks(16) {
        let _ = writeln!(text, "  {line:02x?}");
    }
    let _ = writeln!(text, "{}", scene.policy_text().unwrap_or_else(|| "no policy".to_owned()));
    for endpoint in &world.endpoints {
        let _ = writeln!(text, "{}: MAC {:02x?}, {:?}", endpoint.name, endpoint.mac, endpoint.addresses);
    }
    let _ = writeln!(text, "host: {:?}\nopen: {:?}", world.host, world.conversations);
    text
}

//! Networks of the policy across networks of Docker's: enforcer admits, Docker's own rules may still drop, and then
//! `status` names them.

use enforcer_tests::docker::Container;
use enforcer_tests::traffic::{ECHO_PORT, Protocol};
use enforcer_tests::{Daemon, Host};
use rstest::rstest;
use serde_json::Value;

use crate::scene::{DROP, LEAVE_IT, Question, Scene, insist};

const NONE: &[&str] = &[];

/// Whether the two share a network of the policy, by the colours that the scene gives them.
fn share(scene: &Scene, one: &Container, other: &Container) -> bool {
    let is_blue = |it: &Container| [&scene.web, &scene.api].iter().any(|blue| blue.name() == it.name());
    is_blue(one) == is_blue(other)
}

/// `in_the_way` is the chain that stops what is admitted between two bridges.
#[rstest]
#[case::as_it_comes("di-plain", NONE, NONE, Some(("DOCKER-ISOLATION-STAGE-2", "drop")))]
#[case::without_proxy("di-noproxy", &["--userland-proxy=false"], NONE, Some(("DOCKER-ISOLATION-STAGE-2", "drop")))]
#[case::forward_drop("di-drop", NONE, &[DROP], Some(("DOCKER-ISOLATION-STAGE-2", "drop")))]
#[case::left_to_enforcer("di-user", NONE, &[DROP, LEAVE_IT], None)]
#[case::without_iptables("di-none", &["--iptables=false"], NONE, None)]
#[case::forward_drop_alone("di-alone", &["--iptables=false"], &[DROP], Some(("FORWARD", "policy drop")))]
fn the_policy_decides_unless_a_rule_that_status_names_does(
    #[case] name: &str,
    #[case] options: &[&str],
    #[case] commands: &[&str],
    #[case] in_the_way: Option<(&str, &str)>,
) {
    let scene = Scene::build(Host::new(name), options);
    let mut daemon = scene.enforce("", "");
    scene.run(commands);
    let is_on_one = |it: &Container| it.ipv4().to_string().starts_with("10.61.");
    let mut questions = Vec::new();
    for from in scene.containers() {
        for to in scene.containers().into_iter().filter(|to| to.name() != from.name()) {
            let is_forwarded = is_on_one(from) == is_on_one(to) || in_the_way.is_none();
            for by in [Protocol::Tcp(ECHO_PORT), Protocol::Udp(ECHO_PORT), Protocol::Ping] {
                questions.push(Question {
                    words: format!("{} to {}, {by:?}", from.name(), to.name()),
                    from: from.netns(),
                    to: to.ipv4(),
                    by,
                    is_open: share(&scene, from, to) && is_forwarded,
                });
            }
        }
    }
    insist(name, &questions);
    let denied = daemon.dropped("default-deny");
    assert!(denied >= 24, "eight pairs in two networks, three packets at least: {denied}");
    if let Some((chain, text)) = in_the_way {
        // Without a daemon `status` looks itself; the daemon may remember for seconds what it saw before.
        daemon.kill();
        assert_named(&daemon, chain, text);
    }
}

/// Insists that `status` names a rule that dropped something.
#[track_caller]
fn assert_named(daemon: &Daemon, chain: &str, text: &str) {
    let found = daemon.foreign();
    let is_it = |rule: &Value| {
        let says = rule["text"].as_str().is_some_and(|said| said.contains(text));
        rule["chain"] == chain && rule["effect"] == "drops" && says && rule["packets"] != 0
    };
    assert!(found.iter().any(is_it), "no rule of {chain} that drops packets in {found:#?}");
}

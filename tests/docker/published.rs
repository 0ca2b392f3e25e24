//! Published ports, by every address of the host: whoever forwards or proxies, nobody gets where the policy does not
//! let him.
//!
//! A packet to an address of the host is judged twice. At its sender it is for the host: a rule has to open the port
//! there. Docker then either changes its destination (`iptables`) and it is judged again at the container, by who sent it;
//! or `docker-proxy`, a program of the host's, takes it and asks the container as the host.

use std::net::IpAddr;

use enforcer_tests::beyond::Beyond;
use enforcer_tests::docker::Container;
use enforcer_tests::traffic::{ECHO_PORT, Protocol};
use enforcer_tests::{Host, NetNs};
use rstest::rstest;

use crate::scene::{DROP, LEAVE_IT, POLICY, Question, Scene, ask, insist};

/// Every address of the host but the loopback.
const ADDRESSES: [&str; 5] = ["10.61.0.1", "10.62.0.1", "172.17.0.1", "192.0.2.1", "198.51.100.1"];
const PUBLISHED: u16 = 8080;

const ASK_HOST: &str = "[[rule]]\nname = \"ask the host\"\nfrom = [\"blue\", \"red\"]\nto = [\"host\"]\n\
                        allow = [\"tcp/8080\", \"udp/8080\"]\n";
const USE_RED: &str = "[[rule]]\nname = \"blue uses red\"\nfrom = [\"blue\"]\nto = [\"red\"]\n\
                       allow = [\"tcp/5432\", \"udp/5432\"]\n";
const WORLD: &str = "[[rule]]\nname = \"the world uses red\"\nfrom = [\"world\"]\nto = [\"red\"]\n\
                     allow = [\"tcp/5432\", \"udp/5432\"]\n";

/// Who takes what comes for a published port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    /// The container sees who sends it.
    Forwarded,
    /// The container sees the host.
    Proxied,
    /// Nobody.
    Not,
}
use Taken::{Forwarded, Not, Proxied};

/// What the policy opens.
#[derive(Clone, Copy, Debug)]
struct Opened {
    /// The published port of the host, to workloads.
    host: bool,
    /// Red's port, to blue.
    red: bool,
    /// Red's port, to the world.
    world: bool,
    /// Workloads, to the host.
    to_workloads: ToWorkloads,
}

/// What the host may ask of workloads, by the host file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ToWorkloads {
    Open,
    ByRules,
}
use ToWorkloads::{ByRules, Open};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    Blue,
    Red,
    Far,
    Host,
}

impl Opened {
    fn rules(self) -> String {
        let rules = [(self.host, ASK_HOST), (self.red, USE_RED), (self.world, WORLD)];
        rules.iter().filter(|(is_open, _)| *is_open).map(|(_, rule)| *rule).collect()
    }

    /// Whether the red container is reached directly.
    fn admits(self, asker: Asker) -> bool {
        match asker {
            Asker::Blue => self.red,
            Asker::Red => true,
            Asker::Far => self.world,
            Asker::Host => self.to_workloads == Open,
        }
    }

    /// Whether it is reached by an address of the host.
    fn publishes(self, asker: Asker, taken: Taken) -> bool {
        let may_ask = self.host || matches!(asker, Asker::Far | Asker::Host);
        let is_let_in = match taken {
            Forwarded => self.admits(asker),
            Proxied => self.admits(Asker::Host),
            Not => false,
        };
        may_ask && is_let_in
    }
}

const CLOSED: Opened = Opened { host: false, red: false, world: false, to_workloads: Open };
/// As the host file comes, and where the host needs rules like everybody.
const POLICIES: [(ToWorkloads, [Opened; 2]); 2] = [
    (Open, [CLOSED, Opened { host: true, red: true, world: true, ..CLOSED }]),
    (
        ByRules,
        [
            Opened { host: true, to_workloads: ByRules, ..CLOSED },
            Opened { host: true, red: true, world: true, to_workloads: ByRules },
        ],
    ),
];

/// `taken` is by whom, when workloads ask, when somebody outside does, and when the host does; `works` is how many of
/// the 72 questions are answered without an enforcer: two bridges are apart unless iptables are told otherwise, and
/// over UDP the proxy answers from another address than it was asked at.
#[rstest]
#[case::as_it_comes("dp-plain", &[], &[], [Proxied, Forwarded, Forwarded], 52)]
#[case::forward_drop("dp-drop", &[], &[DROP], [Proxied, Forwarded, Forwarded], 52)]
#[case::without_proxy("dp-noproxy", &["--userland-proxy=false"], &[], [Forwarded; 3], 48)]
#[case::left_to_enforcer("dp-user", &["--userland-proxy=false"], &[DROP, LEAVE_IT], [Forwarded; 3], 72)]
#[case::without_iptables("dp-none", &["--iptables=false"], &[], [Proxied; 3], 52)]
#[case::without_both("dp-neither", &["--iptables=false", "--userland-proxy=false"], &[], [Not; 3], 12)]
fn nobody_gets_past_the_policy_by_an_address_of_the_host(
    #[case] name: &str,
    #[case] options: &[&str],
    #[case] commands: &[&str],
    #[case] taken: [Taken; 3],
    #[case] works: usize,
) {
    let host = Host::new(name);
    let beyond = Beyond::of(&host);
    beyond.router.ip("route add 172.17.0.0/16 via 198.51.100.1\nroute add 192.0.2.1 via 198.51.100.1\n");
    let scene = Scene::build(host, options);
    scene.run(commands);
    let baseline =
        ask(&questions(&scene, &beyond, |asker, is_direct| is_direct || taken_for(asker, taken) != Not));
    assert_eq!(baseline.iter().filter(|works| **works).count(), works, "without an enforcer");
    for (to_workloads, policies) in POLICIES {
        let host_file = match to_workloads {
            Open => "",
            ByRules => "[host]\nto_workloads = \"rules\"\n",
        };
        let daemon = scene.enforce(host_file, "");
        for opened in policies {
            daemon.apply(&format!("{POLICY}{}", opened.rules()));
            let mut questions = questions(&scene, &beyond, |asker, is_direct| {
                if is_direct {
                    opened.admits(asker)
                } else {
                    opened.publishes(asker, taken_for(asker, taken))
                }
            });
            // What Docker does not let through is no question of the policy.
            for (question, works) in questions.iter_mut().zip(&baseline) {
                question.is_open &= works;
            }
            let denied = daemon.dropped("default-deny");
            insist(&format!("{name}, {opened:?}"), &questions);
            if !opened.host {
                let denied = daemon.dropped("default-deny") - denied;
                assert!(
                    denied >= 40,
                    "four workloads ask five addresses in two ways: {denied} packets denied"
                );
            }
        }
    }
}

fn taken_for(asker: Asker, [by_workloads, from_outside, by_host]: [Taken; 3]) -> Taken {
    match asker {
        Asker::Blue | Asker::Red => by_workloads,
        Asker::Far => from_outside,
        Asker::Host => by_host,
    }
}

/// Everybody asks for the published port by every address, and for the container itself.
fn questions<'s>(
    scene: &'s Scene,
    beyond: &'s Beyond,
    is_open: impl Fn(Asker, bool) -> bool,
) -> Vec<Question<'s>> {
    let container = |it: &'s Container, asker| (it.name(), it.netns(), asker);
    let askers: [(&str, &NetNs, Asker); 6] = [
        container(&scene.web, Asker::Blue),
        container(&scene.api, Asker::Blue),
        container(&scene.audit, Asker::Red),
        container(&scene.batch, Asker::Red),
        ("far", &beyond.far, Asker::Far),
        ("host", scene.host.netns(), Asker::Host),
    ];
    let published = ADDRESSES.map(|address| (address.parse::<IpAddr>().unwrap(), PUBLISHED));
    let direct = (scene.audit.ipv4(), ECHO_PORT);
    let mut questions = Vec::new();
    for (who, from, asker) in askers {
        for (to, port) in published.into_iter().chain([direct]) {
            for by in [Protocol::Tcp(port), Protocol::Udp(port)] {
                let words = format!("{who} to {to}, {by:?}");
                questions.push(Question { words, from, to, by, is_open: is_open(asker, port == ECHO_PORT) });
            }
        }
    }
    questions
}

//! Membership by labels and names of containers: it follows what runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use enforcer_tests::command::transcript;
use enforcer_tests::docker::{Container, Engine};
use enforcer_tests::traffic::{ECHO_PORT, Probe, Protocol, tcp_soon};
use enforcer_tests::{Daemon, Host, wait};
use rstest::rstest;
use serde_json::Value;

use crate::scene::{ONE, POLICY, TWO};

/// How soon a container is a member once it runs, on a machine that is busy.
const SOON: Duration = Duration::from_secs(3);

const BLUE: &str = "enforcer.network=blue";
const RED: &str = "enforcer.network=red";

/// Whether a container answers another one, with patience for a machine that is busy.
fn reaches(from: &Container, to: IpAddr) -> bool {
    Probe { from: from.netns(), to, protocol: Protocol::Tcp(ECHO_PORT) }.is_answered(SOON)
}

/// An engine whose bridges are no obstacle, and an enforcer.
struct Town {
    daemon: Daemon,
    engine: Engine,
    _host: Host,
}

impl Town {
    #[track_caller]
    fn build(name: &str, options: &[&str]) -> Self {
        let host = Host::new(name);
        let engine = Engine::start(&host, &[&["--iptables=false"], options].concat());
        engine.network("one", ONE, &[]);
        engine.network("two", TWO, &[]);
        let daemon = Daemon::start_with(&host, &engine.host_file());
        daemon.apply(POLICY);
        Self { daemon, engine, _host: host }
    }

    /// The addresses in a network.
    fn members(&self, network: &str) -> BTreeSet<IpAddr> {
        let networks = self.daemon.json(&["networks", network]);
        let prefixes = networks[0]["prefixes"].as_array().unwrap().iter();
        prefixes
            .map(|prefix| prefix.as_str().unwrap().strip_suffix("/32").unwrap().parse().unwrap())
            .collect()
    }

    #[track_caller]
    fn wait_for(&self, network: &str, members: &[IpAddr]) {
        let wanted: BTreeSet<IpAddr> = members.iter().copied().collect();
        let mut found = BTreeSet::new();
        let came = wait::within(SOON, || {
            found = self.members(network);
            (found == wanted).then_some(())
        });
        assert!(
            came.is_some(),
            "{SOON:?} later the members of {network} are {found:?} instead of {wanted:?}"
        );
    }
}

#[test]
fn members_come_and_go_with_their_containers() {
    let town = Town::build("dm-come", &[]);
    assert!(town.members("blue").is_empty());
    let mut web = town.engine.container("web").on("one").label(BLUE).run();
    town.wait_for("blue", &[web.ipv4()]);
    let api = town.engine.container("api").on("two").label(BLUE).run();
    let audit = town.engine.container("audit").on("two").label(RED).run();
    let nobody = town.engine.container("nobody").on("one").label("enforcer.network=green").run();
    town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
    town.wait_for("red", &[audit.ipv4()]);
    assert!(reaches(&web, api.ipv4()) && reaches(&api, web.ipv4()));
    for (from, to) in [(&web, &audit), (&audit, &api), (&nobody, &web), (&web, &nobody)] {
        assert!(!tcp_soon(from, to.ipv4(), ECHO_PORT), "{} to {}", from.name(), to.name());
    }
    let generation = town.daemon.json(&["status"])["generation"].clone();
    web.stop();
    town.wait_for("blue", &[api.ipv4()]);
    web.start();
    town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
    assert!(reaches(&web, api.ipv4()));
    town.engine.client().run(&["pause", "api"]);
    town.engine.client().run(&["unpause", "api"]);
    assert!(reaches(&web, api.ipv4()), "one that slept is who it was");
    assert_eq!(town.daemon.json(&["status"])["generation"], generation, "the same policy all the time");
}

/// What another policy would cut is told by who runs, and so is what this one does.
#[test]
fn members_count_where_the_policy_is_asked_about() {
    let town = Town::build("dm-asked", &[]);
    let web = town.engine.container("web").on("one").label(BLUE).run();
    let api = town.engine.container("api").on("two").label(BLUE).run();
    town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
    assert!(reaches(&web, api.ipv4()));
    let (from, to) = (web.interface(), api.interface());
    let explained = town.daemon.json(&["explain", &from, &to, "tcp/5432"]);
    assert_eq!(explained["src"]["networks"][0], "blue", "{explained}");
    let endpoints = town.daemon.json(&["endpoints", &from]);
    assert_eq!(endpoints[0]["networks"][0], "blue", "{endpoints}");
    for (policy, cut) in [(format!("{POLICY}# the same\n"), 0), (POLICY.replace("=blue", "=green"), 1)] {
        let output = town.daemon.cli_with_input(&["plan", "-", "-o", "json"], &policy);
        let plan: Value = serde_json::from_slice(&output.stdout).expect("a plan in JSON");
        assert_eq!(plan["impact"]["cut"].as_array().map(Vec::len), Some(cut), "{plan}");
        let applied = town.daemon.cli_with_input(&["apply", "-", "--max-cut", "0"], &policy);
        assert_eq!(applied.status.success(), cut == 0, "{}", transcript(&applied));
    }
}

/// Docker configures the inner end of a veth in steps, each of which wakes the enforcer: what it notes of MAC and
/// address has to be what they are in the end.
#[test]
fn every_start_leaves_a_container_that_is_heard() {
    let town = Town::build("dm-starts", &[]);
    let api = town.engine.container("api").on("two").label(BLUE).run();
    let mut web = town.engine.container("web").on("one").label(BLUE).run();
    for start in 0..3 {
        town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
        assert!(reaches(&web, api.ipv4()), "after {start} restarts");
        web.restart();
    }
    assert_eq!(town.daemon.dropped("spoofed-mac"), 0);
}

/// Whoever gets an address that a member had is no member by it, not for a moment.
#[rstest]
#[case::nobody("dm-nobody", "enforcer.network=green")]
#[case::somebody_else("dm-moved", RED)]
fn an_address_tells_nothing_of_who_has_it_next(#[case] name: &str, #[case] label: &str) {
    let town = Town::build(name, &[]);
    let api = town.engine.container("api").on("two").label(BLUE).run();
    let audit = town.engine.container("audit").on("two").label(RED).run();
    let web = town.engine.container("web").at("one", "10.61.0.10").label(BLUE).run();
    town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
    assert!(reaches(&web, api.ipv4()));
    web.remove();
    let web = town.engine.container("web").at("one", "10.61.0.10").label(label).run();
    for _ in 0..2 {
        assert!(
            !tcp_soon(&web, api.ipv4(), ECHO_PORT) && !tcp_soon(&api, web.ipv4(), ECHO_PORT),
            "as {label}"
        );
    }
    town.wait_for("blue", &[api.ipv4()]);
    if label == RED {
        town.wait_for("red", &[web.ipv4(), audit.ipv4()]);
        assert!(reaches(&web, audit.ipv4()));
    }
}

#[test]
fn a_container_that_comes_again_with_another_address_is_a_member_there() {
    let town = Town::build("dm-again", &[]);
    let api = town.engine.container("api").on("two").label(BLUE).run();
    let mut web = town.engine.container("web").on("one").label(BLUE).run();
    let before = web.ipv4();
    town.wait_for("blue", &[before, api.ipv4()]);
    web.stop();
    // It takes the lowest address, which is free now.
    let squatter = town.engine.container("squatter").on("one").run();
    assert_eq!(squatter.ipv4(), before);
    web.start();
    assert_ne!(web.ipv4(), before);
    town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
    assert!(reaches(&web, api.ipv4()));
    assert!(!tcp_soon(&squatter, api.ipv4(), ECHO_PORT));
}

#[test]
fn every_address_of_a_container_is_a_member_and_names_tell_as_labels_do() {
    let town = Town::build("dm-names", &[]);
    town.daemon.apply("version = 1\n[network.blue]\nmembers = [\"docker:name:web-?\"]\n");
    let web = town.engine.container("web-1").at("one", "10.61.0.10").also_at("two", "10.62.0.10").run();
    let other = town.engine.container("web-2").on("two").run();
    let stranger = town.engine.container("web-10").on("two").run();
    let (first, second) = (web.ipv4(), web.address_on("two"));
    town.wait_for("blue", &[first, second, other.ipv4()]);
    assert!(reaches(&other, second) && !tcp_soon(&stranger, second, ECHO_PORT));
    town.engine.client().run(&["network", "disconnect", "two", "web-1"]);
    town.wait_for("blue", &[first, other.ipv4()]);
    town.engine.client().run(&["network", "connect", "two", "web-1"]);
    town.wait_for("blue", &[first, web.address_on("two"), other.ipv4()]);
    town.engine.client().run(&["rename", "web-2", "db"]);
    town.wait_for("blue", &[first, web.address_on("two")]);
    town.engine.client().run(&["rename", "web-10", "web-3"]);
    town.wait_for("blue", &[first, web.address_on("two"), stranger.ipv4()]);
}

#[rstest]
#[case::stopped("dm-stop", Engine::stop)]
#[case::killed("dm-kill", Engine::kill)]
fn what_is_known_stays_while_the_engine_is_away(#[case] name: &str, #[case] end: fn(&mut Engine)) {
    let mut town = Town::build(name, &["--live-restore"]);
    let web = town.engine.container("web").on("one").label(BLUE).run();
    let api = town.engine.container("api").on("two").label(BLUE).run();
    let audit = town.engine.container("audit").on("one").label(RED).run();
    let blue = [web.ipv4(), api.ipv4()];
    town.wait_for("blue", &blue);
    end(&mut town.engine);
    let log = "Docker does not answer; what was known stays";
    wait::until("the enforcer notices", SOON, || town.daemon.log().contains(log).then_some(()));
    assert!(reaches(&web, api.ipv4()) && !tcp_soon(&web, audit.ipv4(), ECHO_PORT));
    town.wait_for("blue", &blue);
    town.engine.start_again();
    // The engine may be asked again as late as this.
    wait::until("the enforcer hears again", SOON * 3, || {
        town.daemon.log().contains("Docker answers").then_some(())
    });
    assert!(reaches(&web, api.ipv4()) && !tcp_soon(&web, audit.ipv4(), ECHO_PORT));
    let late = town.engine.container("late").on("two").label(BLUE).run();
    town.wait_for("blue", &[web.ipv4(), api.ipv4(), late.ipv4()]);
}

#[test]
fn members_outlive_the_daemon_and_are_known_to_the_next() {
    let mut town = Town::build("dm-daemon", &[]);
    let web = town.engine.container("web").on("one").label(BLUE).run();
    let api = town.engine.container("api").on("two").label(BLUE).run();
    town.wait_for("blue", &[web.ipv4(), api.ipv4()]);
    town.daemon.kill();
    assert!(reaches(&web, api.ipv4()));
    let mut web = web;
    let address = web.ipv4();
    web.stop();
    let squatter = town.engine.container("squatter").at("one", &address.to_string()).label(RED).run();
    assert!(!tcp_soon(&squatter, api.ipv4(), ECHO_PORT), "nobody enforces it yet: the gate is closed");
    town.daemon.start_again();
    town.wait_for("blue", &[api.ipv4()]);
    town.wait_for("red", &[squatter.ipv4()]);
    assert!(!tcp_soon(&squatter, api.ipv4(), ECHO_PORT));
}

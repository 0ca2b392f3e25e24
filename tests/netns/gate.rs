//! Nobody hears a new workload before its veth is enforced, whatever becomes of the daemon.

mod street;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use enforcer_tests::command::output_within;
use enforcer_tests::daemon::DEFAULT_CONFIG;
use enforcer_tests::traffic::{DUE, ECHO_PORT, PATIENCE, Probe, Protocol, ask_all, tcp, tcp_soon};
use enforcer_tests::{Daemon, Host, NetNs, Numbered, Workload, wait};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;

use crate::town::Town;
use street::{POLICY, Street, Wiring};

/// How many arrive on each street; eight streets make two hundred.
fn newcomers() -> u8 {
    if wait::slowness() == 1 { 25 } else { 8 }
}

/// The gate.
const TABLES: [&str; 3] = ["bridge enforcer", "arp enforcer", "inet enforcer"];

/// What others may have, one table like those of iptables-nft.
const FOREIGN: &str = r"
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy accept;
		ip saddr 203.0.113.9 counter drop
	}
	chain DOCKER-USER {
		counter return
	}
}
table inet operator {
	set blocked {
		type ipv4_addr
		elements = { 203.0.113.7 }
	}
	chain gate {
		type filter hook prerouting priority raw; policy accept;
		ip saddr @blocked drop
	}
}
table bridge operator {
	chain gate {
		type filter hook prerouting priority -300; policy accept;
	}
}
";

/// Runs a script of `nft` commands, and returns what they print.
#[track_caller]
fn nft(netns: &NetNs, script: &str) -> String {
    let mut command = netns.command("nft");
    let output = output_within(command.args(["-s", "-f", "-"]), script, PATIENCE * 10).unwrap();
    assert!(output.status.success(), "nft: {output:?}\n{script}");
    String::from_utf8(output.stdout).unwrap()
}

/// Removes the gate, as somebody careless would.
#[track_caller]
fn tear_down(netns: &NetNs) {
    nft(netns, &TABLES.map(|table| format!("delete table {table}\n")).concat());
}

/// The gate's tables, with handles and counters.
#[track_caller]
fn listing(netns: &NetNs) -> String {
    let list = |table: &str| {
        let arguments = [&["-a", "list", "table"][..], &table.split(' ').collect::<Vec<_>>()].concat();
        String::from_utf8(netns.run("nft", &arguments).stdout).unwrap()
    };
    TABLES.map(list).concat()
}

/// Packets that the gate dropped.
fn held_back(netns: &NetNs) -> u64 {
    let listing = listing(netns);
    let counts = listing.split("counter packets ").skip(1);
    counts.map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// What becomes of the daemon while newcomers arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Idle,
    Busy,
    Stopped,
    Dead,
}

impl Fate {
    fn is_absent(self) -> bool {
        matches!(self, Self::Stopped | Self::Dead)
    }

    fn befalls(self, daemon: &mut Daemon) {
        match self {
            Self::Idle | Self::Busy => {}
            Self::Stopped => daemon.signal(Signal::SIGSTOP),
            Self::Dead => daemon.kill(),
        }
    }

    fn is_over(self, daemon: &mut Daemon) {
        match self {
            Self::Idle | Self::Busy => {}
            Self::Stopped => daemon.signal(Signal::SIGCONT),
            Self::Dead => daemon.start_again(),
        }
    }
}

/// Asks and applies until it is over.
fn keep_busy(daemon: &Daemon, is_over: &AtomicBool) {
    let other = format!("{POLICY}\n[group.others]\nprefixes = [\"10.8.0.0/16\"]\n");
    for policy in [&other, POLICY].into_iter().cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
        daemon.apply(policy);
        daemon.json(&["flows"]);
    }
}

/// All newcomers, one after the other.
fn arrivals(street: &Street, fate: Fate) -> Vec<Workload> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        if fate == Fate::Busy {
            scope.spawn(|| keep_busy(&street.daemon, &is_over));
        }
        let newcomers = (0..newcomers()).map(|number| street.welcome(number)).collect();
        is_over.store(true, Ordering::Relaxed);
        newcomers
    })
}

/// A sentence per leak would bury the first.
#[track_caller]
fn assert_unheard(street: &Street, enforced: bool) {
    let leaks = street.leaks(enforced);
    assert!(leaks.is_empty(), "{} leaks, such as {:#?}", leaks.len(), &leaks[..leaks.len().min(10)]);
}

#[rstest]
fn nobody_hears_a_newcomer_that_is_not_enforced(
    #[values(Wiring::Routed, Wiring::Bridged)] wiring: Wiring,
    #[values(Fate::Idle, Fate::Busy, Fate::Stopped, Fate::Dead)] fate: Fate,
) {
    let mut street = Street::build(wiring);
    fate.befalls(&mut street.daemon);
    let newcomers = arrivals(&street, fate);
    assert_unheard(&street, !fate.is_absent());
    let held_back = held_back(street.host.netns());
    assert!(!fate.is_absent() || held_back > 100 * newcomers.len() as u64, "only {held_back} packets came");
    fate.is_over(&mut street.daemon);
    let interfaces: Vec<&str> = newcomers.iter().map(Workload::interface).collect();
    street.daemon.wait_ready(&interfaces);
    let ask =
        |protocol, to| newcomers.iter().map(move |newcomer| Probe { from: newcomer.netns(), to, protocol });
    for to in [street.victim.ipv4(), street.victim.ipv6()] {
        let allowed = ask_all(&ask(Protocol::Tcp(ECHO_PORT), to).collect::<Vec<_>>(), DUE);
        assert!(allowed.iter().all(|is_answered| *is_answered), "tcp to {to}: {allowed:?}");
        let denied = ask_all(&ask(Protocol::Udp(ECHO_PORT), to).collect::<Vec<_>>(), PATIENCE);
        assert!(!denied.iter().any(|is_answered| *is_answered), "udp to {to}: {denied:?}");
    }
    assert_unheard(&street, true);
}

/// The proof that the test above can fail.
#[rstest]
fn without_the_gate_everybody_hears_a_newcomer(#[values(Wiring::Routed, Wiring::Bridged)] wiring: Wiring) {
    let mut street = Street::build(wiring);
    street.daemon.kill();
    tear_down(street.host.netns());
    let _newcomer = street.welcome(0);
    let leaks = street.leaks(false);
    let places = ["victim", "uplink", "host", "neighbor", "bridge"];
    for place in &places[..if wiring == Wiring::Routed { 4 } else { 5 }] {
        assert!(leaks.iter().any(|leak| leak.starts_with(place)), "no leak at the {place}: {}", leaks.len());
    }
}

#[test]
fn who_runs_already_loses_nothing_when_the_gate_closes() {
    let mut town = Town::governed("closing");
    let streams = [town.api.ipv4(), town.api.ipv6()]
        .map(|address| Numbered::new(&town.web, &town.api, address).rate(5000).start());
    for _ in 0..3 {
        tear_down(town.host.netns());
        assert_eq!(town.daemon.json(&["status"])["gate"]["state"], "off");
        town.daemon.restart();
        assert_eq!(town.daemon.json(&["status"])["gate"], json!({ "state": "on" }));
    }
    for report in streams.map(|stream| stream.finish()) {
        assert_eq!(report.lost().len(), 0, "lost {:?} of {}", report.lost(), report.sent);
    }
    assert_eq!(held_back(town.host.netns()), 0);
}

#[test]
fn a_gate_that_is_right_is_left_alone_and_another_replaced() {
    let host = Host::new("same");
    let mut daemon = Daemon::start(&host);
    let first = listing(host.netns());
    daemon.kill();
    daemon.start_again();
    assert_eq!(listing(host.netns()), first, "same handles: the same rules");
    daemon.configure(&format!("{DEFAULT_CONFIG}exclude = [\"veth-free*\"]\n"));
    daemon.restart();
    assert!(listing(host.netns()).contains("iifname \"veth-free*\" accept"), "{}", listing(host.netns()));
    daemon.configure(&format!("{DEFAULT_CONFIG}unknown = \"ignore\"\n"));
    daemon.restart();
    assert_eq!(listing(host.netns()), "", "who leaves unknown workloads alone has no gate");
    let gate = &daemon.json(&["status"])["gate"];
    assert!(gate["why"].as_str().unwrap().contains("ignore"), "{gate}");
}

#[test]
fn an_excluded_interface_is_open_and_a_strange_pattern_is_told() {
    let host = Host::new("except");
    let config = "policy = []\n[attach]\nmatch = [\"veth-*\", \"ve?-*\"]\nexclude = [\"veth-free\"]\n";
    let mut daemon = Daemon::start_with(&host, config);
    let warnings = daemon.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains("ve?-*"), "{warnings}");
    daemon.kill();
    let free = host.workload("free").at("10.1.0.5/24").at("2001:db8:1::5/64").routed();
    let closed = host.workload("closed").at("10.1.0.6/24").at("2001:db8:1::6/64").routed();
    let uplink = host.workload("up").at("10.1.0.7/24").at("2001:db8:1::7/64").behind("uplink").routed();
    for address in [uplink.ipv4(), uplink.ipv6()] {
        assert!(tcp(&free, address, ECHO_PORT), "from the excluded one to {address}");
        assert!(!tcp_soon(&closed, address, ECHO_PORT), "from the other one to {address}");
    }
}

#[test]
fn rules_of_others_stay_and_ours_go_with_clean() {
    let host = Host::new("rules");
    nft(host.netns(), FOREIGN);
    let rules = || nft(host.netns(), "list ruleset");
    let before = rules();
    let mut daemon = Daemon::start(&host);
    assert!(rules().starts_with(&before), "ours stand behind theirs, unchanged: {}", rules());
    assert!(rules().len() > before.len(), "there is a gate");
    daemon.stop();
    let check = daemon.cli(&["clean", "--check"]);
    let found = String::from_utf8_lossy(&check.stdout);
    for table in TABLES {
        assert!(found.contains(&format!("nftables table {table}")), "{found}");
    }
    assert!(daemon.cli(&["clean"]).status.success());
    assert_eq!(rules(), before);
    let check = daemon.cli(&["clean", "--check"]);
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn without_nft_the_daemon_works_and_says_what_is_missing() {
    let host = Host::new("nonft");
    let [web, api] = ["10.1.0.5/24", "10.1.0.6/24"].map(|address| {
        let name = if address.contains(".5/") { "web" } else { "api" };
        host.workload(name).at(address).routed()
    });
    let mut daemon = Daemon::start(&host);
    daemon.stop();
    assert!(daemon.cli(&["clean"]).status.success());
    daemon.hide_programs();
    daemon.start_again();
    daemon.apply("version = 1\n[network.blue]\nprefixes = [\"10.1.0.0/24\"]\n");
    daemon.wait_ready(&[web.interface(), api.interface()]);
    assert!(tcp(&web, api.ipv4(), ECHO_PORT));
    let status = daemon.json(&["status"]);
    for text in [status["gate"].to_string(), status["warnings"].to_string(), daemon.log()] {
        assert!(text.contains("install the package nftables"), "{text}");
    }
    assert_eq!(status["gate"]["state"], "off");
}

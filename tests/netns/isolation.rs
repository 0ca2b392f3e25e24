//! Who reaches whom: over subnets, families and protocols, routed and bridged.

use std::net::IpAddr;

use enforcer_tests::traffic::{ECHO_PORT, Probe, Protocol, ask_all, ping, tcp, tcp_soon, udp, udp_soon};
use enforcer_tests::{Daemon, Host, Workload, traffic, wait};

use crate::town::Town;

/// One question of a matrix, in words.
type Question = (String, String, IpAddr, Protocol);

/// Asks every pair with every protocol in both families; what differs from `expected` is named. An answer
/// that is due may take its time on a busy machine, silence need not.
#[track_caller]
fn assert_reachability(workloads: &[&Workload], expected: impl Fn(&str, &str) -> bool) {
    for (answered, patience) in [(true, traffic::DUE), (false, traffic::PATIENCE)] {
        let (probes, questions) = questions(workloads, |from, to| expected(from, to) == answered);
        let answers = ask_all(&probes, patience);
        let wrong: Vec<_> = questions.iter().zip(answers).filter(|(_, seen)| *seen != answered).collect();
        assert!(wrong.is_empty(), "expected answers: {answered}, but {wrong:#?}");
    }
}

fn questions<'w>(
    workloads: &[&'w Workload],
    wanted: impl Fn(&str, &str) -> bool,
) -> (Vec<Probe<'w>>, Vec<Question>) {
    let mut probes = Vec::new();
    let mut questions = Vec::new();
    for from in workloads {
        for to in workloads.iter().filter(|to| to.name() != from.name() && wanted(from.name(), to.name())) {
            for address in [to.ipv4(), to.ipv6()] {
                for protocol in [Protocol::Tcp(ECHO_PORT), Protocol::Udp(ECHO_PORT), Protocol::Ping] {
                    probes.push(Probe { from: from.netns(), to: address, protocol });
                    questions.push((from.name().to_owned(), to.name().to_owned(), address, protocol));
                }
            }
        }
    }
    (probes, questions)
}

/// What the town's policy says.
fn share_a_network(a: &str, b: &str) -> bool {
    let networks = |name: &str| match name {
        "web" | "api" => vec!["blue"],
        "db" => vec!["green"],
        _ => vec!["blue", "green"],
    };
    networks(a).iter().any(|network| networks(b).contains(network))
}

#[test]
fn networks_span_subnets_and_double_members_reach_both() {
    let town = Town::governed("isolation");
    assert_reachability(&town.workloads(), share_a_network);
}

#[test]
fn without_a_policy_nothing_passes() {
    let town = Town::build("nopolicy");
    assert_reachability(&town.workloads(), |_, _| false);
    let warnings = town.daemon.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains("no policy was ever applied"), "{warnings}");
}

#[test]
fn one_bridge_two_networks_are_apart_in_one_subnet() {
    let host = Host::new("bridge");
    let a = host.workload("a").at("10.1.0.5/24").at("2001:db8:1::5/64").bridged();
    let b = host.workload("b").at("10.1.0.6/24").at("2001:db8:1::6/64").bridged();
    let c = host.workload("c").at("10.1.0.7/24").at("2001:db8:1::7/64").bridged();
    let daemon = Daemon::start(&host);
    daemon.wait_ready(&[a.interface(), b.interface(), c.interface()]);
    daemon.apply(
        r#"
        version = 1
        [network.ab]
        prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
        except = ["10.1.0.7/32", "2001:db8:1::7/128"]
        [network.lonely]
        prefixes = ["10.1.0.7/32", "2001:db8:1::7/128"]
        "#,
    );
    assert_reachability(&[&a, &b, &c], |from, to| from != "c" && to != "c");
}

#[test]
fn a_workload_asks_its_host_for_the_allow_list_only() {
    let town = Town::governed("tohost");
    let gateway = "10.2.0.1".parse().unwrap();
    let echo = enforcer_tests::echo::Echo::start(town.host.netns(), 53);
    let closed = enforcer_tests::echo::Echo::start(town.host.netns(), 8080);
    assert!(ping(&town.api, gateway), "ping to the host is on the list");
    assert!(udp(&town.api, gateway, 53), "udp/53 to the host is on the list");
    assert!(tcp(&town.api, gateway, 53), "tcp/53 to the host is on the list");
    assert!(!tcp_soon(&town.api, gateway, 8080), "tcp/8080 to the host is not");
    assert!(!udp_soon(&town.api, gateway, 8080), "udp/8080 to the host is not");
    drop((echo, closed));
}

#[test]
fn the_host_reaches_its_workloads() {
    let town = Town::governed("fromhost");
    for workload in town.workloads() {
        for address in [workload.ipv4(), workload.ipv6()] {
            assert!(ping(&town.host, address), "ping from the host to {address}");
            assert!(tcp(&town.host, address, ECHO_PORT), "tcp from the host to {address}");
            assert!(udp(&town.host, address, ECHO_PORT), "udp from the host to {address}");
        }
    }
}

#[test]
fn a_workload_that_appears_later_is_closed_and_then_governed() {
    let town = Town::governed("late");
    let late = town.host.workload("late").at("10.1.0.77/24").at("2001:db8:1::77/64").routed();
    town.daemon.wait_ready(&[late.interface()]);
    let others = [&town.web, &town.db, &late];
    assert_reachability(&others, |from, to| from != "db" && to != "db");
}

#[test]
fn explain_says_what_the_kernel_does() {
    let town = Town::governed("explain");
    for (from, to) in [(&town.web, &town.api), (&town.web, &town.db), (&town.db, &town.tool)] {
        let output =
            town.daemon.cli(&["explain", &from.ipv4().to_string(), &to.ipv4().to_string(), "tcp/5432"]);
        let allowed = tcp_soon(from, to.ipv4(), ECHO_PORT);
        assert_eq!(output.status.code(), Some(i32::from(!allowed)), "{} to {}", from.name(), to.name());
    }
    let denial = town.daemon.cli(&["explain", "10.1.0.5", "10.3.0.5"]);
    let text = String::from_utf8_lossy(&denial.stdout);
    assert!(text.contains("10.1.0.5 ∈ {blue}") && text.contains("10.3.0.5 ∈ {green}"), "{text}");
    assert!(text.contains("no common network"), "{text}");
}

#[test]
fn no_address_of_the_host_is_a_way_around_its_allow_list() {
    let town = Town::governed("broadcast");
    let echo = enforcer_tests::echo::Echo::start(town.host.netns(), 8080);
    // All of them lie inside the workload's own network: subnet broadcast, subnet-router anycast, gateway.
    let ways = ["10.2.0.255", "10.2.0.1", "2001:db8:2::", "2001:db8:2::1", "192.0.2.1", "2001:db8:ff::1"];
    for way in ways {
        let way: IpAddr = way.parse().unwrap();
        let any = if way.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let answered = town.api.netns().enter(|| {
            let socket = std::net::UdpSocket::bind(any).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.set_read_timeout(Some(wait::scaled(traffic::PATIENCE))).unwrap();
            socket.send_to(b"hello\n", (way, 8080)).unwrap();
            socket.recv_from(&mut [0; 64]).is_ok()
        });
        assert!(!answered, "the host answered at {way}");
    }
    let before = town.daemon.json(&["flows", "--port", "8080"]);
    let denied = before.as_array().unwrap().iter().filter(|flow| flow["reason"] == "default-deny").count();
    assert_eq!(denied, ways.len(), "each attempt is counted: {before}");
    drop(echo);
}

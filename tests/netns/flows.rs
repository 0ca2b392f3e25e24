//! Counters: every packet that the generator sent, allowed or denied, counted once.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use enforcer_tests::daemon::{DEFAULT_CONFIG, PATIENCE};
use enforcer_tests::{Numbered, Workload, wait};
use serde_json::Value;

use crate::town::Town;

/// Sends datagrams from a port of its own and nothing else.
fn send(from: &Workload, to: IpAddr, port: u16, count: usize) {
    let any: IpAddr = if to.is_ipv4() { "0.0.0.0".parse().unwrap() } else { "::".parse().unwrap() };
    from.netns().enter(|| {
        let socket = UdpSocket::bind((any, port)).expect("the port is free");
        for _ in 0..count {
            socket.send_to(b"counted", SocketAddr::new(to, 9)).expect("a datagram can be sent");
        }
    });
}

fn packets(flows: &Value, port: u16) -> (u64, Vec<String>) {
    let mine = flows.as_array().unwrap().iter().filter(|flow| flow["src_port"] == port);
    let mut verdicts = Vec::new();
    let mut sum = 0;
    for flow in mine {
        sum += flow["packets_fwd"].as_u64().unwrap() + flow["packets_rev"].as_u64().unwrap();
        verdicts.push(format!("{} {}", flow["verdict"].as_str().unwrap(), flow["reason"].as_str().unwrap()));
    }
    (sum, verdicts)
}

#[test]
fn flows_sum_to_exactly_what_was_sent() {
    let town = Town::governed("flows");
    let sent = [
        (&town.web, town.api.ipv4(), 41001, 1000, "pass shared-network"),
        (&town.web, town.api.ipv6(), 41002, 500, "pass shared-network"),
        (&town.web, town.db.ipv4(), 41003, 700, "drop default-deny"),
        (&town.api, town.db.ipv6(), 41004, 300, "drop default-deny"),
        (&town.tool, town.db.ipv4(), 41005, 200, "pass shared-network"),
        (&town.tool, "192.0.2.200".parse().unwrap(), 41006, 100, "drop default-deny"),
    ];
    for (from, to, port, count, _) in sent {
        send(from, to, port, count);
    }
    let mut seen = Vec::new();
    let expected: Vec<_> = sent
        .iter()
        .map(|(_, _, port, count, verdict)| (*port, *count as u64, vec![(*verdict).to_owned()]))
        .collect();
    wait::within(std::time::Duration::from_secs(2), || {
        let flows = town.daemon.json(&["flows"]);
        seen = sent
            .iter()
            .map(|(_, _, port, ..)| {
                let (count, verdicts) = packets(&flows, *port);
                (*port, count, verdicts)
            })
            .collect();
        (seen == expected).then_some(())
    });
    assert_eq!(seen, expected, "(source port, packets, verdicts)");
}

#[test]
fn totals_agree_with_each_other() {
    let town = Town::governed("totals");
    let before = town.daemon.json(&["drops"]);
    send(&town.web, town.db.ipv4(), 42001, 250);
    send(&town.web, town.api.ipv4(), 42002, 150);
    let count = |value: &Value, reason: &str| {
        let reasons = value["reasons"].as_array().unwrap();
        reasons.iter().find(|entry| entry["reason"] == reason).unwrap()["packets"].as_u64().unwrap()
    };
    let after = town.daemon.json(&["drops"]);
    assert_eq!(count(&after, "default-deny") - count(&before, "default-deny"), 250);
    let endpoints = town.daemon.json(&["endpoints"]);
    let web = endpoints
        .as_array()
        .unwrap()
        .iter()
        .find(|endpoint| endpoint["name"] == town.web.interface())
        .unwrap();
    assert_eq!(web["counters"]["sent_dropped"]["packets"], 250);
    // Besides the datagrams, web sent and got what made neighbours known.
    assert!(web["counters"]["sent"]["packets"].as_u64().unwrap() >= 150);
    let networks = town.daemon.json(&["networks", "blue"]);
    let blue = networks.as_array().map_or(&networks, |all| &all[0]);
    // The datagrams, and the errors that say that nobody listens on port 9.
    assert!(blue["packets"].as_u64().unwrap() >= 150, "{blue}");
    let status = town.daemon.json(&["status"]);
    let drops: u64 = after["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["verdict"] == "drop")
        .map(|entry| entry["packets"].as_u64().unwrap())
        .sum();
    assert_eq!(status["dropped"]["packets"].as_u64().unwrap(), drops, "the sum over reasons is the drops");
    let recent = after["recent"].as_array().unwrap();
    assert!(
        recent.iter().any(|drop| drop["dst"] == "10.3.0.5" && drop["endpoint"] == town.web.interface()),
        "{recent:?}"
    );
}

#[test]
fn the_generation_is_in_every_flow_and_in_status() {
    let town = Town::governed("generation");
    send(&town.web, town.api.ipv4(), 43001, 5);
    let status = town.daemon.json(&["status"]);
    assert_eq!(status["generation"], 1);
    let flows = town.daemon.json(&["flows", "--port", "43001"]);
    let flows = flows.as_array().unwrap();
    assert!(!flows.is_empty() && flows.iter().all(|flow| flow["generation"] == 1), "{flows:?}");
}

/// Under a stream: no packet waits for tables, totals go on, and flow records begin anew.
#[test]
fn flow_tables_of_another_size_or_kind_replace_those_in_use() {
    let mut town = Town::governed("flow-sizes");
    let stream = Numbered::new(&town.web, &town.api, town.api.ipv4()).rate(2000).start();
    let passed = |town: &Town| town.daemon.json(&["networks"])[0]["packets"].as_u64().unwrap();
    let counted = |town: &Town| {
        let flows = town.daemon.json(&["flows", "--src", "10.1.0.5", "--dst", "10.2.0.5"]);
        flows.as_array().unwrap().iter().map(|flow| flow["packets_fwd"].as_u64().unwrap()).sum::<u64>()
    };
    for sizes in ["flows = 100000", "tables = \"kernel\"\nflows = 5000", "flows = 1\ndenied = 1"] {
        wait::until("packets are counted", PATIENCE, || (counted(&town) > 4000).then_some(()));
        let total = passed(&town);
        let before = stream.sent();
        town.daemon.configure(&DEFAULT_CONFIG.replace("flows = 32768", sizes));
        town.daemon.restart();
        assert!(passed(&town) >= total, "{sizes}: totals go on");
        wait::until("flows are counted anew", PATIENCE, || (counted(&town) > 0).then_some(()));
        let anew = counted(&town);
        let since = stream.sent() - before;
        assert!(anew <= since, "{sizes}: {anew} packets, of {since} since the daemon was restarted");
    }
    town.daemon
        .configure(&DEFAULT_CONFIG.replace("networks = 1024", "networks = 4096\nconversations = 1000000"));
    let before = town.daemon.log().len();
    town.daemon.restart();
    let said = &town.daemon.log()[before..];
    for kept in [
        "networks stays 1024, as",
        "4096 counts after",
        "conversations stays 262144, as",
        "1048576 counts after",
    ] {
        assert!(said.contains(kept), "{said}");
    }
    let report = stream.finish();
    assert_eq!((report.lost().len(), report.duplicated), (0, 0), "of {}", report.sent);
}

//! Under load: nobody pays for a neighbour's flood, and every packet is counted once.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_common::limits::CONVERSATIONS;
use enforcer_tests::connection::{Connection, hears};
use enforcer_tests::spoof::bind_foreign;
use enforcer_tests::traffic::{DUE, unspecified_like};
use enforcer_tests::{Daemon, Numbered, Workload};

use crate::pair::{Pair, allow, deny};

/// Destination ports of one source port's flood.
const PORTS: u16 = 60_000;

/// Opens more flows than the state table holds, a datagram each.
fn flood(flooder: &Workload, victim: &Workload) {
    for _ in 0..=CONVERSATIONS / u32::from(PORTS) {
        flooder.netns().enter(|| {
            let socket = UdpSocket::bind((unspecified_like(victim.ipv4()), 0)).unwrap();
            for port in 1..=PORTS {
                // An error that came back for an earlier one is told here, once, in place of sending.
                socket.send_to(b"!", (victim.ipv4(), port)).ok();
            }
        });
    }
}

#[test]
fn a_flood_of_flows_costs_nobody_else_a_connection() {
    let pair = Pair::build("flood");
    let flooder = pair.host.workload("flooder").at("10.1.0.6/24").routed();
    pair.daemon.wait_ready(&[flooder.interface()]);
    pair.govern(&[allow("clients", "servers", &["udp", "tcp/7000"])]);
    let connections = [pair.server.ipv4(), pair.server.ipv6()].map(|server| {
        let connection = Connection::open(&pair.client, &pair.server, SocketAddr::new(server, 7000)).unwrap();
        connection.upload(1000).and_then(|()| connection.download(1000)).unwrap();
        connection
    });
    flood(&flooder, &pair.server);
    assert!(
        pair.daemon.counts("pass")["allowed-by-rule"] > u64::from(CONVERSATIONS),
        "all of them were admitted"
    );
    for connection in &connections {
        // The server speaks first: nothing of the client's refreshes the state.
        (&connection.server).write_all(b"!").unwrap();
        assert!(hears(&connection.client, DUE), "the idle connection is forgotten");
    }
}

/// What was dropped since `before`, for reasons that had any.
fn dropped_since(daemon: &Daemon, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let news =
        daemon.counts("drop").into_iter().map(|(reason, count)| (reason.clone(), count - before[&reason]));
    news.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_was_sent_is_what_arrived_and_what_was_dropped() {
    let pair = Pair::build("sum");
    pair.govern(&[
        allow("clients", "servers", &["udp/7000-7009"]),
        deny("clients", "servers", &["udp/7005"]),
    ]);
    let (client, server) = (&pair.client, &pair.server);
    let stream = |from, to: &'static str, address, port| {
        let to = if to == "server" { server } else { client };
        Numbered::new(from, to, address).port(port).rate(1500).start()
    };
    let before = pair.daemon.counts("drop");
    let streams = [
        ("", stream(client, "server", server.ipv4(), 7000)),
        ("", stream(client, "server", server.ipv6(), 7001)),
        ("denied-by-rule", stream(client, "server", server.ipv4(), 7005)),
        ("default-deny", stream(client, "server", server.ipv6(), 7010)),
        ("default-deny", stream(server, "client", client.ipv4(), 7000)),
    ];
    let mut expected = BTreeMap::new();
    client.netns().enter(|| {
        let thief = bind_foreign(SocketAddr::new(server.ipv4(), 0)).unwrap();
        for _ in 0..500 {
            thief.send_to(b"!", (server.ipv4(), 7000)).unwrap();
        }
    });
    expected.insert("spoofed-source".to_owned(), 500);
    for (reason, stream) in streams {
        enforcer_tests::wait::until("there is some load", Duration::from_secs(20), || {
            (stream.sent() > 1000).then_some(())
        });
        let report = stream.finish();
        let lost = report.lost().len() as u64;
        assert_eq!(lost, if reason.is_empty() { 0 } else { report.sent }, "{reason}");
        if lost > 0 {
            *expected.entry(reason.to_owned()).or_default() += lost;
        }
    }
    assert_eq!(dropped_since(&pair.daemon, &before), expected);
}

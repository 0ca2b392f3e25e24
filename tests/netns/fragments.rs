//! Datagrams in fragments: where the first one passes, all of them do.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_tests::beyond::{Beyond, FAR};
use enforcer_tests::traffic::{DUE, PATIENCE, unspecified_like};
use enforcer_tests::{NetNs, wait};
use serde_json::Value;

use crate::pair::{Pair, allow};

/// A DNS answer as large as EDNS usually lets it be (RFC 6891 §6.2.5), give or take: three fragments.
const ANSWER: usize = 4000;
const FRAGMENTS: u64 = 3;
const DNS: u16 = 53;
/// Datagrams of one run of iperf3.
const BLOCKS: &str = "300";

/// Asks `server` in 40 bytes, which answers in [`ANSWER`]; how many bytes came back.
fn ask(client: &NetNs, server: &NetNs, address: IpAddr) -> io::Result<usize> {
    let nameserver = server.enter(|| UdpSocket::bind((address, DNS)))?;
    nameserver.set_read_timeout(Some(wait::scaled(DUE)))?;
    let resolver = client.enter(|| UdpSocket::bind((unspecified_like(address), 0)))?;
    resolver.set_read_timeout(Some(wait::scaled(DUE)))?;
    resolver.send_to(&[1; 40], (address, DNS))?;
    let (_, asker) = nameserver.recv_from(&mut [0; 64])?;
    nameserver.send_to(&[2; ANSWER], asker)?;
    resolver.recv(&mut [0; 2 * ANSWER])
}

#[test]
fn a_fragmented_dns_answer_reaches_who_asked() {
    let pair = Pair::build("dns");
    let beyond = Beyond::of(&pair.host);
    pair.govern(&[allow("clients", "servers", &["udp/53"]), allow("clients", "world", &["udp/53"])]);
    let servers = [
        (pair.server.netns(), pair.server.ipv4()),
        (pair.server.netns(), pair.server.ipv6()),
        (&beyond.far, FAR.v4.into()),
        (&beyond.far, FAR.v6.into()),
    ];
    for (server, address) in servers {
        for _ in 0..10 {
            let answer = ask(pair.client.netns(), server, address);
            assert_eq!(answer.unwrap_or_else(|error| panic!("from {address}: {error}")), ANSWER);
        }
    }
    assert_eq!(pair.daemon.dropped("fragment"), 0);
}

#[test]
fn unsolicited_fragments_reach_nobody() {
    let pair = Pair::build("unsolicited");
    pair.govern(&[allow("clients", "servers", &["udp/53"])]);
    for (from, to) in [(pair.server.ipv4(), pair.client.ipv4()), (pair.server.ipv6(), pair.client.ipv6())] {
        let victim = pair.client.netns().enter(|| UdpSocket::bind((to, 0))).unwrap();
        victim.set_read_timeout(Some(wait::scaled(PATIENCE))).unwrap();
        let nameserver = pair.server.netns().enter(|| UdpSocket::bind((from, DNS))).unwrap();
        let count = || ["default-deny", "fragment"].map(|reason| pair.daemon.dropped(reason));
        let before = count();
        for _ in 0..5 {
            nameserver.send_to(&[2; ANSWER], victim.local_addr().unwrap()).unwrap();
        }
        assert!(victim.recv(&mut [0; 2 * ANSWER]).is_err(), "{to} has heard {from}");
        assert_eq!(count(), [before[0] + 5, before[1] + 5 * (FRAGMENTS - 1)], "{from}");
    }
}

#[test]
fn a_fragmented_question_reaches_only_the_port_of_the_rule() {
    let pair = Pair::build("questions");
    pair.govern(&[allow("clients", "servers", &["udp/53"])]);
    for address in [pair.server.ipv4(), pair.server.ipv6()] {
        let heard = [(DNS, DUE), (54, PATIENCE)].map(|(port, patience)| {
            let server = pair.server.netns().enter(|| UdpSocket::bind((address, port))).unwrap();
            server.set_read_timeout(Some(wait::scaled(patience))).unwrap();
            pair.client.netns().enter(|| {
                let client = UdpSocket::bind((unspecified_like(address), 0)).unwrap();
                client.send_to(&[1; ANSWER], SocketAddr::new(address, port)).unwrap();
            });
            server.recv(&mut [0; 2 * ANSWER]).ok()
        });
        assert_eq!(heard, [Some(ANSWER), None], "ports 53 and 54 at {address}");
    }
}

/// Runs iperf3 from one namespace to another, and returns the client's report.
fn iperf3(client: &NetNs, server: &NetNs, address: IpAddr) -> Value {
    let mut serving = server.spawn("iperf3", &["--server", "--one-off", "--logfile", "/dev/null"]);
    let address = address.to_string();
    // At a pace at which the server may miss its turn for a while, and its socket still holds what comes.
    let pace = ["--bitrate", "5M", "--blockcount", BLOCKS, "--window", "200K"];
    let args = [&["--client", &address, "--udp", "--length", "4000", "--json"], &pace[..]].concat();
    // Until the server listens, the client is refused at once, and says so only in its report.
    let report = wait::until("iperf3 has ended well", Duration::from_secs(20), || {
        let report: Value = serde_json::from_slice(&client.run("iperf3", &args).stdout).ok()?;
        report["error"].is_null().then_some(report)
    });
    serving.wait().unwrap();
    report
}

#[test]
fn iperf3_loses_no_fragmented_datagram() {
    let pair = Pair::build("iperf3");
    pair.govern(&[allow("clients", "servers", &["tcp/5201", "udp/5201"])]);
    for address in [pair.server.ipv4(), pair.server.ipv6()] {
        let report = iperf3(pair.client.netns(), pair.server.netns(), address);
        let sum = &report["end"]["sum"];
        assert_eq!(
            (&sum["packets"], &sum["lost_packets"]),
            (&BLOCKS.parse::<u64>().unwrap().into(), &0.into()),
            "{sum}"
        );
    }
    assert_eq!(pair.daemon.dropped("fragment"), 0);
}

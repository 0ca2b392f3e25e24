//! What is too large for the interface that it would leave by, and packets that are many, until a network card would
//! send them (GSO).

use std::net::SocketAddr;

use enforcer_tests::capture::Capture;
use enforcer_tests::connection::Connection;
use enforcer_tests::packet::Family;
use enforcer_tests::snmp::counted;
use enforcer_tests::wait;
use rstest::rstest;
use serde_json::Value;

use super::{Border, Layout, PATIENCE};
use crate::path_mtu::assert_told;

const PORT: u16 = 7000;
const BULK: usize = 4 << 20;
/// Bytes that no frame of a single segment has.
const SEVERAL_SEGMENTS: usize = 2 * 1514;

/// A byte more than the interface takes, in a datagram that nobody on the way may cut.
#[rstest]
#[case::out("UPLINK")]
#[case::into("WEB")]
fn who_sends_too_much_is_told_by_the_host(
    #[case] narrow: &str,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let border = Border::build("out-too-much", Layout::Routed);
    border.on_host(&format!("ip link set {narrow} mtu 1400"));
    border.wait_straight(family);
    let [web, outside] = border.addresses(family);
    match narrow {
        "UPLINK" => assert_told(1_400, &border.web, outside),
        _ => assert_told(1_400, &border.outside, web),
    }
    assert!(border.goes_straight(family), "what fits goes straight as before");
}

/// As its sender's TCP counts them; by which way they go makes no difference.
#[rstest]
fn super_packets_arrive_whole_and_are_counted_as_their_segments(
    #[values(Family::V4, Family::V6)] family: Family,
    #[values("auto", "off")] fastpath: &str,
) {
    let border = Border::build("out-whole", Layout::Routed);
    border.wait_straight(family);
    if fastpath == "off" {
        border.forbid();
        border.wait_by_stack(family);
    }
    let heard = Capture::start(border.web.netns());
    let sent = || [&border.outside, &border.web].map(|workload| counted(workload, "Tcp", "OutSegs"));
    let before = sent();
    let to = SocketAddr::new(border.addresses(family)[0], PORT);
    let connection = Connection::open(&border.outside, &border.web, to).unwrap();
    connection.upload(BULK).expect("much gets there");
    let whole = heard.lengths().into_iter().filter(|length| *length > SEVERAL_SEGMENTS).count();
    assert!(whole > 10, "super-packets that arrived whole: {whole}");
    let mut flow = Value::Null;
    let (mut told, mut expected) = Default::default();
    // An acknowledgement may be late.
    wait::within(PATIENCE, || {
        flow = border.daemon.json(&["flows", "--port", &PORT.to_string()])[0].clone();
        told = ["packets_fwd", "packets_rev"].map(|way| flow[way].as_u64().unwrap());
        let sent = sent();
        expected = [0, 1].map(|at| sent[at] - before[at]);
        (told == expected).then_some(())
    });
    assert_eq!(told, expected, "segments there and back: {flow}");
    // Ethernet, IP and TCP with its options.
    let headers = flow["bytes_fwd"].as_u64().unwrap().saturating_sub(BULK as u64) / told[0];
    assert!((14 + 20 + 20..14 + 40 + 60).contains(&headers), "{headers} bytes of headers for each: {flow}");
}

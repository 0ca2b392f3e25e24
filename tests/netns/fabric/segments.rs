//! Packets that are many, until a network card would send them (GSO), and that a tunnel carries as one.

use std::net::SocketAddr;

use enforcer_tests::capture::Capture;
use enforcer_tests::connection::Connection;
use enforcer_tests::daemon::PATIENCE;
use enforcer_tests::fabric::Underlay;
use enforcer_tests::snmp::counted;
use enforcer_tests::wait;
use rstest::rstest;

use super::{PORT, governed};

const BULK: usize = 1 << 20;
/// Bytes that no frame of a single segment has.
const SEVERAL_SEGMENTS: usize = 2 * 1514;

/// On both hosts, as their sender's TCP counts them.
#[rstest]
#[case::vxlan(Underlay::Vxlan)]
#[case::fan(Underlay::Fan)]
fn super_packets_arrive_whole_and_are_counted_as_their_segments(#[case] underlay: Underlay) {
    let (fabric, daemons) = governed(underlay, &format!("segments{underlay:?}").to_lowercase());
    let [web, api] = ["web", "api"].map(|name| fabric.workload(name));
    for family in underlay.families() {
        let to = SocketAddr::new(api.address(*family), PORT);
        let connection = Connection::open(web, api, to).unwrap();
        connection.upload(BULK).expect("how much a packet holds is learned");
        let counts = || {
            let told = daemons.each_ref().map(|daemon| {
                let flows =
                    daemon.json(&["flows", "--dst", &to.ip().to_string(), "--port", &PORT.to_string()]);
                flows[0]["packets_fwd"].as_u64().unwrap_or_else(|| panic!("no flow: {flows}"))
            });
            (told, counted(web, "Tcp", "OutSegs"))
        };
        let (told_before, sent_before) = counts();
        let heard = Capture::start(api.netns());
        connection.upload(BULK).expect("much gets there");
        let whole = heard.lengths().into_iter().filter(|length| *length > SEVERAL_SEGMENTS).count();
        assert!(whole > 10, "{family:?}: super-packets that arrived whole: {whole}");
        let (mut told, mut expected) = Default::default();
        // One may be sent again between two looks.
        wait::within(PATIENCE, || {
            let (told_now, sent) = counts();
            told = [0, 1].map(|host| told_now[host] - told_before[host]);
            expected = [sent - sent_before; 2];
            (told == expected).then_some(())
        });
        assert_eq!(told, expected, "{family:?}: segments, by each host");
    }
}

//! Packets that are many, until a network card would send them (GSO).

use std::net::{IpAddr, SocketAddr, UdpSocket};

use enforcer_tests::capture::Capture;
use enforcer_tests::connection::Connection;
use enforcer_tests::kernel::version;
use enforcer_tests::packet::Family;
use enforcer_tests::traffic::{ECHO_PORT, unspecified_like};
use enforcer_tests::{Workload, wait};
use nix::sys::socket::{setsockopt, sockopt};
use rstest::rstest;

use crate::street::{Layout, PATIENCE, Street};

/// Bytes that no frame of a single segment has.
const SEVERAL_SEGMENTS: usize = 2 * 1514;
/// Super-packets that are sent one after the other, and packets that each is to be cut into.
const SENT: usize = 20;
const PIECES: usize = 8;

/// What a sender's TCP hands over as one packet of many segments is that to the receiver, too.
#[rstest]
fn super_packets_of_tcp_go_straight_in_one_piece(
    #[values(Layout::Routed, Layout::Bridged)] layout: Layout,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let street = Street::build(&format!("whole-{layout:?}-{family:?}").to_lowercase(), layout);
    street.wait_straight(family);
    let to = SocketAddr::new(street.address(family), 7000);
    let connection = Connection::open(&street.asking, &street.answering, to).unwrap();
    let heard = Capture::start(street.answering.netns());
    let mut last = None;
    let went = wait::within(PATIENCE, || {
        heard.lengths();
        let before = street.delivered(&street.answering);
        connection.upload(4 << 20).expect("much gets there");
        let by_stack = street.delivered(&street.answering) - before;
        let whole = heard.lengths().into_iter().filter(|length| *length > SEVERAL_SEGMENTS).count() as u64;
        last = Some((whole, by_stack));
        // A daemon that a busy machine kept from looking around lets all of them go by the stack.
        (whole > 10 && by_stack < whole / 2).then_some(())
    });
    assert!(went.is_some(), "super-packets that arrived whole, and packets that went by the stack: {last:?}");
}

/// Only the kernel knows how large the pieces of what is not TCP will be, and not every kernel tells (5.12).
#[rstest]
fn super_packets_of_udp_go_straight_where_the_kernel_measures_them(
    #[values(Layout::Routed, Layout::Bridged)] layout: Layout,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let street = Street::build(&format!("pieces-{layout:?}-{family:?}").to_lowercase(), layout);
    street.wait_straight(family);
    if version() < (5, 12) {
        // There a veth cuts what is of UDP itself.
        let ways = ways_of_super_packets(&street, family, 1_200);
        assert_eq!(ways.whole, 0, "{ways:?}");
    } else {
        wait_whole_and_straight(&street, family, 1_200);
    }
}

/// The sender's interface takes them, the receiver's does not: of IPv4 the host cuts them, of IPv6 it tells who sends them.
#[rstest]
fn what_would_be_cut_too_large_is_the_stacks(#[values(Family::V4, Family::V6)] family: Family) {
    let street = Street::build(&format!("large-{family:?}").to_lowercase(), Layout::Routed);
    street.on_host("ip link set ANSWERING mtu 1400");
    street.wait_straight(family);
    let fits = 1_400 - if family == Family::V4 { 20 + 8 } else { 40 + 8 };
    if version() >= (5, 12) {
        wait_whole_and_straight(&street, family, fits);
    }
    let (heard, before) = (Capture::start(street.answering.netns()), street.delivered(&street.answering));
    send_super_packets(&street.asking, street.address(family), fits + 1);
    wait::until("the host has done its work", PATIENCE, || {
        let to = street.address(family).to_string();
        let output = street.asking.netns().run("ip", &["route", "get", &to]);
        let is_told = String::from_utf8_lossy(&output.stdout).contains("mtu 1400");
        let are_cut = street.delivered(&street.answering) - before >= (SENT * PIECES) as u64;
        (if family == Family::V4 { are_cut } else { is_told }).then_some(())
    });
    let whole = heard.lengths().into_iter().filter(|length| *length > SEVERAL_SEGMENTS).count();
    assert_eq!(whole, 0, "none arrived as it was");
}

/// What became of super-packets: how many arrived whole, and how many packets went by the stack.
#[derive(Debug)]
struct Ways {
    whole: usize,
    by_stack: u64,
}

fn ways_of_super_packets(street: &Street, family: Family, piece: usize) -> Ways {
    let (heard, before) = (Capture::start(street.answering.netns()), street.delivered(&street.answering));
    send_super_packets(&street.asking, street.address(family), piece);
    let by_stack = street.delivered(&street.answering) - before;
    Ways { whole: heard.lengths().into_iter().filter(|length| *length > SEVERAL_SEGMENTS).count(), by_stack }
}

#[track_caller]
fn wait_whole_and_straight(street: &Street, family: Family, piece: usize) {
    let mut last = None;
    let went = wait::within(PATIENCE, || {
        let ways = last.insert(ways_of_super_packets(street, family, piece));
        // A daemon that a busy machine kept from looking around lets all of them go by the stack.
        (ways.whole > SENT / 2 && ways.by_stack < SENT as u64 / 2).then_some(())
    });
    assert!(went.is_some(), "pieces of {piece} bytes: {last:?}");
}

/// Each of so many bytes a packet, behind its headers.
fn send_super_packets(from: &Workload, to: IpAddr, piece: usize) {
    from.netns().enter(|| {
        let socket = UdpSocket::bind(SocketAddr::new(unspecified_like(to), 0)).expect("a socket");
        setsockopt(&socket, sockopt::UdpGsoSegment, &(piece as i32)).expect("the kernel cuts (4.18)");
        for _ in 0..SENT {
            // Once the host has said that they are too large the sender's own kernel refuses.
            let _ = socket.send_to(&vec![0; PIECES * piece], SocketAddr::new(to, ECHO_PORT));
        }
    });
}

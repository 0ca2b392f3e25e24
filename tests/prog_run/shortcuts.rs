//! The shortcut into a receiver's interface: what a router would have done, or a bridge, and when it is not taken.

use enforcer::shortcut::Kinds;
use enforcer_common::{
    mode::Mode,
    shortcut::Shortcut,
    verdict::{DropReason, PassReason::*},
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, HOST, Packet, from},
    prog_run::Lab,
};
use etherparse::Ipv4Header;
use rstest::rstest;

use crate::{DIRECTION, TENANTS, between, lab, ruled};

/// MACs of the host's side, which is whom a router's packets are for, and of the workloads' own.
const GATEWAYS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
const OWN: [[u8; 6]; 2] = [[2, 0, 0, 0, 2, 1], [2, 0, 0, 0, 2, 2]];
const MTU: u32 = 1500;
/// Ethernet, IPv4 or IPv6, TCP without options.
const HEADERS: [usize; 2] = [14 + 20 + 20, 14 + 40 + 20];

/// `a` and `b` may reach each other, over this bridge.
fn connect(lab: &mut Lab, bridge: u32) {
    for (number, name) in ["a", "b"].into_iter().enumerate() {
        let shortcut = Shortcut {
            flags: Kinds::ALL.0,
            bridge,
            mtu: MTU,
            mac: OWN[number],
            gateway: GATEWAYS[number],
            ..Shortcut::default()
        };
        lab.shortcut(name, shortcut);
    }
    lab.lease(Kinds::ALL);
}

/// The frame is for that MAC.
fn addressed(packet: Packet, mac: [u8; 6]) -> Packet {
    mac.into_iter().enumerate().fold(packet, |packet, (index, byte)| packet.byte(index, byte))
}

/// A packet from `a` to `b`, in a frame to the router.
fn to_router(family: Family) -> Packet {
    addressed(between(family, BLUE_A, BLUE_B), GATEWAYS[0])
}

const fn headers(family: Family) -> usize {
    match family {
        Family::V4 => HEADERS[0],
        Family::V6 => HEADERS[1],
    }
}

#[rstest]
fn a_router_counts_the_hop_and_writes_the_next_frame(
    mut lab: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(2, 64, 255)] hops: u8,
) {
    connect(&mut lab, 0);
    let packet = to_router(family).hop_limit(hops).payload(100);
    let received = lab.received("b");
    let frame = lab.sent_by("a", packet.clone()).straight().expect("it goes straight");
    assert_eq!(lab.received("b"), received + 1, "counted for its receiver");
    let mut wanted = packet.bytes();
    wanted[..6].copy_from_slice(&OWN[1]);
    wanted[6..12].copy_from_slice(&GATEWAYS[1]);
    match family {
        Family::V4 => {
            let (mut header, _) = Ipv4Header::from_slice(&wanted[14..]).unwrap();
            header.time_to_live -= 1;
            header.header_checksum = header.calc_header_checksum();
            wanted[14..34].copy_from_slice(&header.to_bytes());
        }
        Family::V6 => wanted[14 + 7] -= 1,
    }
    assert_eq!(frame, wanted, "{packet}");
}

#[rstest]
fn a_bridge_leaves_the_frame_as_it_is(mut lab: Lab, #[values(Family::V4, Family::V6)] family: Family) {
    connect(&mut lab, 7);
    let packet = addressed(between(family, BLUE_A, BLUE_B), OWN[1]);
    assert_eq!(lab.sent_by("a", packet.clone()).straight(), None, "the bridge learns where `a` is");
    for _ in 0..3 {
        let frame = lab.sent_by("a", packet.clone()).straight().expect("then it goes straight");
        assert_eq!(frame, packet.bytes(), "{packet}");
    }
    let packet = addressed(between(family, BLUE_A, BLUE_B), [255; 6]);
    assert_eq!(lab.sent_by("a", packet).straight(), None, "what is for all is the bridge's");
}

#[rstest]
fn the_checksum_is_right_whatever_it_was(mut lab: Lab) {
    connect(&mut lab, 0);
    for id in 0..=u16::MAX {
        if id % 97 != 0 && id < u16::MAX - 600 {
            continue;
        }
        lab.lease(Kinds::ALL);
        let frame = lab.sent_by("a", to_router(Family::V4).id(id)).straight().expect("it goes straight");
        let (header, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "identification {id}");
    }
}

#[rstest]
fn nobody_goes_straight_without_a_lease(mut lab: Lab, #[values(Family::V4, Family::V6)] family: Family) {
    assert_eq!(lab.sent_by("a", to_router(family)).straight(), None, "nothing is known");
    connect(&mut lab, 0);
    assert!(lab.sent_by("a", to_router(family)).straight().is_some());
    lab.lease(Kinds::BRIDGED);
    assert_eq!(lab.sent_by("a", to_router(family)).straight(), None, "the host minds");
    lab.lease(Kinds::ALL);
    lab.shortcut("b", Shortcut::default());
    assert_eq!(lab.sent_by("a", to_router(family)).straight(), None, "`b` is gone");
    connect(&mut lab, 0);
    lab.lease(Kinds::NONE);
    lab.sent_by("a", to_router(family)).passes(SharedNetwork).is_stamped_as("a");
}

#[rstest]
fn what_needs_more_than_that_goes_by_the_stack(
    mut ruled: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    connect(&mut ruled, 0);
    let largest = MTU as usize + 14 - headers(family);
    let no_hop = to_router(family).hop_limit(1);
    let too_big = to_router(family).payload(largest + 1);
    let to_host = addressed(from(BLUE_A.on(family)).to(HOST.on(family)).udp(53), GATEWAYS[0]);
    let to_another = addressed(between(family, BLUE_A, DB), GATEWAYS[0]);
    let to_nobody = addressed(between(family, BLUE_A, BLUE_B), [2, 9, 9, 9, 9, 9]);
    for packet in [no_hop, too_big, to_host, to_another, to_nobody] {
        assert_eq!(ruled.sent_by("a", packet.clone()).straight(), None, "{packet}");
    }
    assert!(ruled.sent_by("a", to_router(family).payload(largest)).straight().is_some(), "not too big");
}

/// Every router reads hop-by-hop options (RFC 8200 §4.3); others are for who receives the packet.
#[rstest]
fn what_every_router_has_to_read_goes_by_the_stack(mut ruled: Lab) {
    connect(&mut ruled, 0);
    let packet = || to_router(Family::V6);
    assert_eq!(ruled.sent_by("a", packet().hop_by_hop()).straight(), None, "hop-by-hop options");
    assert!(ruled.sent_by("a", packet()).straight().is_some(), "without");
}

#[rstest]
fn what_will_be_cut_is_measured_by_its_pieces(
    mut lab: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    connect(&mut lab, 0);
    let piece = MTU as usize + 14 - headers(family);
    let packet = || to_router(family).payload(2 * piece);
    assert!(lab.sent_by("a", packet()).segmented(2, piece as u32).straight().is_some());
    assert_eq!(
        lab.sent_by("a", packet()).segmented(2, piece as u32 + 1).straight(),
        None,
        "its pieces do not fit"
    );
}

#[rstest]
fn what_is_denied_or_only_let_go_on_is_not_handed_over(
    mut lab: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    connect(&mut lab, 0);
    lab.shortcut(
        "db",
        Shortcut { flags: Kinds::ALL.0, mtu: MTU, mac: OWN[1], gateway: GATEWAYS[1], ..Shortcut::default() },
    );
    let denied = || addressed(between(family, BLUE_A, DB), GATEWAYS[0]);
    lab.sent_by("a", denied()).drops(DropReason::DefaultDeny);
    lab.host_mode(Mode::Observe);
    assert_eq!(lab.sent_by("a", denied()).straight(), None, "the receiver's hook may drop it");
    let spoofed = || addressed(between(family, BLUE_B, DB), GATEWAYS[0]);
    assert_eq!(lab.sent_by("a", spoofed()).straight(), None);
    lab.apply(&format!("{TENANTS}{DIRECTION}"));
    lab.lease(Kinds::ALL);
    assert!(lab.sent_by("a", denied()).straight().is_some(), "where it is admitted");
    assert_eq!(lab.sent_by("a", spoofed()).straight(), None, "admitted, and not `a`'s");
}

#[rstest]
fn conversations_that_a_rule_admits_go_straight_both_ways(
    mut ruled: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let ends = |mac, gateway| Shortcut { flags: Kinds::ALL.0, mtu: MTU, mac, gateway, ..Shortcut::default() };
    ruled.shortcut("a", ends(OWN[0], GATEWAYS[0]));
    ruled.shortcut("db", ends(OWN[1], GATEWAYS[1]));
    ruled.lease(Kinds::ALL);
    let question = between(family, BLUE_A, DB);
    let answer = question.answer();
    ruled.sent_by("db", addressed(answer.clone(), GATEWAYS[1])).drops(DropReason::DefaultDeny);
    for _ in 0..2 {
        assert!(
            ruled.sent_by("a", addressed(question.clone(), GATEWAYS[0])).straight().is_some(),
            "the question"
        );
        assert!(
            ruled.sent_by("db", addressed(answer.clone(), GATEWAYS[1])).straight().is_some(),
            "the answer"
        );
    }
}

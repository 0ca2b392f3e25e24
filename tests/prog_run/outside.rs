//! To the outside and back past the host's stack: what a router would have done, and when it is left to it.

use enforcer::shortcut::Kinds;
use enforcer_common::{
    mode::Mode,
    shortcut::Shortcut,
    verdict::{DropReason, PassReason::*, Verdict},
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_FAR, DB_FAR, Family, HOST, OUTSIDER, Packet, Party, from},
    prog_run::Lab,
};
use etherparse::Ipv4Header;
use rstest::{fixture, rstest};

use crate::{TENANTS, between, ruled};

const UPLINK: &str = "uplink";
/// MACs of the host's interfaces: towards `a`, and of the uplink.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 1, 1];
const UPLINK_MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];
/// Of the workload.
const OWN: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// Who is asked for the way.
const ROUTER: &str = "02:00:00:00:04:01";
const MTU: u32 = 1500;

/// The host routes between `a` and `BLUE_FAR`, `OUTSIDER` and nobody else beyond an uplink.
#[fixture]
fn border(mut ruled: Lab) -> Lab {
    ruled.uplink(UPLINK);
    ruled.routes([
        "link set dev a address 02:00:00:00:01:01 up",
        "link set dev a-peer up",
        "link set dev uplink address 02:00:00:00:03:01 up",
        "link set dev uplink-peer up",
    ]);
    for party in [BLUE_FAR, OUTSIDER] {
        for family in Family::BOTH {
            let address = party.on(family);
            ruled.routes([
                &*format!("route add {address} dev {UPLINK}"),
                &*format!("neigh add {address} lladdr {ROUTER} dev {UPLINK} nud permanent"),
            ]);
        }
    }
    ruled.outside(UPLINK, Kinds::ROUTED);
    let shortcut =
        Shortcut { flags: Kinds::ALL.0, mtu: MTU, mac: OWN, gateway: GATEWAY, ..Shortcut::default() };
    ruled.shortcut("a", shortcut);
    ruled.lease(Kinds::ALL);
    ruled
}

/// The frame is for that MAC.
fn addressed(packet: Packet, mac: [u8; 6]) -> Packet {
    mac.into_iter().enumerate().fold(packet, |packet, (index, byte)| packet.byte(index, byte))
}

/// A packet from `a` to somebody outside, in a frame to the router.
fn leaving(family: Family, to: Party) -> Packet {
    addressed(between(family, BLUE_A, to), GATEWAY)
}

/// A packet from outside to `a`, in a frame to the router.
fn coming(family: Family, src: Party) -> Packet {
    addressed(between(family, src, BLUE_A), UPLINK_MAC)
}

/// Bytes before a payload over TCP.
const fn headers(family: Family) -> usize {
    match family {
        Family::V4 => 14 + 20 + 20,
        Family::V6 => 14 + 40 + 20,
    }
}

/// What a router makes of a frame, but for its MACs.
fn one_hop_less(mut frame: Vec<u8>, family: Family) -> Vec<u8> {
    match family {
        Family::V4 => {
            let (mut header, _) = Ipv4Header::from_slice(&frame[14..]).expect("a header");
            header.time_to_live -= 1;
            header.header_checksum = header.calc_header_checksum();
            frame[14..34].copy_from_slice(&header.to_bytes());
        }
        Family::V6 => frame[14 + 7] -= 1,
    }
    frame
}

/// Which MACs, the kernel says: it knows the neighbour.
#[rstest]
fn what_leaves_is_counted_has_a_hop_less_and_bears_its_stamp(
    mut border: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(2, 64, 255)] hops: u8,
) {
    let packet = leaving(family, BLUE_FAR).hop_limit(hops).payload(100);
    let counted = border.reason(Verdict::Pass(SharedNetwork));
    for seen in 1..=2 {
        let frame = border.sent_by("a", packet.clone()).straight_out().expect("it leaves straight");
        assert_eq!(frame, one_hop_less(packet.bytes(), family), "{packet}");
        let now = border.reason(Verdict::Pass(SharedNetwork));
        assert_eq!(now.packets, counted.packets + seen, "counted once each");
    }
}

#[rstest]
fn what_comes_in_has_the_next_frame_and_is_counted_where_it_ends(
    mut border: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let packet = coming(family, BLUE_FAR).hop_limit(64).payload(100);
    let received = border.received("a");
    let frame = border.arrives_at(UPLINK, packet.clone()).straight().expect("it goes straight");
    let mut wanted = one_hop_less(packet.bytes(), family);
    wanted[..6].copy_from_slice(&OWN);
    wanted[6..12].copy_from_slice(&GATEWAY);
    assert_eq!(frame, wanted, "{packet}");
    assert_eq!(border.received("a"), received, "`to_endpoint` judges and counts it");
}

#[rstest]
fn what_leaves_and_needs_more_than_that_goes_by_the_stack(
    mut border: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let largest = MTU as usize + 14 - headers(family);
    let packet = || leaving(family, BLUE_FAR);
    let to_nobody = addressed(between(family, BLUE_A, BLUE_FAR), [2, 9, 9, 9, 9, 9]);
    for packet in [packet().hop_limit(1), packet().payload(largest + 1), to_nobody] {
        assert_eq!(border.sent_by("a", packet.clone()).straight_out(), None, "{packet}");
    }
    assert!(border.sent_by("a", packet().payload(largest)).straight_out().is_some(), "not too big");
    let to_host = addressed(from(BLUE_A.on(family)).to(HOST.on(family)).udp(53), GATEWAY);
    assert_eq!(border.sent_by("a", to_host.clone()).straight_out(), None, "{to_host}");
    if family == Family::V6 {
        assert_eq!(border.sent_by("a", packet().hop_by_hop()).straight_out(), None, "hop-by-hop options");
    }
}

/// The stack knows better: it asks for neighbours, and tells who asked for a way that there is none.
#[rstest]
fn where_the_kernel_knows_no_way_it_is_asked(
    mut border: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(
        "route del FAR dev uplink; route add unreachable FAR",
        "route del FAR dev uplink; route add blackhole FAR",
        "route del FAR dev uplink",
        "link set dev db up; link set dev db-peer up; route replace FAR dev db; neigh add FAR lladdr 02:00:00:00:04:02 dev db",
        "route replace FAR dev uplink mtu lock 1280",
        "neigh del FAR dev uplink"
    )]
    change: &str,
) {
    let packet = leaving(family, BLUE_FAR).payload(1300);
    assert!(border.sent_by("a", packet.clone()).straight_out().is_some(), "there is a way");
    border.routes(change.replace("FAR", &BLUE_FAR.on(family).to_string()).split("; "));
    border.lease(Kinds::ALL);
    let straight = border.sent_by("a", packet.clone()).straight_out();
    assert!(straight.is_none(), "{packet} after {change}");
}

#[rstest]
fn what_comes_in_and_needs_more_than_that_goes_by_the_stack(
    mut border: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let largest = MTU as usize + 14 - headers(family);
    let packet = || coming(family, BLUE_FAR);
    let to_another = addressed(between(family, BLUE_FAR, BLUE_A), [2, 9, 9, 9, 9, 9]);
    let to_host = addressed(between(family, BLUE_FAR, HOST), UPLINK_MAC);
    let to_nobody = addressed(between(family, BLUE_FAR, DB_FAR), UPLINK_MAC);
    for packet in [packet().hop_limit(1), packet().payload(largest + 1), to_another, to_host, to_nobody] {
        assert_eq!(border.arrives_at(UPLINK, packet.clone()).straight(), None, "{packet}");
    }
    assert!(border.arrives_at(UPLINK, packet().payload(largest)).straight().is_some(), "not too big");
    border.arrives_at(UPLINK, coming(family, HOST)).drops(DropReason::SpoofedOutside);
}

#[rstest]
fn nobody_passes_an_uplink_without_leave(mut border: Lab, #[values(Family::V4, Family::V6)] family: Family) {
    let (own, others) = match family {
        Family::V4 => (Kinds::ROUTED_V4, Kinds::ROUTED_V6),
        Family::V6 => (Kinds::ROUTED_V6, Kinds::ROUTED_V4),
    };
    let go = |border: &mut Lab| {
        let out = border.sent_by("a", leaving(family, BLUE_FAR)).straight_out();
        let into = border.arrives_at(UPLINK, coming(family, BLUE_FAR)).straight();
        [out.is_some(), into.is_some()]
    };
    assert_eq!(go(&mut border), [true, true]);
    for (uplink, lease, goes) in [
        (Kinds::NONE, Kinds::ALL, false),
        // What is closed may be closed again.
        (Kinds::NONE, Kinds::ALL, false),
        (others, Kinds::ALL, false),
        (own, Kinds::ALL, true),
        (own, Kinds::NONE, false),
        (own, others, false),
        (own, own, true),
    ] {
        border.outside(UPLINK, uplink);
        border.lease(lease);
        assert_eq!(go(&mut border), [goes, goes], "uplink {uplink:?}, lease {lease:?}");
    }
    border.shortcut("a", Shortcut::default());
    assert_eq!(go(&mut border), [false, false], "`a` is gone");
}

#[rstest]
fn what_is_denied_or_only_let_go_on_does_not_leave_straight(
    mut border: Lab,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    border.sent_by("a", leaving(family, OUTSIDER)).drops(DropReason::DefaultDeny);
    border.host_mode(Mode::Observe);
    assert_eq!(border.sent_by("a", leaving(family, OUTSIDER)).straight_out(), None);
    let rule = "[[rule]]\nname = 'r'\nfrom = ['blue']\nto = ['world']\nallow = ['tcp']";
    border.apply(&format!("{TENANTS}{rule}"));
    border.lease(Kinds::ALL);
    assert!(border.sent_by("a", leaving(family, OUTSIDER)).straight_out().is_some(), "where it is admitted");
}

//! Packets between workloads pass the host's stack by where nothing there could make a difference, and nowhere else:
//! with each thing in the way everything is as if there were no shortcut, also when it comes while people talk.

mod changes;
mod nat;
mod pieces;
mod stations;

use std::net::{IpAddr, SocketAddr};

use enforcer::datapath::bpf::TcxHook;
use enforcer_tests::capture::Capture;
use enforcer_tests::command::transcript;
use enforcer_tests::connection::Connection;
use enforcer_tests::foreign::Foreign;
use enforcer_tests::packet::Family;
use enforcer_tests::tcx::Place;
use enforcer_tests::traffic::{Conversation, ECHO_PORT, tcp, tcp_soon, udp, udp_soon};
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Workload, wait};
use rstest::rstest;

use crate::path_mtu::assert_told;
use crate::street::{Layout, PATIENCE, QUESTIONS, Street};

/// Nobody listens there; NAT may lead to who does.
const PUBLISHED: u16 = 8080;

/// What becomes of packets when something is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// The stack does with them what it always did.
    GoOn,
    /// They get nowhere.
    End,
}

#[rstest]
#[case::routed(Layout::Routed)]
#[case::bridged(Layout::Bridged)]
fn what_nothing_is_in_the_way_of_goes_straight(
    #[case] layout: Layout,
    #[values(Family::V4, Family::V6)] family: Family,
) {
    let street = Street::build(&format!("straight-{layout:?}-{family:?}").to_lowercase(), layout);
    street.wait_straight(family);
    let counted = || {
        let endpoints = street.daemon.json(&["endpoints"]);
        let endpoints = endpoints.as_array().unwrap();
        let of = |workload: &Workload| {
            let endpoint =
                endpoints.iter().find(|endpoint| endpoint["name"] == workload.interface()).unwrap();
            ["sent", "received"].map(|direction| endpoint["counters"][direction]["packets"].as_u64().unwrap())
        };
        [of(&street.asking), of(&street.answering)]
    };
    let before = counted();
    assert!(
        (0..QUESTIONS).all(|_| udp(&street.asking, street.address(family), ECHO_PORT)),
        "{family:?} is answered"
    );
    for (before, after) in before.iter().zip(counted()) {
        assert!(
            after[0] >= before[0] + QUESTIONS && after[1] >= before[1] + QUESTIONS,
            "{before:?} {after:?}"
        );
    }
    let to = street.address(family).to_string();
    let output = street.asking.netns().run("ping", &["-c", "1", "-W", "2", &to]);
    let shown = transcript(&output);
    let hops = if layout == Layout::Routed { "ttl=63" } else { "ttl=64" };
    assert!(shown.contains(hops), "a router counts hops, a bridge does not: {shown}");
    let to = SocketAddr::new(street.address(family), 7000);
    let connection = Connection::open(&street.asking, &street.answering, to).unwrap();
    connection.upload(4 << 20).expect("much gets there");
    connection.download(4 << 20).expect("and back");
    let fastpath = street.fastpath();
    assert_eq!(fastpath["kinds"], serde_json::json!(["routed-v4", "routed-v6", "bridged"]), "{fastpath}");
    assert_eq!(
        (&fastpath["endpoints"], &fastpath["barred"]),
        (&2.into(), &serde_json::json!([])),
        "{fastpath}"
    );
    let shown = String::from_utf8(street.daemon.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("fast path:    all, at 2 endpoints"), "{shown}");
}

/// A listener inside the workload shares the frame with whoever writes the next one over its headers.
#[rstest]
fn who_listens_at_the_sender_hears_what_it_sent(#[values(Family::V4, Family::V6)] family: Family) {
    let street = Street::build(&format!("listen-{family:?}").to_lowercase(), Layout::Routed);
    let Street { asking, answering, host, .. } = &street;
    let (sequence, hops) = match (asking.ipv4(), answering.ipv4(), asking.ipv6(), answering.ipv6()) {
        (IpAddr::V4(from), IpAddr::V4(to), ..) if family == Family::V4 => {
            ([from.octets(), to.octets()].concat(), 14 + 8)
        }
        (.., IpAddr::V6(from), IpAddr::V6(to)) => ([from.octets(), to.octets()].concat(), 14 + 7),
        _ => unreachable!("each has an address of both families"),
    };
    street.wait_straight(family);
    let captures = [asking, answering].map(|workload| Capture::start(workload.netns()));
    assert!(udp(asking, street.address(family), ECHO_PORT), "it is answered");
    let [sent, received] = captures.map(|capture| {
        let frames = capture.find(&[&sequence]);
        assert!(!frames.is_empty(), "the question was heard");
        frames.into_iter().map(|frame| (frame[..6].to_vec(), frame[hops])).collect::<Vec<_>>()
    });
    let (gateway, own) = (host.netns().mac(asking.interface()), answering.netns().mac(INSIDE));
    assert!(sent.iter().all(|frame| *frame == (gateway.to_vec(), 64)), "sent: {sent:?}");
    assert!(received.iter().all(|frame| *frame == (own.to_vec(), 63)), "received: {received:?}");
}

#[rstest]
#[case::masquerade(
    "nft 'add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; add rule ip nat post masquerade'",
    "nft delete table ip nat",
    Then::GoOn
)]
#[case::published_port(
    "nft 'add table ip nat; add chain ip nat pre { type nat hook prerouting priority -100; }; add rule ip nat pre tcp dport 8080 dnat to 10.2.0.5:5432'",
    "nft delete table ip nat",
    Then::GoOn
)]
#[case::forward_drop(
    "nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }'",
    "nft delete table inet fw",
    Then::End
)]
#[case::iptables_legacy(
    "iptables-legacy -A FORWARD -s 10.1.0.5 -j DROP; iptables-legacy -A FORWARD -d 10.1.0.5 -j DROP",
    "iptables-legacy -F FORWARD",
    Then::End
)]
#[case::ipsec("ip xfrm policy add dst 10.2.0.5/32 dir fwd action block", "ip xfrm policy flush", Then::End)]
#[case::unreachable(
    "ip rule add to 10.2.0.5 priority 100 unreachable",
    "ip rule del priority 100",
    Then::End
)]
#[case::fwmark("ip rule add fwmark 1 priority 100 lookup 100", "ip rule del priority 100", Then::GoOn)]
#[case::ipsec_default(
    "ip xfrm policy setdefault fwd block",
    "ip xfrm policy setdefault fwd accept",
    Then::End
)]
#[case::queue(
    "tc qdisc add dev ANSWERING root tbf rate 1gbit burst 1mb latency 50ms",
    "tc qdisc del dev ANSWERING root",
    Then::GoOn
)]
#[case::queue_of_the_bridge(
    "tc qdisc add dev br-10.2.0 root tbf rate 1gbit burst 1mb latency 50ms",
    "tc qdisc del dev br-10.2.0 root",
    Then::GoOn
)]
#[case::filters(
    "tc qdisc add dev ANSWERING clsact; tc qdisc add dev ASKING ingress",
    "tc qdisc del dev ANSWERING clsact; tc qdisc del dev ASKING ingress",
    Then::GoOn
)]
#[case::no_forwarding("sysctl -w net.ipv4.ip_forward=0", "sysctl -w net.ipv4.ip_forward=1", Then::End)]
fn what_is_in_a_routers_way_is_not_passed_by(#[case] raise: &str, #[case] lower: &str, #[case] then: Then) {
    check(Layout::Routed, Family::V4, raise, lower, then);
}

#[rstest]
#[case::masquerade(
    "nft 'add table ip6 nat; add chain ip6 nat post { type nat hook postrouting priority 100; }; add rule ip6 nat post masquerade'",
    "nft delete table ip6 nat",
    Then::GoOn
)]
#[case::published_port(
    "nft 'add table ip6 nat; add chain ip6 nat pre { type nat hook prerouting priority -100; }; add rule ip6 nat pre tcp dport 8080 dnat to [2001:db8:2::5]:5432'",
    "nft delete table ip6 nat",
    Then::GoOn
)]
#[case::forward_drop(
    "nft 'add table ip6 fw; add chain ip6 fw forward { type filter hook forward priority 0; policy drop; }'",
    "nft delete table ip6 fw",
    Then::End
)]
#[case::iptables_legacy(
    "ip6tables-legacy -A FORWARD -s 2001:db8:1::5 -j DROP; ip6tables-legacy -A FORWARD -d 2001:db8:1::5 -j DROP",
    "ip6tables-legacy -F FORWARD",
    Then::End
)]
#[case::ipsec(
    "ip xfrm policy add dst 2001:db8:2::5/128 dir fwd action block",
    "ip xfrm policy flush",
    Then::End
)]
#[case::unreachable(
    "ip -6 rule add to 2001:db8:2::5 priority 100 unreachable",
    "ip -6 rule del priority 100",
    Then::End
)]
#[case::fwmark("ip -6 rule add fwmark 1 priority 100 lookup 100", "ip -6 rule del priority 100", Then::GoOn)]
#[case::queue(
    "tc qdisc add dev ANSWERING root tbf rate 1gbit burst 1mb latency 50ms",
    "tc qdisc del dev ANSWERING root",
    Then::GoOn
)]
#[case::no_forwarding(
    "sysctl -w net.ipv6.conf.all.forwarding=0",
    "sysctl -w net.ipv6.conf.all.forwarding=1",
    Then::End
)]
fn what_is_in_the_way_of_ipv6_is_not_passed_by(#[case] raise: &str, #[case] lower: &str, #[case] then: Then) {
    check(Layout::Routed, Family::V6, raise, lower, then);
}

/// The rules of one family make no difference to the other one's packets.
#[rstest]
#[case::ipv4("ip", Family::V4, Family::V6)]
#[case::ipv6("ip6", Family::V6, Family::V4)]
fn what_is_in_the_way_of_one_family_leaves_the_other_straight(
    #[case] table: &str,
    #[case] barred: Family,
    #[case] other: Family,
) {
    let street = Street::build("one-family", Layout::Routed);
    street.wait_straight(other);
    street.on_host(&format!(
        "nft 'add table {table} fw; add chain {table} fw forward {{ type filter hook forward priority 0; }}; \
         add rule {table} fw forward counter'"
    ));
    street.wait_by_stack(barred);
    street.wait_straight(other);
    street.wait_by_stack(barred);
}

#[rstest]
#[case::forward_drop(
    "nft 'add table bridge fw; add chain bridge fw forward { type filter hook forward priority 0; policy drop; }'",
    "nft delete table bridge fw",
    Then::End
)]
#[case::short_memory(
    "ip link set br-10.2.0 type bridge ageing_time 500",
    "ip link set br-10.2.0 type bridge ageing_time 30000",
    Then::GoOn
)]
#[case::isolated(
    "bridge link set dev ASKING isolated on; bridge link set dev ANSWERING isolated on",
    "bridge link set dev ASKING isolated off; bridge link set dev ANSWERING isolated off",
    Then::End
)]
fn what_is_in_a_bridges_way_is_not_passed_by(#[case] raise: &str, #[case] lower: &str, #[case] then: Then) {
    check(Layout::Bridged, Family::V4, raise, lower, then);
}

#[track_caller]
fn check(layout: Layout, family: Family, raise: &str, lower: &str, then: Then) {
    let street = Street::build("barrier", layout);
    let to = street.address(family);
    street.wait_straight(family);
    let mut conversation = Conversation::open(&street.asking, to, ECHO_PORT).expect("they talk");
    assert!(!tcp_soon(&street.asking, to, PUBLISHED), "nothing is published yet");
    street.on_host(raise);
    match then {
        Then::GoOn => {
            street.wait_by_stack(family);
            assert!(raise.contains("masquerade") || conversation.goes_on(), "TCP goes on by the stack");
            assert!(tcp(&street.asking, to, ECHO_PORT), "and begins there");
            let is_published = tcp_soon(&street.asking, to, PUBLISHED);
            assert_eq!(is_published, raise.contains("dnat"), "as it is led there");
        }
        Then::End => {
            wait::until("nothing gets there", PATIENCE, || {
                (!udp_soon(&street.asking, to, ECHO_PORT)).then_some(())
            });
            assert!(conversation.is_over(), "TCP ends, too");
        }
    }
    // The programs may have seen it before the daemon has.
    wait::until("`status` says why", PATIENCE, || {
        let fastpath = street.fastpath();
        let is_told = |what: &str| !fastpath[what].as_array().unwrap().is_empty();
        (is_told("barriers") || is_told("barred")).then_some(())
    });
    street.on_host(lower);
    if !raise.contains("tables-legacy") {
        // Their tables stay once they were used.
        street.wait_straight(family);
    }
}

#[test]
fn programs_of_others_see_every_packet() {
    let street = Street::build("foreign-program", Layout::Routed);
    street.wait_straight(Family::V4);
    let mut conversation =
        Conversation::open(&street.asking, street.address(Family::V4), ECHO_PORT).expect("they talk");
    let foreign =
        Foreign::attach(street.host.netns(), street.answering.interface(), TcxHook::Egress, Place::Last);
    wait::until("the program sees packets", PATIENCE, || {
        let before = foreign.packets();
        (street.by_stack(Family::V4).is_some() && foreign.packets() >= before + QUESTIONS).then_some(())
    });
    let shown = String::from_utf8(street.daemon.cli(&["status"]).stdout).unwrap();
    let line = format!("{} not: programs of others on its interface", street.answering.interface());
    assert!(shown.contains(&line), "{shown}");
    let before = foreign.packets();
    assert!((0..QUESTIONS).all(|_| conversation.goes_on()), "TCP goes on by the stack");
    assert!(foreign.packets() >= before + QUESTIONS, "and the program sees it");
    drop(foreign);
    street.wait_straight(Family::V4);
}

#[test]
fn nobody_takes_a_shortcut_that_nobody_watches() {
    let mut street = Street::build("unwatched", Layout::Routed);
    street.wait_straight(Family::V6);
    let mut conversation =
        Conversation::open(&street.asking, street.address(Family::V6), ECHO_PORT).expect("they talk");
    street.daemon.kill();
    street.wait_by_stack(Family::V6);
    assert!(conversation.goes_on(), "TCP goes on by the stack");
    street.daemon.start_again();
    street.wait_straight(Family::V6);
    assert!(conversation.goes_on(), "and straight again");
}

#[test]
fn the_host_file_may_forbid_it() {
    let street = Street::build("forbidden", Layout::Bridged);
    street.wait_straight(Family::V4);
    street.daemon.reload("[datapath]\nfastpath = \"off\"\n");
    street.wait_by_stack(Family::V4);
    let shown = String::from_utf8(street.daemon.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("fast path:    off\nfast path:    not: the host file"), "{shown}");
    street.daemon.reload("");
    street.wait_straight(Family::V4);
}

/// A packet without a hop left is told of by the host, whoever forwards the others.
#[rstest]
fn who_has_no_hop_left_is_told_by_the_host(#[values(Family::V4, Family::V6)] family: Family) {
    let street = Street::build("hops", Layout::Routed);
    street.wait_straight(family);
    let to = street.address(family).to_string();
    let output = street.asking.netns().run("ping", &["-c", "1", "-t", "1", "-W", "2", &to]);
    let shown = transcript(&output);
    assert!(shown.contains("Time to live exceeded") || shown.contains("Hop limit"), "{shown}");
}

/// A byte more than the receiver's interface takes, in a datagram that nobody on the way may cut.
#[rstest]
fn who_sends_too_much_is_told_by_the_host(#[values(Family::V4, Family::V6)] family: Family) {
    let street = Street::build("too-much", Layout::Routed);
    street.on_host("ip link set ANSWERING mtu 1400");
    street.wait_straight(family);
    assert_told(1_400, &street.asking, street.address(family));
    assert!(street.goes_straight(family), "what fits goes straight as before");
}

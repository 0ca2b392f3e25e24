//! Everything is counted, once: per flow, per endpoint, per network and per reason.

use enforcer_common::{
    counter::{Counter, EndpointCounters},
    verdict::{DropReason, DropReason::*, PassReason::*, Verdict},
};
use enforcer_tests::{
    packet::{
        BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Packet, Party, arp_request,
        dhcp_discover, from, neighbor_advertisement, router_advertisement,
    },
    prog_run::Lab,
};
use rstest::rstest;

use crate::{between, lab};

/// What `packets` copies of a packet count for.
fn times(packets: u64, packet: &Packet) -> Counter {
    Counter { packets, bytes: packets * packet.bytes().len() as u64 }
}

#[rstest]
fn a_conversation_is_one_flow_with_two_directions(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, BLUE_B).payload(100);
    let answer = question.answer().payload(1000);
    for _ in 0..3 {
        lab.sent_by("a", &question).passes(SharedNetwork);
        lab.delivered_to("b", &question).stamped_by("a").passes_counted_before();
    }
    for _ in 0..2 {
        lab.sent_by("b", &answer).passes(SharedNetwork);
        lab.delivered_to("a", &answer).stamped_by("b").passes_counted_before();
    }
    let flows = lab.flows();
    let [flow] = &flows[..] else { panic!("one conversation in {flows:#?}") };
    let mut ends = [(flow.packets_fwd, flow.bytes_fwd), (flow.packets_rev, flow.bytes_rev)];
    // Within one tick of the clock either end may have spoken first.
    ends.sort_unstable_by(|a, b| b.cmp(a));
    let (there, back) = (times(3, &question), times(2, &answer));
    assert_eq!(ends, [(there.packets, there.bytes), (back.packets, back.bytes)]);
    assert_eq!((flow.verdict.as_str(), flow.reason.as_str()), ("pass", "shared-network"));
    assert_eq!((flow.network.as_deref(), flow.generation), (Some("blue"), 1));
    assert_eq!(flow.family, if family == V4 { "ipv4" } else { "ipv6" });
    let mut endpoints = [flow.endpoint_src.as_deref(), flow.endpoint_dst.as_deref()];
    endpoints.sort_unstable();
    assert_eq!(endpoints, [Some("a"), Some("b")]);
}

#[rstest]
fn a_flow_names_both_its_ends(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let remote = between(family, BLUE_FAR, BLUE_A);
    lab.delivered_to("a", &remote).passes(SharedNetwork);
    let flow = lab.flow(&remote);
    assert_eq!((flow.endpoint_src, flow.endpoint_dst.as_deref()), (None, Some("a")));
    let host = between(family, HOST, BLUE_A);
    lab.delivered_to("a", &host).locally_generated().passes(HostOpen);
    let flow = lab.flow(&host);
    assert_eq!((flow.endpoint_src.as_deref(), flow.endpoint_dst.as_deref()), (Some("host"), Some("a")));
    assert_eq!((flow.network, flow.reason.as_str()), (None, "host-open"));
}

#[rstest]
fn denied_flows_are_kept_apart(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let (allowed, denied) = (between(family, BLUE_A, BLUE_B), between(family, BLUE_A, DB));
    lab.sent_by("a", &allowed).passes(SharedNetwork);
    lab.sent_by("a", &denied).drops(DefaultDeny);
    lab.sent_by("a", &denied).drops(DefaultDeny);
    assert_eq!(lab.flows().len(), 2);
    let flow = lab.flow(&denied);
    let seen = (flow.verdict.as_str(), flow.reason.as_str(), flow.network.as_deref());
    assert_eq!(seen, ("drop", "default-deny", None));
    let counted = times(2, &denied);
    assert_eq!((flow.packets_fwd, flow.bytes_fwd), (counted.packets, counted.bytes));
    assert_eq!(flow.endpoint_src.as_deref(), Some("a"));
    // A denied answer is another attempt, not the other half of a conversation.
    lab.sent_by("db", denied.answer()).drops(DefaultDeny);
    assert_eq!((lab.flow(&denied).packets_rev, lab.flow(&denied.answer()).packets_fwd), (0, 1));
}

#[rstest]
fn a_stamped_packet_is_not_counted_again(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    for _ in 0..3 {
        lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    }
    assert_eq!(lab.flow(&packet).packets_fwd, 1);
    assert_eq!(lab.network("blue"), times(1, &packet));
    assert_eq!(lab.reason(Verdict::Pass(SharedNetwork)), times(1, &packet));
    // What the endpoint received is its own count.
    assert_eq!(lab.counters_of("b").received, times(3, &packet));
}

#[rstest]
fn a_remote_packet_is_counted_where_it_is_delivered(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_FAR, BLUE_B);
    for _ in 0..3 {
        lab.delivered_to("b", &packet).passes(SharedNetwork);
    }
    assert_eq!(lab.flow(&packet).packets_fwd, 3);
    assert_eq!(lab.network("blue"), times(3, &packet));
}

#[rstest]
fn an_endpoints_counters_are_seen_from_the_endpoint(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let sent = between(family, BLUE_A, BLUE_FAR).payload(10);
    let refused = between(family, BLUE_A, DB).payload(20);
    let received = sent.answer().payload(30);
    let kept_off = between(family, OUTSIDER, BLUE_A).payload(40);
    lab.sent_by("a", &sent).passes(SharedNetwork);
    lab.sent_by("a", &refused).drops(DefaultDeny);
    lab.sent_by("a", &refused).drops(DefaultDeny);
    for _ in 0..3 {
        lab.delivered_to("a", &received).passes(SharedNetwork);
    }
    for _ in 0..4 {
        lab.delivered_to("a", &kept_off).drops(DefaultDeny);
    }
    let counters = lab.counters_of("a");
    assert_eq!(counters.sent, times(1, &sent));
    assert_eq!(counters.sent_dropped, times(2, &refused));
    assert_eq!(counters.received, times(3, &received));
    assert_eq!(counters.received_dropped, times(4, &kept_off));
    for other in ["b", "db"] {
        assert_eq!(lab.counters_of(other), EndpointCounters::default(), "nothing happened to {other}");
    }
}

#[rstest]
fn a_network_counts_what_it_admitted(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.sent_by("a", between(family, BLUE_A, DB)).drops(DefaultDeny);
    lab.sent_by("a", from(BLUE_A.on(family)).to(HOST.on(family)).udp(53)).passes(HostAllowed);
    assert_eq!(lab.network("blue"), times(2, &packet));
    assert_eq!(lab.network("db"), Counter::default());
}

/// Packets of every kind, as `a` sends them.
fn mixed() -> Vec<Packet> {
    let of_both = Family::BOTH.into_iter().flat_map(|family| {
        let to = |party: Party| from(BLUE_A.on(family)).to(party.on(family));
        [
            to(BLUE_B).tcp(80),
            to(BLUE_B).udp(53).fragment(185, false),
            to(BLUE_B).ping().payload(1400),
            to(DB).tcp(80),
            to(HOST).udp(53),
            to(HOST).tcp(22),
            to(OUTSIDER).sctp(9),
            to(BLUE_B).vlan(5),
            to(BLUE_B).declaring(5000),
            to(BLUE_B).tcp(80).declaring(4),
            between(family, BLUE_B, BLUE_A),
        ]
    });
    let of_the_link = [
        arp_request(BLUE_A.v4, HOST.v4),
        arp_request(HOST.v4, BLUE_A.v4),
        neighbor_advertisement(BLUE_A.v6, BLUE_A.v6),
        neighbor_advertisement(BLUE_A.v6, HOST.v6),
        router_advertisement(BLUE_A.v6),
        dhcp_discover(),
        from(BLUE_A.v4).to(BLUE_B.v4).ethertype(0x88cc),
    ];
    of_both.chain(of_the_link).collect()
}

/// Each run checks that its packet moved exactly one reason; together they are all there is.
#[rstest]
fn every_packet_moves_exactly_one_reason(mut lab: Lab) {
    lab.interface("stray");
    let packets = mixed();
    let (mut passed, mut dropped) = (Counter::default(), Counter::default());
    for packet in packets.iter().chain(&packets) {
        for endpoint in ["a", "stray"] {
            let passes = lab.sent_by(endpoint, packet).outcome().judged.is_pass();
            *(if passes { &mut passed } else { &mut dropped }) += times(1, packet);
        }
        let passes = lab.delivered_to("b", packet).outcome().judged.is_pass();
        *(if passes { &mut passed } else { &mut dropped }) += times(1, packet);
    }
    let total = |passes: bool| {
        let mut total = Counter::default();
        for (_, counter) in lab.reasons().iter().filter(|(verdict, _)| verdict.is_pass() == passes) {
            total += *counter;
        }
        total
    };
    assert_eq!((total(true), total(false)), (passed, dropped));
    assert!(passed.packets > 0 && dropped.packets > 0);
}

#[rstest]
fn the_sum_over_the_reasons_is_what_the_endpoints_lost(mut lab: Lab) {
    for packet in mixed() {
        let _ = lab.sent_by("a", &packet).outcome();
        let _ = lab.delivered_to("b", &packet).stamped_by("a").outcome();
    }
    let (a, b) = (lab.counters_of("a"), lab.counters_of("b"));
    let mut lost = a.sent_dropped;
    lost += b.received_dropped;
    let mut reasons = Counter::default();
    for reason in DropReason::ALL {
        reasons += lab.reason(Verdict::Drop(*reason));
    }
    assert_eq!(reasons, lost);
    let mixed = mixed().len() as u64;
    assert_eq!(
        (a.sent.packets + a.sent_dropped.packets, b.received.packets + b.received_dropped.packets),
        (mixed, mixed)
    );
}

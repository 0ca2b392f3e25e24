//! Protocols that nobody reads: what they carry is nobody's business, and their addresses decide.

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, Family::*, Packet, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, lab, ruled, without_policy};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

#[rstest]
#[case::gre(|packet: Packet| packet.protocol(47))]
#[case::ipv4_inside(|packet: Packet| packet.protocol(4))]
#[case::ipv6_inside(|packet: Packet| packet.protocol(41))]
#[case::esp(|packet: Packet| packet.protocol(50))]
#[case::vxlan(|packet: Packet| packet.udp(4789))]
#[case::geneve(|packet: Packet| packet.udp(6081))]
#[case::esp_in_udp(|packet: Packet| packet.udp(4500))]
fn a_tunnel_is_judged_by_its_outer_addresses(
    mut ruled: Lab,
    #[case] tunnel: fn(Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    let [inside, across] = [BLUE_B, DB].map(|dst| tunnel(from(BLUE_A.on(family)).to(dst.on(family))));
    ruled.sent_by("a", &inside).passes(SharedNetwork);
    ruled.sent_by("a", &across).drops(DefaultDeny);
    ruled.guarded_by("a", &across).drops(DefaultDeny);
    ruled.delivered_to("db", &across).stamped_by("a").drops(DefaultDeny);
}

#[rstest]
#[case::gre(47)]
#[case::reserved(255)]
#[case::ip_in_ip(4)]
#[case::no_next_header(59)]
fn a_rule_names_a_protocol_by_its_number(#[case] number: u8, #[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    let packet = from(BLUE_A.on(family)).to(DB.on(family)).protocol(number);
    let rule = |services: &str| {
        format!("{TENANTS}[[rule]]\nname = 'r'\nfrom = ['blue']\nto = ['db']\nallow = [{services}]")
    };
    lab.apply(&rule("'tcp', 'udp', 'sctp', 'icmp', 'icmp6', 'ping', 'proto/46', 'proto/48'"));
    lab.sent_by("a", &packet).drops(DefaultDeny);
    for services in [format!("'proto/{number}'"), "'any'".to_owned()] {
        lab.apply(&rule(&services));
        lab.sent_by("a", &packet).passes(AllowedByRule);
    }
}

/// Number 0 is a protocol in IPv4 only; in IPv6 it is hop-by-hop options.
#[rstest]
fn protocol_zero_is_nothing_in_ipv4(mut lab: Lab) {
    lab.sent_by("a", from(BLUE_A.v4).to(BLUE_B.v4).protocol(0)).passes(SharedNetwork);
    lab.sent_by("a", from(BLUE_A.v4).to(DB.v4).protocol(0)).drops(DefaultDeny);
}

#[rstest]
fn who_sends_nothing_sends_a_packet(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let to_db = || from(BLUE_A.on(family)).to(DB.on(family)).payload(0);
    ruled.sent_by("a", to_db().udp(53)).passes(AllowedByRule);
    ruled.sent_by("a", to_db().tcp(5432)).passes(AllowedByRule);
    ruled.sent_by("a", to_db().protocol(59)).drops(DefaultDeny);
    ruled
        .sent_by("a", from(BLUE_A.on(family)).to(BLUE_B.on(family)).protocol(59).payload(0))
        .passes(SharedNetwork);
}

/// A length of zero would mean: see the option (RFC 2675). No link here carries such packets.
#[rstest]
fn a_jumbogram_is_too_short(mut lab: Lab) {
    let blue = || from(BLUE_A.v6).to(BLUE_B.v6).udp(53);
    lab.sent_by("a", blue().hop_by_hop().declaring(0)).drops(BadHeader);
    lab.sent_by("a", blue().declaring(0)).drops(Truncated);
    lab.guarded_by("a", blue().hop_by_hop().declaring(0)).drops(BadHeader);
}

/// What receivers and routers check they check themselves.
#[rstest]
fn hops_and_checksums_are_not_looked_at(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = || from(BLUE_A.on(family)).to(DB.on(family)).udp(53);
    for hops in [0, 1, 255] {
        ruled.sent_by("a", question().hop_limit(hops)).passes(AllowedByRule);
        ruled.sent_by("a", question().udp(54).hop_limit(hops)).drops(DefaultDeny);
    }
    let transport_checksum = ETHERNET + if family == V4 { 20 } else { 40 } + 6;
    ruled.sent_by("a", question().byte(transport_checksum, 0x77)).passes(AllowedByRule);
    if family == V4 {
        ruled.sent_by("a", question().byte(ETHERNET + 10, 0x77)).passes(AllowedByRule);
    }
}

/// One buffer for many segments: judged once, as each of them would be, and counted as all of them.
#[rstest]
fn a_buffer_of_many_segments_is_judged_as_one_packet(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let large = |dst: enforcer_tests::packet::Party| {
        from(BLUE_A.on(family)).to(dst.on(family)).tcp(5432).ack().payload(3_000)
    };
    ruled.sent_by("a", large(DB)).segmented(3, 1_000).passes(AllowedByRule);
    ruled.delivered_to("db", large(DB)).stamped_by("a").segmented(3, 1_000).passes_counted_before();
    ruled.sent_by("a", large(BLUE_B)).segmented(3, 1_000).passes(SharedNetwork);
    ruled.sent_by("a", large(DB).tcp(5433)).segmented(3, 1_000).drops(DefaultDeny);
    let flow = ruled.flow(&large(DB));
    let headers = large(DB).bytes().len() as u64 - 3_000;
    assert_eq!((flow.packets_fwd, flow.bytes_fwd), (3, 3 * (headers + 1_000)), "what goes over the wire");
}

/// What a packet socket or another kernel's network card made says how long its pieces are, and not how many.
#[rstest]
fn who_does_not_say_how_many_segments_it_is_has_them_counted(
    mut ruled: Lab,
    #[values(V4, V6)] family: Family,
    #[values((3_000, 3), (2_001, 3), (2_000, 2), (900, 1))] (payload, segments): (usize, u64),
) {
    let large = |dst: enforcer_tests::packet::Party| {
        from(BLUE_A.on(family)).to(dst.on(family)).tcp(5432).ack().payload(payload)
    };
    ruled.sent_by("a", large(DB)).segmented(0, 1_000).passes(AllowedByRule);
    ruled.sent_by("a", large(DB)).segmented(0, 1_000).passes(AllowedByRule);
    ruled.sent_by("a", large(DB).tcp(5433)).segmented(0, 1_000).drops(DefaultDeny);
    let (flow, bytes) = (ruled.flow(&large(DB)), large(DB).bytes().len() as u64);
    let headers = bytes - payload as u64;
    let expected = (2 * segments, 2 * (bytes + (segments - 1) * headers));
    assert_eq!((flow.packets_fwd, flow.bytes_fwd), expected, "what goes over the wire");
}

//! What the parser makes of well-formed, odd and broken packets. It fails closed: whatever is wrong has
//! a reason, and never passes.

use enforcer_common::verdict::{DropReason, DropReason::*, PassReason::*, Verdict};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, CLIENT_PORT, DB, ECHO_ID, Family, Family::*, Packet, from},
    prog_run::{Judged, Lab},
};
use rstest::rstest;

use crate::lab;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

fn blue(family: Family) -> Packet {
    from(BLUE_A.on(family)).to(BLUE_B.on(family))
}

/// No program lets the packet of `a` to `b` pass.
#[track_caller]
fn everywhere(lab: &mut Lab, packet: &Packet, reason: DropReason) {
    lab.sent_by("a", packet).drops(reason);
    lab.delivered_to("b", packet).stamped_by("a").drops(reason);
    lab.guarded_by("a", packet).drops(reason);
}

fn blue4() -> Packet {
    blue(V4).tcp(80)
}

fn blue6() -> Packet {
    blue(V6).tcp(80)
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(80), CLIENT_PORT, 80)]
#[case::udp(|packet: Packet| packet.udp(53), CLIENT_PORT, 53)]
#[case::sctp(|packet: Packet| packet.sctp(3868), CLIENT_PORT, 3868)]
#[case::ping(Packet::ping, ECHO_ID, ECHO_ID)]
#[case::pong(Packet::pong, ECHO_ID, ECHO_ID)]
#[case::experimental_icmp(|packet: Packet| packet.icmp(200, 0), 0, 0)]
#[case::gre(|packet: Packet| packet.protocol(47), 0, 0)]
#[case::ip_in_ip(|packet: Packet| packet.protocol(4), 0, 0)]
#[case::reserved(|packet: Packet| packet.protocol(255), 0, 0)]
#[case::nothing_behind(|packet: Packet| packet.protocol(59).payload(0), 0, 0)]
#[case::esp(|packet: Packet| packet.protocol(50), 0, 0)]
#[case::mobility(|packet: Packet| packet.protocol(135), 0, 0)]
fn any_protocol_passes_inside_a_network_and_none_between(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] src_port: u16,
    #[case] dst_port: u16,
    #[values(V4, V6)] family: Family,
) {
    let packet = make(blue(family));
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    let flow = lab.flow(&packet);
    assert_eq!((flow.src_port, flow.dst_port), (src_port, dst_port));
    let foreign = make(from(BLUE_A.on(family)).to(DB.on(family)));
    lab.sent_by("a", &foreign).drops(DefaultDeny);
    lab.delivered_to("db", &foreign).stamped_by("a").drops(DefaultDeny);
}

#[rstest]
fn icmp_of_the_other_family_is_no_protocol(mut lab: Lab) {
    // Type 135 would be neighbour discovery in IPv6.
    everywhere(&mut lab, &blue(V4).protocol(58).byte(ETHERNET + 20, 135), BadHeader);
    everywhere(&mut lab, &blue(V4).protocol(58).fragment(185, false), BadHeader);
    everywhere(&mut lab, &blue(V6).protocol(1), BadHeader);
}

#[rstest]
fn ipv4_options_are_for_groups_only(mut lab: Lab) {
    for bytes in (4..=40).step_by(4) {
        everywhere(&mut lab, &blue4().options(bytes), IpOptions);
        everywhere(&mut lab, &blue4().options(bytes).fragment(185, false), IpOptions);
    }
    // Routers that listen to groups ask for them (RFC 2113); what becomes of it is the group's matter.
    let group = "224.0.0.22".parse::<std::net::Ipv4Addr>().unwrap();
    lab.sent_by("a", from(BLUE_A.v4).to(group).options(4).protocol(2)).drops(Multicast);
    lab.sent_by("a", blue4()).passes(SharedNetwork);
}

#[rstest]
#[case::alone(blue6().routing())]
#[case::behind_others(blue6().hop_by_hop().dst_options(1).routing())]
#[case::in_front_of_a_fragment(blue6().routing().fragment(185, false))]
#[case::behind_an_atomic_fragment(blue6().fragment(0, false).routing())]
fn a_routing_header_leads_astray(mut lab: Lab, #[case] packet: Packet) {
    everywhere(&mut lab, &packet, RoutingHeader);
    // Of every type: old source routes, mobility, RPL and segments.
    let kind = ETHERNET + 40 + 2;
    for number in [0, 2, 3, 4, 253] {
        everywhere(&mut lab, &blue6().routing().byte(kind, number), RoutingHeader);
    }
}

#[rstest]
fn extension_headers_are_walked_up_to_the_sixth(mut lab: Lab) {
    for count in 0..=8 {
        let packet = (0..count).fold(blue6(), |packet, _| packet.dst_options(0));
        let run = lab.sent_by("a", &packet);
        if count <= 6 {
            run.passes(SharedNetwork);
        } else {
            run.drops(ExtensionHeaders);
        }
    }
    // All of them were one flow: its ports lie behind the headers.
    assert_eq!(lab.flow(&blue6()).packets_fwd, 7);
}

#[rstest]
#[case::hop_by_hop(blue6().hop_by_hop())]
#[case::authentication(blue6().authentication())]
#[case::long_options(blue6().dst_options(8))]
#[case::atomic_fragment(blue6().fragment(0, false))]
#[case::first_fragment(blue6().fragment(0, true))]
#[case::in_the_order_of_the_rfc(
    blue6().hop_by_hop().dst_options(0).fragment(0, false).authentication().dst_options(1)
)]
fn extension_headers_lead_to_the_ports(mut lab: Lab, #[case] packet: Packet) {
    lab.sent_by("a", &packet).passes(SharedNetwork);
    assert_eq!(lab.flow(&packet).dst_port, 80);
}

#[rstest]
#[case::hop_by_hop_second(blue6().dst_options(0).hop_by_hop(), ExtensionHeaders)]
#[case::two_fragment_headers(blue6().fragment(0, false).fragment(0, false), ExtensionHeaders)]
#[case::hop_by_hop_twice(blue6().hop_by_hop().hop_by_hop(), ExtensionHeaders)]
#[case::longer_than_headers_may_be(blue6().dst_options(31), ExtensionHeaders)]
#[case::longer_than_the_packet(blue6().dst_options(0).byte(ETHERNET + 41, 200), BadHeader)]
#[case::authentication_too_short(blue6().authentication().byte(ETHERNET + 41, 255), BadHeader)]
#[case::behind_the_declared_length(blue6().dst_options(0).declaring(4), BadHeader)]
fn extension_headers_that_cannot_be_walked(mut lab: Lab, #[case] packet: Packet, #[case] reason: DropReason) {
    everywhere(&mut lab, &packet, reason);
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(80).payload(0))]
#[case::udp(|packet: Packet| packet.udp(53).payload(0))]
#[case::sctp(|packet: Packet| packet.sctp(3868).payload(0))]
#[case::ping(|packet: Packet| packet.ping().payload(0))]
fn a_frame_cut_anywhere_is_truncated(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    let packet = make(blue(family));
    let whole = packet.bytes().len();
    for length in shortest(family)..whole {
        let packet = packet.clone().truncated_at(length);
        lab.sent_by("a", &packet).drops(Truncated);
        lab.delivered_to("b", &packet).stamped_by("a").drops(Truncated);
    }
    lab.sent_by("a", &packet).passes(SharedNetwork);
}

/// The kernel's test interface itself refuses a frame without a whole network header.
const fn shortest(family: Family) -> usize {
    match family {
        V4 => ETHERNET + 20,
        V6 => ETHERNET + 40,
    }
}

#[rstest]
#[case::extension_headers(blue6().hop_by_hop().dst_options(2).authentication().dst_options(0))]
#[case::fragment(blue6().dst_options(1).fragment(0, true))]
fn a_frame_cut_in_the_middle_of_its_headers_never_passes(mut lab: Lab, #[case] packet: Packet) {
    let packet = packet.payload(0);
    for length in ETHERNET + 40..packet.bytes().len() {
        lab.sent_by("a", packet.clone().truncated_at(length)).drops(Truncated);
    }
    lab.sent_by("a", packet).passes(SharedNetwork);
}

#[rstest]
fn a_header_with_options_is_not_cut_short(mut lab: Lab) {
    let packet = blue4().options(40).payload(0);
    for length in ETHERNET + 20..packet.bytes().len() {
        lab.sent_by("a", packet.clone().truncated_at(length)).drops(Truncated);
    }
    lab.sent_by("a", packet).drops(IpOptions);
}

/// The kernel's test interface wants a whole network header of socket buffers, but not of the guard.
#[rstest]
fn the_guard_reads_the_shortest_frames(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = blue(family).tcp(80).payload(0);
    for length in ETHERNET..packet.bytes().len() {
        lab.guarded_by("a", packet.clone().truncated_at(length)).drops(Truncated);
    }
    lab.guarded_by("a", packet).passes_uncounted();
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(80), 20)]
#[case::udp(|packet: Packet| packet.udp(53), 8)]
#[case::sctp(|packet: Packet| packet.sctp(3868), 8)]
#[case::ping(Packet::ping, 8)]
fn the_declared_length_decides_not_the_frame(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] header: u16,
    #[values(V4, V6)] family: Family,
) {
    for declared in 0..header {
        lab.sent_by("a", make(blue(family)).declaring(declared)).drops(Truncated);
        // Nor does a first fragment hide its transport header in the second.
        lab.sent_by("a", make(blue(family)).fragment(0, true).declaring(declared + overhead(family)))
            .drops(Truncated);
    }
    lab.sent_by("a", make(blue(family)).declaring(header)).passes(SharedNetwork);
}

/// What a fragment header adds to the payload.
const fn overhead(family: Family) -> u16 {
    match family {
        V4 => 0,
        V6 => 8,
    }
}

#[rstest]
fn padding_behind_the_packet_is_no_part_of_it(mut lab: Lab, #[values(V4, V6)] family: Family) {
    for padding in [1, 18, 200] {
        lab.sent_by("a", blue(family).udp(53).payload(0).padded(padding)).passes(SharedNetwork);
    }
}

#[rstest]
fn a_packet_longer_than_its_frame_is_truncated(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = blue(family).udp(53).payload(10);
    lab.sent_by("a", packet.clone().declaring(18)).passes(SharedNetwork);
    for declared in [19, 1000, 60_000] {
        lab.sent_by("a", packet.clone().declaring(declared)).drops(Truncated);
    }
}

#[rstest]
#[case::version_0(0x05)]
#[case::version_5(0x55)]
#[case::version_6(0x65)]
#[case::version_15(0xf5)]
#[case::no_header_length(0x40)]
#[case::header_shorter_than_a_header(0x44)]
fn an_ipv4_header_that_contradicts_itself(mut lab: Lab, #[case] version_ihl: u8) {
    let packet = blue4().byte(ETHERNET, version_ihl);
    everywhere(&mut lab, &packet, BadHeader);
}

#[rstest]
fn an_ipv4_packet_shorter_than_its_header(mut lab: Lab) {
    for total in 0..20 {
        let packet = blue4().byte(ETHERNET + 2, 0).byte(ETHERNET + 3, total);
        lab.sent_by("a", packet).drops(BadHeader);
    }
    let with_options = blue4().options(8).byte(ETHERNET + 2, 0).byte(ETHERNET + 3, 27);
    lab.sent_by("a", with_options).drops(BadHeader);
}

#[rstest]
fn an_ipv6_header_of_another_version(mut lab: Lab) {
    for version in (0..16).filter(|version| *version != 6) {
        lab.sent_by("a", blue6().byte(ETHERNET, version << 4)).drops(BadHeader);
    }
    // Traffic class and flow label are nobody's business.
    lab.sent_by("a", blue6().byte(ETHERNET, 0x6f).byte(ETHERNET + 1, 0xff)).passes(SharedNetwork);
}

#[rstest]
fn a_tcp_header_shorter_than_a_header(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let offset = if family == V4 { ETHERNET + 20 + 12 } else { ETHERNET + 40 + 12 };
    for words in 0..5 {
        lab.sent_by("a", blue(family).tcp(80).byte(offset, words << 4)).drops(BadHeader);
    }
    lab.sent_by("a", blue(family).tcp(80).byte(offset, 5 << 4)).passes(SharedNetwork);
}

#[rstest]
#[case::customer(|packet: Packet| packet.vlan(5))]
#[case::service(|packet: Packet| packet.tagged(0x88a8, 5))]
#[case::old_service(|packet: Packet| packet.tagged(0x9100, 5))]
#[case::twice(|packet: Packet| packet.tagged(0x88a8, 5).vlan(6))]
#[case::priority_only(|packet: Packet| packet.vlan(0))]
fn a_tagged_frame_is_out_of_bounds(
    mut lab: Lab,
    #[case] tag: fn(Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    let packet = tag(blue(family).tcp(80));
    everywhere(&mut lab, &packet, VlanTag);
}

#[rstest]
#[case::lldp(0x88cc)]
#[case::pppoe(0x8864)]
#[case::mpls(0x8847)]
#[case::rarp(0x8035)]
#[case::length_of_802_3(0x0026)]
#[case::zero(0)]
fn an_unknown_ethertype_does_not_pass(mut lab: Lab, #[case] ethertype: u16) {
    let packet = blue4().ethertype(ethertype);
    everywhere(&mut lab, &packet, Ethertype);
}

#[rstest]
#[case::ipv6_says_ipv4(blue6().ethertype(0x0800), BadHeader)]
#[case::ipv4_says_ipv6(blue4().ethertype(0x86dd), BadHeader)]
#[case::ipv4_says_arp(blue4().ethertype(0x0806), BadHeader)]
fn the_ethertype_and_the_header_agree(mut lab: Lab, #[case] packet: Packet, #[case] reason: DropReason) {
    lab.sent_by("a", packet).drops(reason);
}

/// Many values of every byte of the headers, one at a time, but for the destination address: whatever
/// the packet becomes, it is for somebody it may not talk to.
#[rstest]
fn no_broken_byte_leads_to_another_network(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let foreign = from(BLUE_A.on(family)).to(DB.on(family)).tcp(80).payload(0);
    let destination = if family == V4 { ETHERNET + 16..ETHERNET + 20 } else { ETHERNET + 24..ETHERNET + 40 };
    let ethertype = 12;
    for index in (ethertype..foreign.bytes().len()).filter(|index| !destination.contains(index)) {
        for value in [0x00, 0x01, 0x06, 0x2b, 0x2c, 0x3a, 0x40, 0x60, 0x7f, 0x80, 0xff] {
            let outcome = lab.sent_by("a", foreign.clone().byte(index, value)).outcome();
            assert!(matches!(outcome.judged, Judged::As(Verdict::Drop(_))), "{outcome}");
        }
    }
}

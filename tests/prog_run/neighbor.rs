//! ARP, neighbour discovery and multicast listeners pass without any policy, but nobody speaks for an
//! address of somebody else.

use std::net::{Ipv4Addr, Ipv6Addr};

use enforcer_common::{
    endpoint::Endpoint,
    verdict::{DropReason, DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{
        ALL_NODES, BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Packet, arp_reply,
        arp_request, dad_probe, from, mld_report, neighbor_advertisement, neighbor_solicitation, redirect,
        router_advertisement, router_solicitation,
    },
    prog_run::Lab,
};
use rstest::rstest;

use crate::{between, lab, without_policy};

const ANY_V4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
/// The link-local address that a test gives to `b`.
const OWNED_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 6);

#[rstest]
#[case::arp_request(arp_request(BLUE_A.v4, HOST.v4))]
#[case::arp_reply(arp_reply(BLUE_A.v4, HOST.v4))]
#[case::arp_probe(arp_request(ANY_V4, BLUE_A.v4))]
#[case::arp_announcement(arp_request(BLUE_A.v4, BLUE_A.v4))]
#[case::solicitation(neighbor_solicitation(BLUE_A.v6, HOST.v6))]
#[case::solicitation_link_local(neighbor_solicitation(LINK_LOCAL, HOST.v6))]
#[case::dad_probe(dad_probe(BLUE_A.v6))]
#[case::dad_probe_link_local(dad_probe(LINK_LOCAL))]
#[case::advertisement(neighbor_advertisement(BLUE_A.v6, BLUE_A.v6))]
#[case::advertisement_from_link_local(neighbor_advertisement(LINK_LOCAL, BLUE_A.v6))]
#[case::advertisement_link_local(neighbor_advertisement(LINK_LOCAL, LINK_LOCAL))]
#[case::router_solicitation(router_solicitation(LINK_LOCAL))]
#[case::router_solicitation_without_source(router_solicitation(Ipv6Addr::UNSPECIFIED))]
#[case::mld_report(mld_report(LINK_LOCAL))]
#[case::mld_report_without_source(mld_report(Ipv6Addr::UNSPECIFIED))]
fn an_endpoint_speaks_for_itself(mut lab: Lab, #[case] packet: Packet) {
    lab.sent_by("a", &packet).passes(Neighbor).is_stamped_as("a");
    // The host's stack may flood it over a bridge: the stamp is the proof.
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    // No policy applies, so none is needed.
    let mut lab = without_policy();
    lab.sent_by("a", &packet).passes(Neighbor);
}

#[rstest]
#[case::arp_request_of_another(arp_request(BLUE_B.v4, HOST.v4))]
#[case::arp_request_of_the_host(arp_request(HOST.v4, BLUE_B.v4))]
#[case::arp_reply_of_another(arp_reply(BLUE_B.v4, BLUE_FAR.v4))]
#[case::arp_reply_of_the_host(arp_reply(HOST.v4, BLUE_B.v4))]
#[case::arp_reply_of_a_remote(arp_reply(BLUE_FAR.v4, BLUE_B.v4))]
#[case::gratuitous_arp_of_the_host(arp_request(HOST.v4, HOST.v4))]
#[case::solicitation_of_another(neighbor_solicitation(BLUE_B.v6, HOST.v6))]
#[case::solicitation_of_the_host(neighbor_solicitation(HOST.v6, BLUE_B.v6))]
#[case::advertisement_for_another(neighbor_advertisement(BLUE_A.v6, BLUE_B.v6))]
#[case::advertisement_for_the_host(neighbor_advertisement(BLUE_A.v6, HOST.v6))]
#[case::advertisement_for_a_remote(neighbor_advertisement(BLUE_A.v6, BLUE_FAR.v6))]
#[case::advertisement_as_another(neighbor_advertisement(BLUE_B.v6, BLUE_A.v6))]
#[case::advertisement_from_link_local_for_the_host(neighbor_advertisement(LINK_LOCAL, HOST.v6))]
#[case::router_solicitation_of_another(router_solicitation(BLUE_B.v6))]
fn an_endpoint_does_not_speak_for_others(mut lab: Lab, #[case] packet: Packet) {
    lab.sent_by("a", &packet).drops(SpoofedNeighbor).is_not_stamped();
}

#[rstest]
fn a_link_local_address_with_an_owner_is_its_owners(mut lab: Lab) {
    lab.endpoint("b").owns([OWNED_LINK_LOCAL]);
    for claim in [
        neighbor_advertisement(OWNED_LINK_LOCAL, OWNED_LINK_LOCAL),
        neighbor_advertisement(LINK_LOCAL, OWNED_LINK_LOCAL),
        neighbor_solicitation(OWNED_LINK_LOCAL, HOST.v6),
    ] {
        lab.sent_by("a", &claim).drops(SpoofedNeighbor);
    }
    lab.sent_by("b", neighbor_advertisement(OWNED_LINK_LOCAL, OWNED_LINK_LOCAL)).passes(Neighbor);
}

#[rstest]
#[case::advertisement(router_advertisement(LINK_LOCAL))]
#[case::advertisement_from_a_global_address(router_advertisement(BLUE_A.v6))]
#[case::redirect(redirect(LINK_LOCAL, BLUE_B.v6, DB.v6))]
fn a_workload_is_no_router(mut lab: Lab, #[case] packet: Packet) {
    lab.sent_by("a", &packet).drops(RouterAdvertisement).is_not_stamped();
    // The real router is the host, or whoever the host lets through.
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
}

#[rstest]
fn a_declared_router_speaks_for_itself(mut lab: Lab) {
    lab.provides("a", Endpoint::ROUTER);
    lab.sent_by("a", router_advertisement(LINK_LOCAL)).passes(Neighbor).is_stamped_as("a");
    lab.sent_by("a", redirect(LINK_LOCAL, BLUE_B.v6, DB.v6)).passes(Neighbor);
    lab.sent_by("a", router_advertisement(BLUE_B.v6)).drops(SpoofedNeighbor);
    lab.sent_by("b", router_advertisement(LINK_LOCAL)).drops(RouterAdvertisement);
}

#[rstest]
fn the_hosts_router_advertisements_reach_the_endpoint(mut lab: Lab) {
    let packet = router_advertisement(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
    lab.delivered_to("b", &packet).locally_generated().passes(Neighbor);
}

#[rstest]
#[case::solicitation(neighbor_solicitation(BLUE_A.v6, HOST.v6))]
#[case::advertisement(neighbor_advertisement(BLUE_A.v6, BLUE_A.v6))]
#[case::router_solicitation(router_solicitation(LINK_LOCAL))]
#[case::router_advertisement(router_advertisement(LINK_LOCAL))]
#[case::redirect(redirect(LINK_LOCAL, BLUE_B.v6, DB.v6))]
fn what_a_router_may_have_forwarded_is_no_neighbour_discovery(mut lab: Lab, #[case] packet: Packet) {
    for hops in [254, 64, 0] {
        lab.sent_by("a", packet.clone().hop_limit(hops)).drops(BadHeader);
        lab.delivered_to("b", packet.clone().hop_limit(hops)).stamped_by("a").drops(BadHeader);
    }
}

#[rstest]
#[case::solicitation(neighbor_solicitation(BLUE_A.v6, HOST.v6))]
#[case::advertisement(neighbor_advertisement(BLUE_A.v6, BLUE_A.v6))]
#[case::router_advertisement(router_advertisement(LINK_LOCAL))]
fn neighbour_discovery_comes_in_one_piece(mut lab: Lab, #[case] packet: Packet) {
    // RFC 6980; an atomic fragment is harmless but equally forbidden, only not to us.
    lab.sent_by("a", packet.clone().fragment(0, true)).drops(BadHeader);
    // The type decides, the code is zero (RFC 4861 §7.1).
    let code = 14 + 40 + 1;
    lab.sent_by("a", packet.byte(code, 1)).drops(BadHeader);
}

#[rstest]
fn an_advertisement_without_its_target_is_cut_short(mut lab: Lab) {
    let whole = neighbor_advertisement(BLUE_A.v6, BLUE_A.v6);
    let length = whole.bytes().len();
    for declared in 8..24 {
        lab.sent_by("a", whole.clone().declaring(declared)).drops(Truncated);
    }
    for cut in 55..length {
        lab.sent_by("a", whole.clone().truncated_at(cut)).drops(Truncated);
    }
    lab.sent_by("a", whole).passes(Neighbor);
}

#[rstest]
fn a_workload_asks_nobody_for_its_groups(mut lab: Lab) {
    let query = from(LINK_LOCAL).to(ALL_NODES).hop_by_hop().icmp(130, 0).hop_limit(1);
    lab.sent_by("a", query).drops(RouterAdvertisement);
}

#[rstest]
#[case::beyond_its_link(neighbor_advertisement(BLUE_A.v6, BLUE_A.v6), OUTSIDER.v6, DefaultDeny)]
#[case::to_a_stranger_on_this_host(neighbor_solicitation(BLUE_A.v6, OUTSIDER.v6), OUTSIDER.v6, DefaultDeny)]
fn discovery_that_a_router_would_forward_is_judged_like_anything_else(
    mut lab: Lab,
    #[case] packet: Packet,
    #[case] dst: Ipv6Addr,
    #[case] reason: DropReason,
) {
    let destination = dst.octets();
    let redirected = (0..16).fold(packet.clone(), |packet, byte| packet.byte(38 + byte, destination[byte]));
    lab.sent_by("a", redirected).drops(reason);
    lab.sent_by("a", packet).passes(Neighbor);
}

#[rstest]
fn discovery_longer_than_it_needs_to_be_is_judged_like_anything_else(mut lab: Lab) {
    let long = from(BLUE_A.v6).to(ALL_NODES).icmp(136, 0).payload(200).hop_limit(255);
    lab.sent_by("a", long).drops(Multicast);
}

#[rstest]
fn a_probe_for_somebody_elses_address_is_no_probe(mut lab: Lab) {
    lab.sent_by("a", dad_probe(BLUE_A.v6)).passes(Neighbor);
    lab.sent_by("a", dad_probe(OUTSIDER.v6)).passes(Neighbor);
    lab.sent_by("a", dad_probe(BLUE_B.v6)).drops(SpoofedNeighbor);
    lab.sent_by("a", dad_probe(HOST.v6)).drops(SpoofedNeighbor);
    lab.sent_by("a", arp_request(ANY_V4, BLUE_A.v4)).passes(Neighbor);
    lab.sent_by("a", arp_request(ANY_V4, OUTSIDER.v4)).passes(Neighbor);
    lab.sent_by("a", arp_request(ANY_V4, BLUE_B.v4)).drops(SpoofedNeighbor);
    lab.sent_by("a", arp_request(ANY_V4, HOST.v4)).drops(SpoofedNeighbor);
}

#[rstest]
fn frames_come_from_the_workloads_own_interface(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    let bytes = packet.bytes();
    lab.endpoint("a").has_mac([bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11]]);
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.sent_by("a", packet.clone().byte(11, 0x77)).drops(SpoofedMac);
    // Known flows make no exception, and neither does who only announces itself.
    lab.sent_by("a", packet).passes(SharedNetwork);
    lab.sent_by("a", arp_request(BLUE_A.v4, HOST.v4)).passes(Neighbor);
    lab.sent_by("a", arp_request(BLUE_A.v4, HOST.v4).byte(11, 0x77)).drops(SpoofedMac);
    // The sender's MAC inside ARP (at 22) is what others learn.
    lab.sent_by("a", arp_request(BLUE_A.v4, HOST.v4).byte(27, 0x77)).drops(SpoofedNeighbor);
}

#[rstest]
#[case::report(131)]
#[case::done(132)]
#[case::report_v2(143)]
fn multicast_listener_reports_stay_on_their_link(mut lab: Lab, #[case] kind: u8) {
    let report = from(LINK_LOCAL).to(ALL_NODES).hop_by_hop().icmp(kind, 0);
    lab.sent_by("a", report.clone().hop_limit(1)).passes(Neighbor);
    lab.sent_by("a", report).drops(Multicast);
    // Only a link-local address, or none, reports (RFC 3810 §5.2.13).
    lab.sent_by("a", from(BLUE_A.v6).to(ALL_NODES).hop_by_hop().icmp(kind, 0).hop_limit(1)).drops(Multicast);
    // Sent to one address they are an ordinary packet, and the policy's.
    lab.sent_by("a", from(BLUE_A.v6).to(DB.v6).icmp(kind, 0)).drops(DefaultDeny);
}

#[rstest]
#[case::arp_request(arp_request(BLUE_A.v4, BLUE_B.v4))]
#[case::arp_reply(arp_reply(BLUE_A.v4, BLUE_B.v4))]
#[case::solicitation(neighbor_solicitation(BLUE_A.v6, BLUE_B.v6))]
#[case::advertisement(neighbor_advertisement(BLUE_A.v6, BLUE_A.v6))]
#[case::advertisement_from_link_local(neighbor_advertisement(LINK_LOCAL, BLUE_A.v6))]
fn only_the_owners_stamp_speaks_for_a_local_endpoint(mut lab: Lab, #[case] packet: Packet) {
    lab.delivered_to("b", &packet).drops(SpoofedNeighbor);
    lab.delivered_to("b", &packet).locally_generated().drops(SpoofedNeighbor);
    lab.delivered_to("b", &packet).stamped_by("db").drops(SpoofedNeighbor);
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
}

#[rstest]
#[case::arp_of_the_host(arp_request(HOST.v4, BLUE_B.v4))]
#[case::advertisement_of_the_host(neighbor_advertisement(HOST.v6, HOST.v6))]
fn nobodys_stamp_speaks_for_the_host(mut lab: Lab, #[case] packet: Packet) {
    lab.delivered_to("b", &packet).locally_generated().passes(Neighbor);
    lab.delivered_to("b", &packet).stamped_by("a").drops(SpoofedNeighbor);
    // From the wire, over a bridge.
    lab.delivered_to("b", &packet).drops(SpoofedNeighbor);
}

#[rstest]
#[case::arp(arp_request(BLUE_FAR.v4, BLUE_B.v4))]
#[case::advertisement(neighbor_advertisement(BLUE_FAR.v6, BLUE_FAR.v6))]
fn remote_neighbours_are_heard(mut lab: Lab, #[case] packet: Packet) {
    lab.delivered_to("b", &packet).passes(Neighbor);
}

#[rstest]
#[case::hardware(14, 9)]
#[case::protocol(16, 0x86)]
#[case::hardware_length(18, 8)]
#[case::protocol_length(19, 16)]
fn arp_is_for_ipv4_over_ethernet(mut lab: Lab, #[case] byte: usize, #[case] value: u8) {
    let packet = arp_request(BLUE_A.v4, HOST.v4);
    lab.sent_by("a", &packet).passes(Neighbor);
    lab.sent_by("a", packet.byte(byte, value)).drops(BadHeader);
}

#[rstest]
fn arp_is_not_cut_short(mut lab: Lab) {
    let packet = arp_request(BLUE_A.v4, HOST.v4);
    for length in 14..packet.bytes().len() {
        lab.sent_by("a", packet.clone().truncated_at(length)).drops(Truncated);
    }
    lab.sent_by("a", packet.padded(18)).passes(Neighbor);
}

#[rstest]
fn a_mapped_target_is_no_way_to_an_ipv4_address(mut lab: Lab) {
    let mapped = BLUE_A.v4.to_ipv6_mapped();
    lab.sent_by("a", neighbor_advertisement(BLUE_A.v6, mapped)).drops(MappedAddress);
    lab.sent_by("a", dad_probe(mapped)).drops(MappedAddress);
    lab.delivered_to("b", neighbor_advertisement(LINK_LOCAL, mapped)).drops(MappedAddress);
}

#[rstest]
fn a_listener_report_is_no_longer_than_it_needs_to_be(mut lab: Lab) {
    let report = |bytes| from(LINK_LOCAL).to(ALL_NODES).hop_by_hop().icmp(143, 0).hop_limit(1).payload(bytes);
    lab.sent_by("a", report(400)).passes(Neighbor);
    lab.sent_by("a", report(600)).drops(Multicast);
    lab.sent_by("a", from(LINK_LOCAL).to(ALL_NODES).hop_by_hop().icmp(143, 9).hop_limit(1)).drops(Multicast);
}

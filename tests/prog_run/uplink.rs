//! The guard on an uplink: it judges what is for a local endpoint or claims to be from here, and leaves all
//! else to the host.

use enforcer_common::{
    counter::Counter,
    verdict::{DropReason::*, PassReason::*, Verdict},
};
use enforcer_tests::{
    packet::{
        BLUE_A, BLUE_B, BLUE_FAR, DB, DB_FAR, Family, Family::*, HOST, OUTSIDER, Packet, arp_request, from,
        neighbor_advertisement,
    },
    prog_run::Lab,
};
use rstest::{fixture, rstest};

use crate::{between, ruled};

#[fixture]
fn outside(mut ruled: Lab) -> Lab {
    ruled.uplink("uplink");
    ruled
}

#[rstest]
fn nobody_outside_has_an_address_of_this_host(mut outside: Lab, #[values(V4, V6)] family: Family) {
    for source in [HOST, BLUE_A, DB] {
        for receiver in [BLUE_B, HOST, OUTSIDER] {
            outside.guarded_by("uplink", between(family, source, receiver)).drops(SpoofedOutside);
        }
    }
}

#[rstest]
fn what_is_for_an_endpoint_is_judged_as_at_its_veth(mut outside: Lab, #[values(V4, V6)] family: Family) {
    outside.guarded_by("uplink", between(family, BLUE_FAR, BLUE_A)).passes_uncounted();
    outside.guarded_by("uplink", between(family, BLUE_FAR, DB)).passes_uncounted();
    outside.guarded_by("uplink", between(family, DB_FAR, BLUE_A)).drops(DefaultDeny);
    outside.guarded_by("uplink", between(family, OUTSIDER, BLUE_A)).drops(DefaultDeny);
    outside.guarded_by("uplink", between(family, BLUE_FAR, DB).udp(53).fragment(185, false)).drops(Fragment);
    // It opens nothing by looking.
    outside.sent_by("db", between(family, BLUE_FAR, DB).answer()).drops(DefaultDeny);
    let question = between(family, BLUE_A, DB_FAR);
    outside.guarded_by("uplink", question.answer()).drops(DefaultDeny);
    outside.sent_by("a", &question).passes(AllowedByRule);
    outside.guarded_by("uplink", question.answer()).passes_uncounted();
}

#[rstest]
fn what_is_for_the_host_or_nobody_is_the_hosts_business(mut outside: Lab, #[values(V4, V6)] family: Family) {
    for packet in [
        between(family, OUTSIDER, HOST),
        between(family, OUTSIDER, DB_FAR),
        between(family, DB_FAR, HOST).fragment(185, false),
        between(family, OUTSIDER, HOST).vlan(5),
        between(family, OUTSIDER, HOST).ethertype(0x88cc),
    ] {
        outside.guarded_by("uplink", packet).passes_uncounted();
    }
    // What it lets through it does not count.
    assert_eq!(outside.reason(Verdict::Pass(Uplink)), Counter::default());
}

#[rstest]
fn tags_and_neighbours_outside_are_not_judged(mut outside: Lab, #[values(V4, V6)] family: Family) {
    // Whose the frame in a tagged one is says the tag, which the host has not looked at yet.
    outside.guarded_by("uplink", between(family, OUTSIDER, BLUE_A).vlan(5)).passes_uncounted();
    outside.guarded_by("uplink", between(family, OUTSIDER, BLUE_A).ethertype(0x8847)).passes_uncounted();
    outside.guarded_by("uplink", arp_request(OUTSIDER.v4, HOST.v4)).passes_uncounted();
    let router = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap();
    outside.guarded_by("uplink", neighbor_advertisement(router, router)).passes_uncounted();
}

#[rstest]
fn every_link_has_its_link_local_addresses(mut outside: Lab) {
    let shared = "fe80::5".parse::<std::net::Ipv6Addr>().unwrap();
    outside.host_owns([shared]);
    let group = "ff02::1".parse::<std::net::Ipv6Addr>().unwrap();
    outside.guarded_by("uplink", from(shared).to(group).udp(9)).passes_uncounted();
}

#[rstest]
#[case::cut_short(|packet: Packet| packet.declaring(1000), Truncated)]
#[case::no_ports(|packet: Packet| packet.declaring(4), Truncated)]
#[case::no_quote(|packet: Packet| packet.error_quoting(3, 0, Vec::new()), BadQuote)]
fn what_cannot_be_read_reaches_no_endpoint(
    mut outside: Lab,
    #[case] broken: fn(Packet) -> Packet,
    #[case] reason: enforcer_common::verdict::DropReason,
    #[values(V4, V6)] family: Family,
) {
    outside.guarded_by("uplink", broken(between(family, OUTSIDER, BLUE_A))).drops(reason);
    outside.guarded_by("uplink", broken(between(family, OUTSIDER, HOST))).passes_uncounted();
    outside.guarded_by("uplink", broken(between(family, OUTSIDER, DB_FAR))).passes_uncounted();
}

#[rstest]
fn odd_headers_reach_no_endpoint(mut outside: Lab) {
    outside.guarded_by("uplink", between(V4, BLUE_FAR, BLUE_A).options(4)).drops(IpOptions);
    outside.guarded_by("uplink", between(V6, BLUE_FAR, BLUE_A).routing()).drops(RoutingHeader);
    outside.guarded_by("uplink", between(V4, BLUE_FAR, HOST).options(4)).passes_uncounted();
    let martian = "127.0.0.1".parse::<std::net::Ipv4Addr>().unwrap();
    outside.guarded_by("uplink", from(martian).to(BLUE_A.v4).udp(9)).drops(Martian);
}

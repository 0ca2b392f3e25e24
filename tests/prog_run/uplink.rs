//! At uplinks: nobody outside has an address of this host. The early guard also judges what is for a local
//! endpoint; all else is left to the host.

use enforcer::host_end;
use enforcer_common::{
    counter::Counter,
    host::HostEnd,
    mode::Mode,
    verdict::{DropReason::*, PassReason::*, Verdict},
};
use enforcer_tests::{
    packet::{
        BLUE_A, BLUE_B, BLUE_FAR, DB, DB_FAR, Family, Family::*, HOST, OUTSIDER, Packet, arp_reply,
        arp_request, dad_probe, from, neighbor_advertisement, neighbor_solicitation,
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
    let packets = [
        between(family, OUTSIDER, HOST),
        between(family, OUTSIDER, DB_FAR),
        between(family, DB_FAR, HOST).fragment(185, false),
        between(family, OUTSIDER, HOST).vlan(5),
        between(family, OUTSIDER, HOST).ethertype(0x88cc),
    ];
    for packet in &packets {
        outside.guarded_by("uplink", packet).passes_uncounted();
    }
    // What the guard lets through it does not count.
    assert_eq!(outside.reason(Verdict::Pass(Uplink)), Counter::default());
    for packet in packets {
        outside.arrives_at("uplink", packet).passes(Uplink);
    }
}

#[rstest]
fn tags_and_neighbours_outside_are_not_judged(mut outside: Lab, #[values(V4, V6)] family: Family) {
    // Whose the frame in a tagged one is says the tag, which the host has not looked at yet.
    let router = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap();
    for packet in [
        between(family, OUTSIDER, BLUE_A).vlan(5),
        between(family, OUTSIDER, BLUE_A).ethertype(0x8847),
        arp_request(OUTSIDER.v4, HOST.v4),
        neighbor_advertisement(router, router),
    ] {
        outside.guarded_by("uplink", &packet).passes_uncounted();
        outside.arrives_at("uplink", packet).passes(Uplink);
    }
}

#[rstest]
fn every_link_has_its_link_local_addresses(mut outside: Lab) {
    let shared = "fe80::5".parse::<std::net::Ipv6Addr>().unwrap();
    outside.host_owns([shared]);
    let group = "ff02::1".parse::<std::net::Ipv6Addr>().unwrap();
    let packet = from(shared).to(group).udp(9);
    outside.guarded_by("uplink", &packet).passes_uncounted();
    outside.arrives_at("uplink", packet).passes(Uplink);
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

#[rstest]
fn who_arrives_with_an_address_of_this_host_is_dropped(mut outside: Lab, #[values(V4, V6)] family: Family) {
    for source in [HOST, BLUE_A, DB] {
        for receiver in [BLUE_B, HOST, OUTSIDER] {
            outside.arrives_at("uplink", between(family, source, receiver)).drops(SpoofedOutside);
        }
    }
    // Everything else is the host's business, also what no endpoint will get.
    for (source, receiver) in [(BLUE_FAR, BLUE_A), (OUTSIDER, BLUE_A), (OUTSIDER, HOST), (DB_FAR, OUTSIDER)] {
        for _ in 0..2 {
            outside.arrives_at("uplink", between(family, source, receiver)).passes(Uplink).is_not_stamped();
        }
    }
    assert_eq!(outside.flows().len(), 0, "what is forged has no record, and what passes is no flow of ours");
}

#[rstest]
fn what_cannot_be_read_arrives(mut outside: Lab, #[values(V4, V6)] family: Family) {
    outside.arrives_at("uplink", between(family, OUTSIDER, BLUE_A).declaring(1000)).passes(Uplink);
    outside.arrives_at("uplink", between(family, OUTSIDER, HOST).vlan(5)).passes(Uplink);
    outside.arrives_at("uplink", between(family, OUTSIDER, HOST).ethertype(0x88cc)).passes(Uplink);
}

/// The host's own stack accepts what the parser refuses: options are no way to a forged source.
#[rstest]
fn what_cannot_be_read_has_no_address_of_this_host_either(mut ruled: Lab) {
    ruled.uplink("fabric");
    ruled.external_uplink("wan");
    for (family, broken) in [
        (V4, Packet::options as fn(Packet, usize) -> Packet),
        (V4, |packet, _| packet.declaring(1000)),
        (V6, |packet, _| packet.routing()),
        (V6, |packet, _| packet.declaring(1000)),
    ] {
        for source in [HOST, BLUE_A, DB] {
            let forged = broken(between(family, source, HOST), 4);
            ruled.arrives_at("fabric", &forged).drops(SpoofedOutside);
            ruled.guarded_by("fabric", &forged).drops(SpoofedOutside);
        }
        // Nor is anybody a member there, and nothing says that it is for what stays open.
        let member = broken(between(family, BLUE_FAR, HOST).tcp(22), 4);
        ruled.arrives_at("fabric", &member).passes(Uplink);
        ruled.arrives_at("wan", &member).drops(SpoofedOutside);
        ruled.guarded_by("wan", &member).drops(SpoofedOutside);
    }
}

#[rstest]
fn what_was_unpacked_here_does_not_come_from_outside(mut outside: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_FAR, BLUE_B);
    outside.arrives_at("uplink", &packet).stamped_by("a").drops(SpoofedOutside);
    outside.arrives_at("uplink", &packet).passes(Uplink);
}

#[rstest]
fn nobody_outside_speaks_for_an_address_of_this_host(mut outside: Lab) {
    let router = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap();
    for (claim, refused) in [
        (arp_request(BLUE_A.v4, OUTSIDER.v4), true),
        (arp_reply(HOST.v4, OUTSIDER.v4), true),
        (arp_request(OUTSIDER.v4, HOST.v4), false),
        (neighbor_advertisement(router, BLUE_A.v6), true),
        (neighbor_advertisement(router, HOST.v6), true),
        (neighbor_advertisement(router, router), false),
        (neighbor_solicitation(BLUE_A.v6, OUTSIDER.v6), true),
        (neighbor_solicitation(OUTSIDER.v6, BLUE_A.v6), false),
        // Who asks whether an address is free speaks for nobody yet.
        (dad_probe(HOST.v6), false),
    ] {
        if refused {
            outside.arrives_at("uplink", claim.clone()).drops(SpoofedOutside);
            outside.guarded_by("uplink", claim).drops(SpoofedOutside);
        } else {
            outside.arrives_at("uplink", claim.clone()).passes(Uplink);
            outside.guarded_by("uplink", claim).passes_uncounted();
        }
    }
}

#[rstest]
fn behind_an_external_uplink_nobody_is_a_member(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.uplink("fabric");
    ruled.external_uplink("wan");
    for (packet, refused) in [
        (between(family, BLUE_FAR, BLUE_A), true),
        (between(family, DB_FAR, OUTSIDER), true),
        (between(family, BLUE_FAR, HOST).tcp(80), true),
        (between(family, OUTSIDER, BLUE_A), false),
        (between(family, OUTSIDER, HOST), false),
        // What stays open does so for whoever asks, but at the host alone.
        (between(family, BLUE_FAR, HOST).tcp(22), false),
        (between(family, BLUE_FAR, BLUE_A).tcp(22), true),
        (between(family, BLUE_FAR, HOST).tcp(22).fragment(185, false), true),
    ] {
        ruled.arrives_at("fabric", &packet).passes(Uplink);
        if refused {
            ruled.arrives_at("wan", &packet).drops(SpoofedOutside);
            ruled.guarded_by("wan", packet).drops(SpoofedOutside);
        } else {
            ruled.arrives_at("wan", &packet).passes(Uplink);
        }
    }
    ruled.arrives_at("wan", arp_request(BLUE_FAR.v4, HOST.v4)).passes(Uplink);
    ruled.guarded_by("wan", neighbor_solicitation(BLUE_FAR.v6, HOST.v6)).passes_uncounted();
}

#[rstest]
fn what_stays_open_is_what_the_host_file_says(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.external_uplink("wan");
    let open = host_end::ranges(&["udp/4000-4010".parse().unwrap()]).unwrap();
    ruled.host_is(&HostEnd { failsafe: open, ..host_end::builtin() });
    ruled.arrives_at("wan", between(family, BLUE_FAR, HOST).tcp(22)).drops(SpoofedOutside);
    ruled.arrives_at("wan", between(family, BLUE_FAR, HOST).udp(4010)).passes(Uplink);
    ruled.arrives_at("wan", between(family, BLUE_FAR, HOST).udp(4011)).drops(SpoofedOutside);
    // No address of the host itself, whatever stays open.
    ruled.arrives_at("wan", between(family, HOST, HOST).udp(4000)).drops(SpoofedOutside);
}

#[rstest]
fn a_mode_lets_it_arrive_in_doubt(mut outside: Lab, #[values(V4, V6)] family: Family) {
    outside.host_mode(Mode::Audit);
    outside.arrives_at("uplink", between(family, BLUE_A, BLUE_B)).drops(SpoofedOutside);
    outside.host_mode(Mode::Observe);
    let arrived = outside.arrives_at("uplink", between(family, BLUE_A, BLUE_B)).would_drop(SpoofedOutside);
    assert_eq!(arrived.stamp, Lab::DOUBTFUL);
}

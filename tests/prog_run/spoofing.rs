//! Who a packet claims to be from, and whether it may: by address where it is sent, by stamp where it is
//! delivered. No cached verdict of the victim helps the spoofer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::verdict::{DropReason, DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Party, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{between, lab};

#[rstest]
#[case::another_endpoint_of_the_same_network(BLUE_B)]
#[case::an_endpoint_of_another_network(DB)]
#[case::the_host(HOST)]
#[case::a_remote_member(BLUE_FAR)]
#[case::an_outsider(OUTSIDER)]
fn nobody_sends_with_an_address_of_somebody_else(
    mut lab: Lab,
    #[case] claimed: Party,
    #[values(V4, V6)] family: Family,
) {
    let packet = from(claimed.on(family)).to(BLUE_FAR.on(family)).udp(53);
    lab.sent_by("a", &packet).drops(SpoofedSource).is_not_stamped();
    lab.sent_by("a", &packet).drops(SpoofedSource).is_not_stamped();
    lab.sent_by("a", between(family, BLUE_A, BLUE_FAR)).passes(SharedNetwork);
}

/// More of them than a CPU remembers at once, in turn: whoever takes the place of another there takes nothing else of it.
#[rstest]
fn each_of_many_interfaces_speaks_for_itself(mut lab: Lab) {
    let many: Vec<(String, Ipv4Addr)> =
        (0..40).map(|number| (format!("many{number}"), Ipv4Addr::new(10, 1, 0, 100 + number))).collect();
    for (name, address) in &many {
        lab.endpoint(name).owns([*address]);
    }
    let mut before = OUTSIDER.v4;
    for (name, address) in many.iter().chain(&many) {
        lab.sent_by(name, from(*address).to(BLUE_FAR.v4).udp(53)).passes(SharedNetwork).is_stamped_as(name);
        lab.sent_by(name, from(before).to(BLUE_FAR.v4).udp(53)).drops(SpoofedSource);
        before = *address;
    }
    let (last, address) = &many[39];
    lab.forget(last);
    lab.sent_by(last, from(*address).to(BLUE_FAR.v4).udp(53)).drops(NoEndpoint);
}

#[rstest]
fn the_victims_flow_does_not_help_the_spoofer(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_B, BLUE_FAR);
    lab.sent_by("b", &packet).passes(SharedNetwork);
    lab.sent_by("a", &packet).drops(SpoofedSource).is_not_stamped();
    lab.sent_by("a", &packet).drops(SpoofedSource).is_not_stamped();
    lab.sent_by("b", &packet).passes(SharedNetwork).is_stamped_as("b");
    let records = lab.flows_of(&packet);
    let counts: Vec<_> = records.iter().map(|flow| (flow.verdict.as_str(), flow.packets_fwd)).collect();
    assert_eq!(counts, [("pass", 2)], "what is forged has no record");
}

#[rstest]
fn the_spoofers_denial_does_not_hurt_the_victim(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_B, BLUE_FAR);
    lab.sent_by("a", &packet).drops(SpoofedSource);
    lab.sent_by("b", &packet).passes(SharedNetwork).is_stamped_as("b");
    lab.sent_by("b", &packet).passes(SharedNetwork).is_stamped_as("b");
}

#[rstest]
fn a_spoofer_does_not_touch_its_victims_denied_record(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_B, DB);
    for _ in 0..3 {
        lab.sent_by("b", &packet).drops(DefaultDeny);
    }
    for _ in 0..2 {
        lab.sent_by("a", &packet).drops(SpoofedSource);
    }
    lab.delivered_to("db", &packet).drops(UnstampedSource);
    lab.sent_by("b", &packet).drops(DefaultDeny);
    let records = lab.flows_of(&packet);
    let mut counts: Vec<_> = records.iter().map(|flow| (flow.reason.as_str(), flow.packets_fwd)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [("default-deny", 4), ("unstamped-source", 1)], "what is forged has no record");
}

#[rstest]
fn a_local_source_is_believed_only_with_its_own_stamp(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    let mut all_but_the_right_one_are_dropped = || {
        lab.delivered_to("b", &packet).drops(UnstampedSource);
        lab.delivered_to("b", &packet).locally_generated().drops(UnstampedSource);
        lab.delivered_to("b", &packet).stamped_by("db").drops(UnstampedSource);
        lab.delivered_to("b", &packet).stamped_by("b").drops(UnstampedSource);
        lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    };
    all_but_the_right_one_are_dropped();
    // The flow of the honest sender changes nothing.
    all_but_the_right_one_are_dropped();
    lab.sent_by("a", &packet).passes(SharedNetwork);
    lab.delivered_to("b", &packet).drops(UnstampedSource);
    lab.delivered_to("b", &packet).stamped_by("db").drops(UnstampedSource);
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
}

#[rstest]
fn a_stamp_that_a_packet_brings_along_is_replaced(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_A, BLUE_B);
    for _ in 0..2 {
        lab.sent_by("a", &packet).stamped_by("db").passes(SharedNetwork).is_stamped_as("a");
    }
    lab.sent_by("a", between(family, DB, BLUE_B)).stamped_by("db").drops(SpoofedSource);
}

#[rstest]
fn the_host_is_believed_only_where_it_sends_itself(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, HOST, BLUE_B);
    lab.delivered_to("b", &packet).drops(MaskedSource);
    lab.delivered_to("b", &packet).stamped_by("db").drops(DefaultDeny);
    lab.delivered_to("b", &packet).locally_generated().passes(HostOpen);
    lab.delivered_to("b", &packet).drops(MaskedSource);
    lab.delivered_to("b", &packet).stamped_by("db").drops(DefaultDeny);
}

#[rstest]
fn a_stamped_packet_with_a_remote_source_was_rewritten(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_FAR, BLUE_B);
    lab.delivered_to("b", &packet).stamped_by("a").drops(MaskedSource);
    lab.delivered_to("b", &packet).passes(SharedNetwork);
    // The flow that passes without a stamp does not make it any better with one.
    lab.delivered_to("b", &packet).stamped_by("a").drops(MaskedSource);
    lab.delivered_to("b", &packet).stamped_by("b").drops(MaskedSource);
}

#[rstest]
#[case::of_another_endpoint(BLUE_A)]
#[case::of_the_host(HOST)]
#[case::of_nobody_here(BLUE_FAR)]
fn nothing_is_delivered_to_who_does_not_own_it(
    mut lab: Lab,
    #[case] dst: Party,
    #[values(V4, V6)] family: Family,
) {
    let packet = between(family, BLUE_FAR, dst);
    lab.delivered_to("b", &packet).drops(NotOwner);
    lab.delivered_to("b", &packet).locally_generated().drops(NotOwner);
    lab.delivered_to("b", between(family, DB, dst)).stamped_by("db").drops(NotOwner);
}

#[rstest]
fn a_flow_of_the_owner_opens_no_other_veth(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = between(family, BLUE_FAR, BLUE_A);
    lab.delivered_to("a", &packet).passes(SharedNetwork);
    lab.delivered_to("b", &packet).drops(NotOwner);
    lab.delivered_to("a", &packet).passes(SharedNetwork);
}

#[rstest]
#[case::loopback("127.0.0.1", Martian)]
#[case::this_network("0.0.0.7", Martian)]
#[case::unspecified("0.0.0.0", Martian)]
#[case::reserved("240.0.0.1", Martian)]
#[case::broadcast("255.255.255.255", Martian)]
#[case::multicast("224.0.0.5", Martian)]
#[case::v6_loopback("::1", Martian)]
#[case::v6_unspecified("::", Martian)]
#[case::v6_multicast("ff02::5", Martian)]
#[case::v6_mapped("::ffff:10.1.0.5", MappedAddress)]
fn some_sources_cannot_be_on_a_wire(mut lab: Lab, #[case] source: &str, #[case] reason: DropReason) {
    let source: IpAddr = source.parse().unwrap();
    let dst = BLUE_B.on(Family::of(source));
    lab.sent_by("a", from(source).to(dst).udp(53)).drops(reason);
    lab.delivered_to("b", from(source).to(dst).udp(53)).drops(reason);
    lab.delivered_to("b", from(source).to(dst).udp(53)).locally_generated().drops(reason);
}

#[rstest]
#[case::loopback("127.0.0.1", Martian)]
#[case::unspecified("0.0.0.0", Martian)]
#[case::reserved("240.0.0.1", Martian)]
#[case::broadcast("255.255.255.255", Multicast)]
#[case::multicast("239.1.2.3", Multicast)]
#[case::v6_loopback("::1", Martian)]
#[case::v6_unspecified("::", Martian)]
#[case::v6_multicast("ff02::5", Multicast)]
#[case::v6_mapped("::ffff:10.7.3.6", MappedAddress)]
fn some_destinations_are_nobodys(mut lab: Lab, #[case] destination: &str, #[case] reason: DropReason) {
    let destination: IpAddr = destination.parse().unwrap();
    let packet = from(BLUE_A.on(Family::of(destination))).to(destination).udp(53);
    lab.sent_by("a", &packet).drops(reason);
}

#[rstest]
fn owning_a_martian_does_not_make_it_usable(mut lab: Lab) {
    lab.endpoint("a").owns([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    lab.sent_by("a", from(Ipv4Addr::LOCALHOST).to(BLUE_B.v4).udp(53)).drops(Martian);
    lab.sent_by("a", from(Ipv6Addr::LOCALHOST).to(BLUE_B.v6).udp(53)).drops(Martian);
}

#[rstest]
fn an_endpoint_may_own_a_whole_prefix(mut lab: Lab) {
    lab.endpoint("router").owns(["10.1.0.128/25", "2001:db8:1:0:8000::/80"]);
    let inside = ["10.1.0.129", "10.1.0.255", "2001:db8:1:0:8000::1"];
    let outside = ["10.1.0.127", "10.1.1.0", "2001:db8:1:0:8001::1"];
    let packet = |source: &str| {
        let source: IpAddr = source.parse().unwrap();
        from(source).to(BLUE_B.on(Family::of(source))).udp(53)
    };
    for source in inside {
        lab.sent_by("router", packet(source)).passes(SharedNetwork).is_stamped_as("router");
        lab.delivered_to("router", packet(source).answer()).stamped_by("b").passes_counted_before();
    }
    for source in outside {
        lab.sent_by("router", packet(source)).drops(SpoofedSource);
        lab.delivered_to("router", packet(source).answer()).stamped_by("b").drops(NotOwner);
    }
}

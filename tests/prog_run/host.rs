//! Between a workload and its own host: an allow list one way, everything the other way, and the answers
//! to what the host asked.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Packet, dhcp_discover, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{lab, without_policy};

fn to_host(family: Family) -> Packet {
    from(BLUE_A.on(family)).to(HOST.on(family))
}

fn from_host(family: Family) -> Packet {
    from(HOST.on(family)).to(BLUE_A.on(family))
}

#[rstest]
#[case::dns(|packet: Packet| packet.udp(53))]
#[case::dns_over_tcp(|packet: Packet| packet.tcp(53))]
#[case::dhcp_renewal(|packet: Packet| packet.udp(67).from_port(68))]
#[case::ping(Packet::ping)]
fn a_workload_may_ask_its_host_for_little(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    for _ in 0..2 {
        lab.sent_by("a", make(to_host(family))).passes(HostAllowed).is_stamped_as("a");
    }
    // Also before the first policy: it is no policy's business.
    let mut lab = without_policy();
    lab.sent_by("a", make(to_host(family))).passes(HostAllowed);
}

#[rstest]
#[case::ssh(|packet: Packet| packet.tcp(22))]
#[case::dhcp_over_tcp(|packet: Packet| packet.tcp(67))]
#[case::neighbouring_ports(|packet: Packet| packet.udp(52))]
#[case::neighbouring_port_above(|packet: Packet| packet.udp(54))]
#[case::from_the_dns_port(|packet: Packet| packet.udp(4000).from_port(53))]
#[case::dns_over_sctp(|packet: Packet| packet.sctp(53))]
#[case::pong(Packet::pong)]
#[case::icmp_error(|packet: Packet| packet.icmp(3, 3))]
#[case::gre(|packet: Packet| packet.protocol(47))]
fn and_for_nothing_else(mut lab: Lab, #[case] make: fn(Packet) -> Packet, #[values(V4, V6)] family: Family) {
    for _ in 0..2 {
        lab.sent_by("a", make(to_host(family))).drops(DefaultDeny).is_not_stamped();
    }
}

#[rstest]
fn the_host_is_no_member_although_a_prefix_covers_it(mut lab: Lab, #[values(V4, V6)] family: Family) {
    // HOST lies inside *blue*'s prefix, as does the sender.
    lab.sent_by("a", to_host(family).tcp(8080)).drops(DefaultDeny);
    lab.sent_by("db", from(DB.on(family)).to(HOST.on(family)).udp(53)).passes(HostAllowed);
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(8080))]
#[case::udp(|packet: Packet| packet.udp(8080))]
#[case::sctp(|packet: Packet| packet.sctp(8080))]
#[case::ping(Packet::ping)]
fn the_workload_answers_only_what_the_host_asked(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    let question = make(from_host(family));
    let answer = question.answer();
    lab.sent_by("a", &answer).drops(DefaultDeny);
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    // The denial before was not remembered.
    lab.sent_by("a", &answer).passes(Reply).is_stamped_as("a");
    lab.sent_by("a", &answer).passes(Reply);
}

#[rstest]
fn an_answer_matches_in_every_part(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = from_host(family).udp(8080).from_port(4000);
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    let answer = question.answer();
    lab.sent_by("a", answer.clone().udp(4001)).drops(DefaultDeny);
    lab.sent_by("a", answer.clone().from_port(8081)).drops(DefaultDeny);
    lab.sent_by("a", answer.clone().tcp(4000)).drops(DefaultDeny);
    lab.sent_by("b", from(BLUE_B.on(family)).to(HOST.on(family)).udp(4000).from_port(8080))
        .drops(DefaultDeny);
    lab.sent_by("b", &answer).drops(SpoofedSource);
    lab.sent_by("a", answer).passes(Reply);
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(8080), 7_440)]
#[case::udp(|packet: Packet| packet.udp(8080), 180)]
#[case::ping(Packet::ping, 60)]
fn a_conversation_that_fell_silent_is_over(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] timeout: u64,
    #[values(V4, V6)] family: Family,
) {
    const MARGIN: u64 = 30;
    let question = make(from_host(family));
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    // Each answer keeps it open for another while.
    for _ in 0..2 {
        lab.silence(Duration::from_secs(timeout - MARGIN));
        lab.sent_by("a", question.answer()).passes(Reply);
    }
    lab.silence(Duration::from_secs(timeout + MARGIN));
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    lab.sent_by("a", question.answer()).passes(Reply);
}

#[rstest]
fn the_answer_to_an_allowed_question_passes_too(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = to_host(family).udp(53);
    lab.sent_by("a", &question).passes(HostAllowed);
    lab.delivered_to("a", question.answer()).locally_generated().passes(HostOpen);
    // The host's answer opened nothing that the list does not allow anyway.
    lab.sent_by("a", to_host(family).udp(question.ports().0).from_port(54)).drops(DefaultDeny);
}

#[rstest]
fn what_others_forward_opens_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = from_host(family).tcp(8080);
    lab.delivered_to("a", &question).drops(MaskedSource);
    lab.delivered_to("a", &question).stamped_by("b").drops(MaskedSource);
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
}

#[rstest]
fn a_later_fragment_says_not_what_it_asks_for(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.sent_by("a", to_host(family).udp(53).fragment(0, true)).passes(HostAllowed);
    lab.sent_by("a", to_host(family).udp(53).fragment(185, false)).drops(Fragment);
    // The host's own fragments reach the workload.
    lab.delivered_to("a", from_host(family).udp(53).fragment(185, false))
        .locally_generated()
        .passes(HostOpen);
    lab.sent_by("a", to_host(family).udp(53).fragment(185, false)).drops(Fragment);
}

#[rstest]
fn the_hosts_multicast_reaches_the_workload_and_nobody_elses(mut lab: Lab) {
    let group = "224.0.0.251".parse::<IpAddr>().unwrap();
    let (of_host, of_workload) = (from(HOST.v4).to(group).udp(5353), from(BLUE_A.v4).to(group).udp(5353));
    lab.delivered_to("b", &of_host).locally_generated().passes(HostOpen);
    lab.delivered_to("b", &of_host).drops(Multicast);
    lab.sent_by("a", &of_workload).drops(Multicast);
    lab.delivered_to("b", &of_workload).stamped_by("a").drops(Multicast);
}

#[rstest]
fn a_client_finds_the_hosts_dhcp_server_and_nobody_elses(mut lab: Lab) {
    lab.endpoint("new");
    // Asked by an endpoint that has no address yet, and before any policy.
    for endpoint in ["new", "a"] {
        lab.sent_by(endpoint, dhcp_discover()).passes(HostAllowed).is_stamped_as(endpoint);
        lab.sent_by(endpoint, dhcp_discover()).passes(HostAllowed).is_stamped_as(endpoint);
    }
}

#[rstest]
fn a_clients_broadcast_reaches_no_other_workload(mut lab: Lab) {
    lab.sent_by("a", dhcp_discover()).passes(HostAllowed);
    lab.delivered_to("b", dhcp_discover()).stamped_by("a").drops(Multicast);
    lab.delivered_to("b", dhcp_discover()).drops(Multicast);
}

#[rstest]
#[case::other_source_port(dhcp_discover().from_port(69))]
#[case::other_destination_port(dhcp_discover().udp(68))]
#[case::over_tcp(dhcp_discover().tcp(67))]
fn only_a_dhcp_client_may_speak_without_an_address(mut lab: Lab, #[case] packet: Packet) {
    lab.sent_by("a", packet).drops(Multicast);
}

#[rstest]
fn nobody_speaks_to_one_without_an_address(mut lab: Lab) {
    lab.sent_by("a", from(Ipv4Addr::UNSPECIFIED).to(BLUE_B.v4).udp(67).from_port(68)).drops(Martian);
}

#[rstest]
fn a_client_renews_only_what_is_its_own(mut lab: Lab) {
    let renewal = |address: Ipv4Addr| from(address).to(Ipv4Addr::BROADCAST).udp(67).from_port(68);
    lab.sent_by("a", renewal(BLUE_A.v4)).passes(HostAllowed);
    lab.sent_by("a", renewal(BLUE_B.v4)).drops(Multicast);
    lab.sent_by("a", renewal(OUTSIDER.v4)).drops(Multicast);
}

#[rstest]
fn the_hosts_dhcp_answer_reaches_who_has_no_address_yet(mut lab: Lab) {
    lab.endpoint("new");
    let offer = from(HOST.v4).to(BLUE_FAR.v4).udp(68).from_port(67);
    lab.delivered_to("new", &offer).locally_generated().passes(HostOpen);
    lab.delivered_to("new", &offer).drops(NotOwner);
    let no_offer = from(HOST.v4).to(BLUE_FAR.v4).udp(69).from_port(67);
    lab.delivered_to("new", no_offer).locally_generated().drops(NotOwner);
}

#[rstest]
fn a_workload_is_no_dhcp_server(mut lab: Lab) {
    let broadcast = Ipv4Addr::BROADCAST;
    lab.sent_by("a", from(BLUE_A.v4).to(broadcast).udp(68).from_port(67)).drops(Multicast);
    lab.sent_by("a", from(BLUE_A.v4).to(DB.v4).udp(68).from_port(67)).drops(DefaultDeny);
}

#[rstest]
fn what_the_host_may_say_is_not_remembered_for_others(mut lab: Lab) {
    // Ports of a DHCP answer, from a stranger of b's network to an address that is not b's.
    let answer = from(BLUE_FAR.v4).to(BLUE_A.v4).udp(68).from_port(67);
    for _ in 0..2 {
        lab.delivered_to("b", &answer).locally_generated().drops(NotOwner);
        lab.delivered_to("b", &answer).drops(NotOwner);
    }
    let martian = from(HOST.v4).to(Ipv4Addr::new(240, 0, 0, 1)).udp(9);
    lab.delivered_to("b", &martian).locally_generated().drops(Martian);
    lab.delivered_to("b", &martian).drops(MaskedSource);
}

#[rstest]
fn a_later_fragment_of_the_host_opens_nothing(mut lab: Lab) {
    let fragment = from(HOST.v4).to(BLUE_A.v4).udp(4000).payload(64).fragment(185, false);
    lab.delivered_to("a", fragment).locally_generated().passes(HostOpen);
    lab.sent_by("a", from(BLUE_A.v4).to(HOST.v4).udp(0).from_port(0)).drops(DefaultDeny);
}

//! Between a workload and its own host: an allow list one way, everything the other way, and the answers
//! to what the host asked.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, Packet, from},
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
#[case::experimental_icmp(|packet: Packet| packet.icmp(200, 0))]
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
#[case::tcp(|packet: Packet| packet.tcp(8080), 60, 7_440)]
#[case::udp(|packet: Packet| packet.udp(8080), 30, 180)]
#[case::sctp(|packet: Packet| packet.sctp(8080), 60, 3_600)]
#[case::ping(Packet::ping, 30, 30)]
fn a_conversation_that_fell_silent_is_over(
    mut lab: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] unanswered: u64,
    #[case] answered: u64,
    #[values(V4, V6)] family: Family,
) {
    const MARGIN: u64 = 5;
    let question = make(from_host(family));
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    lab.silence(Duration::from_secs(unanswered + MARGIN));
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    lab.silence(Duration::from_secs(unanswered - MARGIN));
    // Each answer keeps it open for another while, and that is longer.
    for _ in 0..2 {
        lab.sent_by("a", question.answer()).passes(Reply);
        lab.silence(Duration::from_secs(answered - MARGIN));
    }
    lab.sent_by("a", question.answer()).passes(Reply);
    lab.silence(Duration::from_secs(answered + MARGIN));
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
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
    lab.delivered_to("a", &question).stamped_by("db").drops(DefaultDeny);
    lab.sent_by("a", question.answer()).drops(DefaultDeny);
}

#[rstest]
fn a_later_fragment_says_not_what_it_asks_for(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let later = |packet: Packet| packet.udp(53).fragment(185, false);
    lab.sent_by("a", later(to_host(family))).drops(Fragment);
    // Its first one says it, and only of its own datagram.
    lab.sent_by("a", to_host(family).udp(53).fragment(0, true)).passes(HostAllowed);
    lab.sent_by("a", later(to_host(family))).passes(HostAllowed);
    lab.sent_by("a", later(to_host(family)).id(2)).drops(Fragment);
    // The host's own fragments reach the workload, and do not make its own any better.
    lab.delivered_to("a", later(from_host(family)).id(3)).locally_generated().passes(HostOpen);
    lab.sent_by("a", later(to_host(family)).id(3)).drops(Fragment);
}

#[rstest]
fn the_hosts_multicast_reaches_the_workload_and_nobody_elses(mut lab: Lab) {
    let group = "224.0.0.251".parse::<IpAddr>().unwrap();
    let (of_host, of_workload) = (from(HOST.v4).to(group).udp(5353), from(BLUE_A.v4).to(group).udp(5353));
    lab.delivered_to("b", &of_host).locally_generated().passes(HostOpen);
    lab.delivered_to("b", &of_host).drops(MaskedSource);
    lab.sent_by("a", &of_workload).drops(Multicast);
    lab.delivered_to("b", &of_workload).stamped_by("a").drops(Multicast);
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

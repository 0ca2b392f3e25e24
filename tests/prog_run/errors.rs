//! ICMP errors: judged by the packet that they are about. About a conversation that lives they pass, and
//! otherwise they are packets like others.

use std::time::{Duration, Instant};

use enforcer_common::{
    endpoint::Endpoint,
    limits::ROUTER_ERRORS_PER_SECOND,
    verdict::{DropReason::*, PassReason::*, Verdict},
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, DB_FAR, Family, Family::*, HOST, OUTSIDER, Packet, Party, from},
    prog_run::{Judged, Lab},
};
use rstest::rstest;

use crate::{DIRECTION, TENANTS, between, lab, ruled};

fn to(family: Family, src: Party, dst: Party) -> Packet {
    from(src.on(family)).to(dst.on(family))
}

#[rstest]
#[case::unreachable(Packet::unreachable)]
#[case::too_big(Packet::too_big)]
#[case::time_exceeded(Packet::time_exceeded)]
fn an_error_about_a_live_conversation_passes(
    mut ruled: Lab,
    #[case] about: fn(Packet, &Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    for question in
        [between(family, BLUE_A, DB), to(family, BLUE_A, DB).udp(53), to(family, BLUE_A, DB).ping()]
    {
        let error = about(to(family, DB, BLUE_A), &question);
        ruled.sent_by("db", &error).drops(DefaultDeny);
        ruled.delivered_to("a", &error).stamped_by("db").drops(DefaultDeny);
        ruled.sent_by("a", &question).passes(AllowedByRule);
        ruled.sent_by("db", &error).passes(IcmpError);
        ruled.delivered_to("a", &error).stamped_by("db").passes_counted_before();
        ruled.guarded_by("db", &error).passes_uncounted();
        // The other way around: about the answer.
        ruled.sent_by("a", about(to(family, BLUE_A, DB), &question.answer())).passes(IcmpError);
    }
}

#[rstest]
fn an_error_about_another_conversation_is_judged_as_itself(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    let error = |about: &Packet| to(family, DB, BLUE_A).unreachable(about);
    for other in [
        question.clone().tcp(5433),
        question.clone().from_port(1),
        question.clone().udp(53),
        question.clone().ping(),
        question.clone().protocol(47).payload(8),
        question.clone().fragment(185, false),
    ] {
        ruled.sent_by("db", error(&other)).drops(DefaultDeny);
    }
    // Silence and a new policy end it for errors, too.
    ruled.silence(Duration::from_secs(65));
    ruled.sent_by("db", error(&question)).drops(DefaultDeny);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.apply(TENANTS);
    ruled.sent_by("db", error(&question)).drops(DefaultDeny);
    // A rule about the message itself admits it.
    let kind = if family == V4 { "icmp/3" } else { "icmp6/1" };
    let rule = format!("[[rule]]\nname = 'e'\nfrom = ['db']\nto = ['blue']\nallow = ['{kind}']");
    ruled.apply(&format!("{TENANTS}{rule}"));
    ruled.sent_by("db", error(&question)).passes(AllowedByRule);
    // And nobody answers one.
    ruled
        .sent_by("a", to(family, BLUE_A, DB).icmp(if family == V4 { 14 } else { 200 }, 0))
        .drops(DefaultDeny);
}

#[rstest]
fn inside_a_network_every_error_may_be_told(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, BLUE_B);
    for about in [question.clone(), question.fragment(185, false), to(family, BLUE_A, BLUE_B).protocol(47)] {
        let error = to(family, BLUE_B, BLUE_A).unreachable(&about);
        lab.sent_by("b", &error).passes(IcmpError);
        lab.delivered_to("a", &error).stamped_by("b").passes_counted_before();
    }
}

/// Without a router's word there is no path MTU and no traceroute.
#[rstest]
#[case::path_mtu(Packet::too_big)]
#[case::traceroute(Packet::time_exceeded)]
fn a_router_on_the_way_may_speak(
    mut ruled: Lab,
    #[case] about: fn(Packet, &Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    let probe = to(family, BLUE_A, DB_FAR).udp(53).hop_limit(1);
    let error = about(to(family, OUTSIDER, BLUE_A), &probe);
    ruled.delivered_to("a", &error).drops(DefaultDeny);
    ruled.sent_by("a", &probe).passes(AllowedByRule);
    ruled.delivered_to("a", &error).passes(IcmpError);
    // Not to somebody else, and not about somebody else's.
    ruled.delivered_to("b", about(to(family, OUTSIDER, BLUE_B), &probe)).drops(BadQuote);
}

#[rstest]
fn foreign_routers_speak_so_often_and_no_more(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let probe = to(family, BLUE_A, DB_FAR).udp(53);
    let error = to(family, OUTSIDER, BLUE_A).too_big(&probe);
    ruled.sent_by("a", &probe).passes(AllowedByRule);
    ruled.uplink("uplink");
    // The guard only looks.
    for _ in 0..2 * ROUTER_ERRORS_PER_SECOND {
        ruled.guarded_by("uplink", &error).passes_uncounted();
    }
    let began = Instant::now();
    let mut told = 0;
    while let Judged::As(Verdict::Pass(_)) = ruled.delivered_to("a", &error).outcome().judged {
        told += 1;
        assert!(began.elapsed() < Duration::from_mins(1), "no end after {told} errors");
    }
    assert!(told >= ROUTER_ERRORS_PER_SECOND, "only {told} were told");
    let most = (began.elapsed().as_secs() + 2) * u64::from(ROUTER_ERRORS_PER_SECOND);
    assert!(u64::from(told) <= most, "{told} were told in {:?}", began.elapsed());
    assert!(ruled.reason(Verdict::Drop(IcmpErrorRate)).packets == 1);
    // Each endpoint has its own share, and who was spoken to has no need of one.
    let others = to(family, BLUE_B, DB_FAR).udp(53);
    ruled.sent_by("b", &others).passes(AllowedByRule);
    ruled.delivered_to("b", to(family, OUTSIDER, BLUE_B).too_big(&others)).passes(IcmpError);
    for _ in 0..3 {
        ruled.delivered_to("a", to(family, DB_FAR, BLUE_A).unreachable(&probe)).passes(IcmpError);
    }
}

#[rstest]
fn errors_between_a_workload_and_its_host(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = to(family, HOST, BLUE_A).udp(8080);
    let error = to(family, BLUE_A, HOST).unreachable(&question);
    lab.sent_by("a", &error).drops(DefaultDeny);
    lab.delivered_to("a", &question).locally_generated().passes(HostOpen);
    lab.sent_by("a", &error).passes(IcmpError);
    // What the allow list lets the workload ask it may complain about, asked or not.
    let answer = to(family, BLUE_A, HOST).udp(53).answer();
    lab.sent_by("a", to(family, BLUE_A, HOST).unreachable(&answer)).passes(IcmpError);
    // The host's own errors are the host's, whatever they are about.
    let about = between(family, BLUE_A, DB);
    lab.delivered_to("a", to(family, HOST, BLUE_A).unreachable(&about)).locally_generated().passes(HostOpen);
    let deny = "[[rule]]\nname = 'd'\nfrom = ['host']\nto = ['blue']\ndeny = ['any']";
    lab.apply(&format!("{TENANTS}{deny}"));
    lab.delivered_to("a", to(family, HOST, BLUE_A).unreachable(&about))
        .locally_generated()
        .drops(DeniedByRule);
    lab.sent_by("a", &error).drops(DefaultDeny);
}

#[rstest]
fn an_error_in_fragments_is_an_error_first_and_then_a_fragment(
    mut ruled: Lab,
    #[values(V4, V6)] family: Family,
) {
    let question = between(family, BLUE_A, DB);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    let error = to(family, DB, BLUE_A).unreachable(&question);
    ruled.sent_by("db", error.clone().fragment(0, true)).passes(IcmpError);
    // Its later fragments quote nothing: they are of a type that no rule admits.
    ruled.sent_by("db", error.fragment(185, false)).drops(DefaultDeny);
}

#[rstest]
fn a_redirect_of_ipv4_is_a_routers(mut ruled: Lab) {
    let redirect = from(BLUE_A.v4).to(BLUE_B.v4).icmp(5, 1);
    ruled.sent_by("a", &redirect).drops(RouterAdvertisement);
    ruled.guarded_by("a", &redirect).drops(RouterAdvertisement);
    // Delivered it is a packet like others: the link does not need it.
    ruled.delivered_to("b", &redirect).stamped_by("a").passes_counted_before();
    ruled.delivered_to("b", from(OUTSIDER.v4).to(BLUE_B.v4).icmp(5, 1)).drops(DefaultDeny);
    ruled.provides("a", Endpoint::ROUTER);
    ruled.sent_by("a", &redirect).passes(SharedNetwork);
    ruled.sent_by("a", from(BLUE_A.v4).to(DB.v4).icmp(5, 1)).drops(DefaultDeny);
}

#[rstest]
fn a_declared_router_complains_about_what_was_for_others(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB_FAR);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    let error = to(family, DB, BLUE_A).unreachable(&question);
    ruled.sent_by("db", &error).drops(BadQuote);
    ruled.guarded_by("db", &error).drops(BadQuote);
    ruled.provides("db", Endpoint::ROUTER);
    ruled.sent_by("db", &error).passes(IcmpError);
    ruled.apply(&format!("{TENANTS}{}", DIRECTION.replace("5432", "5433")));
    ruled.sent_by("db", &error).drops(DefaultDeny);
}

//! What an ICMP error quotes must be readable, and something that its sender can have got from its receiver.

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, Packet, Party, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{between, lab};

/// What `a` sent to `b`, and `b` complains about to `a`.
fn question(family: Family) -> Packet {
    between(family, BLUE_A, BLUE_B)
}

fn complaint(family: Family) -> Packet {
    from(BLUE_B.on(family)).to(BLUE_A.on(family))
}

#[track_caller]
fn unreadable(lab: &mut Lab, error: &Packet) {
    lab.sent_by("b", error).drops(BadQuote);
    lab.delivered_to("a", error).stamped_by("b").drops(BadQuote);
    lab.guarded_by("b", error).drops(BadQuote);
}

#[rstest]
fn a_quote_has_headers_and_eight_bytes(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let network = if family == V4 { 20 } else { 40 };
    let ports =
        [question(family), question(family).udp(53), question(family).sctp(9), question(family).ping()];
    for about in ports {
        for bytes in [0, 1, 8, network - 1, network, network + 7] {
            unreadable(&mut lab, &complaint(family).error_cut(&about, bytes));
        }
        lab.sent_by("b", complaint(family).error_cut(&about, network + 8)).passes(IcmpError);
    }
    // Of what has no ports nothing more is needed.
    let about = question(family).protocol(47);
    lab.sent_by("b", complaint(family).error_cut(&about, network)).passes(IcmpError);
}

#[rstest]
fn a_quote_is_of_the_errors_own_family(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let other = if family == V4 { V6 } else { V4 };
    unreadable(&mut lab, &complaint(family).unreachable(&question(other)));
    unreadable(&mut lab, &complaint(family).error_quoting(3, 0, vec![0; 60]));
    unreadable(&mut lab, &complaint(family).error_quoting(3, 0, vec![0xff; 60]));
}

#[rstest]
fn nobody_complains_about_a_complaint(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let error = from(BLUE_A.on(family)).to(BLUE_B.on(family)).unreachable(&complaint(family).udp(9));
    unreadable(&mut lab, &complaint(family).unreachable(&error));
}

#[rstest]
fn a_quote_is_walked_like_a_packet(mut lab: Lab) {
    for about in [
        question(V6).routing(),
        question(V6).dst_options(0).hop_by_hop(),
        (0..7).fold(question(V6), |packet, _| packet.dst_options(0)),
        question(V6).fragment(0, false).fragment(0, false),
    ] {
        unreadable(&mut lab, &complaint(V6).unreachable(&about));
    }
    for about in [question(V6).hop_by_hop().dst_options(1), question(V6).fragment(0, true)] {
        lab.sent_by("b", complaint(V6).unreachable(&about)).passes(IcmpError);
    }
    // It was sent by somebody else, perhaps over a way that asks for options.
    lab.sent_by("b", complaint(V4).unreachable(&question(V4).options(8))).passes(IcmpError);
}

#[rstest]
fn a_quote_holds_no_mapped_address(mut lab: Lab) {
    let mapped = from(BLUE_A.v4.to_ipv6_mapped()).to(BLUE_B.v6).udp(53);
    unreadable(&mut lab, &complaint(V6).unreachable(&mapped));
}

#[rstest]
#[case::of_the_same_network(BLUE_FAR)]
#[case::of_another(DB)]
#[case::of_the_host(HOST)]
#[case::of_nobody(OUTSIDER)]
fn an_error_goes_to_who_sent_the_packet(
    mut lab: Lab,
    #[case] sender: Party,
    #[values(V4, V6)] family: Family,
) {
    let error = complaint(family).unreachable(&between(family, sender, BLUE_B));
    unreadable(&mut lab, &error);
    let outside = from(BLUE_FAR.on(family)).to(BLUE_A.on(family));
    lab.delivered_to("a", outside.unreachable(&between(family, sender, BLUE_FAR))).drops(BadQuote);
}

#[rstest]
fn an_endpoint_complains_about_what_was_for_it(mut lab: Lab, #[values(V4, V6)] family: Family) {
    for receiver in [BLUE_FAR, DB, HOST, BLUE_A] {
        let error = complaint(family).unreachable(&between(family, BLUE_A, receiver));
        lab.sent_by("b", &error).drops(BadQuote);
        lab.guarded_by("b", &error).drops(BadQuote);
    }
}

/// Nobody trusts the host to have read what it forwards.
#[rstest]
fn not_even_the_host_quotes_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let error = from(HOST.on(family)).to(BLUE_A.on(family)).error_quoting(3, 0, Vec::new());
    lab.delivered_to("a", error).locally_generated().drops(BadQuote);
}

#[rstest]
fn who_lies_about_its_address_is_found_before_its_quote_is(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let error = from(BLUE_FAR.on(family)).to(BLUE_A.on(family)).unreachable(&between(family, DB, BLUE_B));
    lab.sent_by("b", &error).drops(SpoofedSource);
    let error = complaint(family).unreachable(&between(family, DB, BLUE_B));
    lab.delivered_to("a", &error).drops(UnstampedSource);
    lab.delivered_to("db", &error).stamped_by("b").drops(NotOwner);
}

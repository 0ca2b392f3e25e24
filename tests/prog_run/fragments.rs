//! Fragments of both families: the first one says what the datagram is, and the later ones are judged by it.
//! Nothing is reassembled, and ports are read from no other.

use std::time::Duration;

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, DB, Family, Family::*, Packet, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, lab, ruled, without_policy};

fn blue(family: Family) -> Packet {
    from(BLUE_A.on(family)).to(BLUE_B.on(family))
}

fn to_db(family: Family) -> Packet {
    from(BLUE_A.on(family)).to(DB.on(family))
}

#[rstest]
fn a_later_fragment_is_judged_by_its_addresses(mut lab: Lab, #[values(V4, V6)] family: Family) {
    for (offset, more) in [(1, true), (185, true), (185, false), (8191, false)] {
        let packet = blue(family).udp(53).fragment(offset, more);
        lab.sent_by("a", &packet).passes(SharedNetwork);
        lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
        assert_eq!((lab.flow(&packet).src_port, lab.flow(&packet).dst_port), (0, 0));
        let foreign = from(BLUE_A.on(family)).to(DB.on(family)).udp(53).fragment(offset, more);
        lab.sent_by("a", &foreign).drops(DefaultDeny);
    }
    assert_eq!(lab.flow(&blue(family).udp(53).fragment(1, true)).packets_fwd, 4);
}

#[rstest]
fn the_first_fragment_speaks_for_the_later_ones(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let datagram = to_db(family).udp(53);
    let (first, middle) = (datagram.clone().fragment(0, true), datagram.clone().fragment(185, true));
    let last = datagram.fragment(370, false);
    // Out of order: what comes before the first is unknown, and a rule about ports cannot admit it.
    ruled.sent_by("a", &last).drops(Fragment);
    ruled.delivered_to("db", &middle).stamped_by("a").drops(Fragment);
    ruled.sent_by("a", &first).passes(AllowedByRule);
    for later in [&last, &middle] {
        ruled.sent_by("a", later).passes(AllowedByRule);
        ruled.delivered_to("db", later).stamped_by("a").passes_counted_before();
        ruled.guarded_by("a", later).passes_uncounted();
    }
    // Neither another datagram's nor another sender's.
    ruled.sent_by("a", last.clone().id(2)).drops(Fragment);
    ruled
        .sent_by("b", from(BLUE_B.on(family)).to(DB.on(family)).udp(53).fragment(185, false))
        .drops(Fragment);
}

#[rstest]
fn a_first_fragment_that_is_dropped_speaks_for_nobody(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.sent_by("a", to_db(family).udp(54).fragment(0, true)).drops(DefaultDeny);
    ruled.sent_by("a", to_db(family).udp(54).fragment(185, false)).drops(Fragment);
    // An id used again: the denied one does not take the admitted one's place.
    ruled.sent_by("a", to_db(family).udp(53).fragment(0, true)).passes(AllowedByRule);
    ruled.sent_by("a", to_db(family).udp(54).fragment(0, true)).drops(DefaultDeny);
    ruled.sent_by("a", to_db(family).udp(53).fragment(185, false)).passes(AllowedByRule);
}

#[rstest]
fn a_first_fragment_is_remembered_for_a_minute(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let later = to_db(family).udp(53).fragment(185, false);
    ruled.sent_by("a", to_db(family).udp(53).fragment(0, true)).passes(AllowedByRule);
    ruled.age_fragments(Duration::from_secs(55));
    ruled.sent_by("a", &later).passes(AllowedByRule);
    ruled.age_fragments(Duration::from_secs(6));
    ruled.sent_by("a", &later).drops(Fragment);
}

#[rstest]
fn the_guard_hears_the_first_fragment_too(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.guarded_by("a", to_db(family).udp(53).fragment(0, true)).passes_uncounted();
    ruled.guarded_by("a", to_db(family).udp(53).fragment(185, false)).passes_uncounted();
    ruled.guarded_by("a", to_db(family).udp(53).fragment(185, false).id(2)).drops(Fragment);
}

#[rstest]
fn an_answer_may_come_in_fragments(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = to_db(family).udp(53);
    let answer = |offset, more| question.answer().fragment(offset, more);
    ruled.sent_by("db", answer(0, true)).drops(DefaultDeny);
    ruled.sent_by("db", answer(185, false)).drops(Fragment);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.sent_by("db", answer(0, true)).passes(Reply);
    ruled.sent_by("db", answer(185, false)).passes(Reply);
}

#[rstest]
fn of_a_protocol_that_no_rule_names_ports_do_not_matter(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.sent_by("a", to_db(family).protocol(47).fragment(185, false)).drops(DefaultDeny);
    let any = "[[rule]]\nname = 'any'\nfrom = ['blue']\nto = ['db']\nallow = ['udp']";
    ruled.apply(&format!("{TENANTS}{any}"));
    // A rule about all ports admits what has none.
    ruled.sent_by("a", to_db(family).udp(53).fragment(185, false)).passes(AllowedByRule);
    ruled.sent_by("a", to_db(family).tcp(53).fragment(185, false)).drops(DefaultDeny);
}

#[rstest]
fn a_fragment_that_may_be_denied_is_not_admitted(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    let deny = "[[rule]]\nname = 'no'\nfrom = ['blue']\nto = ['blue']\ndeny = ['udp/53']";
    lab.apply(&format!("{TENANTS}{deny}"));
    lab.sent_by("a", blue(family).udp(4000).fragment(185, false)).drops(Fragment);
    lab.sent_by("a", blue(family).udp(53).fragment(0, true)).drops(DeniedByRule);
    lab.sent_by("a", blue(family).udp(4000).fragment(0, true)).passes(SharedNetwork);
    lab.sent_by("a", blue(family).udp(4000).fragment(185, false)).passes(SharedNetwork);
}

/// RFC 3128: it would rewrite flags and ports of a segment that has been judged.
#[rstest]
fn a_later_fragment_stays_out_of_the_tcp_header(mut lab: Lab, #[values(V4, V6)] family: Family) {
    for offset in [1, 2] {
        let tiny = blue(family).tcp(80).payload(8).fragment(offset, true);
        lab.sent_by("a", &tiny).drops(OverlappingFragment);
        lab.delivered_to("b", &tiny).stamped_by("a").drops(OverlappingFragment);
        lab.guarded_by("a", &tiny).drops(OverlappingFragment);
    }
    lab.sent_by("a", blue(family).tcp(80).fragment(3, true)).passes(SharedNetwork);
    lab.sent_by("a", blue(family).udp(80).payload(8).fragment(1, true)).passes(SharedNetwork);
}

/// Extension headers behind the fragment header are part of what is cut.
#[rstest]
fn a_later_fragment_stays_out_of_the_headers_that_were_walked(mut lab: Lab) {
    let datagram = || blue(V6).udp(53);
    lab.sent_by("a", datagram().fragment(0, true).dst_options(1)).passes(SharedNetwork);
    for offset in [1, 2] {
        let later = datagram().fragment(offset, true).dst_options(1);
        lab.sent_by("a", &later).drops(OverlappingFragment);
        lab.delivered_to("b", &later).stamped_by("a").drops(OverlappingFragment);
    }
    lab.sent_by("a", datagram().fragment(3, true).dst_options(1)).passes(SharedNetwork);
    lab.sent_by("a", datagram().fragment(1, true).dst_options(1).id(2)).passes(SharedNetwork);
}

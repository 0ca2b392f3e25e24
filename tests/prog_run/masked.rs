//! Who is behind an address of the host: NAT has rewritten the source, and the stamp alone still says whose veth
//! the packet entered through. It is judged as that one's.

use std::time::Duration;

use enforcer_common::{
    endpoint::Endpoint,
    mode::Mode,
    verdict::{DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, Packet, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{DIRECTION, TENANTS, between, lab, ruled, without_policy};

/// *blue* may ask the host on a port that it publishes for *db*.
const PUBLISHED: &str = r#"
[[rule]]
name = "published"
from = ["blue"]
to = ["host"]
allow = ["tcp/8080"]
"#;

const NEVER: &str = r#"
[[rule]]
name = "never"
from = ["blue"]
to = ["db"]
deny = ["tcp/5432"]
"#;

fn applied(rules: &[&str]) -> Lab {
    let mut lab = without_policy();
    lab.apply(&format!("{TENANTS}{}", rules.concat()));
    lab
}

fn masked(family: Family, receiver: enforcer_tests::packet::Party) -> Packet {
    between(family, HOST, receiver)
}

#[rstest]
fn who_shares_a_network_passes_and_is_answered(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = masked(family, BLUE_B);
    lab.sent_by("b", packet.answer()).drops(DefaultDeny);
    for _ in 0..2 {
        lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
        // At the address that NAT gave the sender.
        lab.sent_by("b", packet.answer()).passes(Reply).is_stamped_as("b");
    }
    // The same packet of somebody else, and of nobody, is none the better for it.
    lab.delivered_to("b", &packet).stamped_by("db").drops(DefaultDeny);
    lab.delivered_to("b", &packet).drops(MaskedSource);
}

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(5432), 60)]
#[case::udp(|packet: Packet| packet.udp(53), 25)]
#[case::sctp(|packet: Packet| packet.sctp(3868), 25)]
#[case::ping(Packet::ping, 25)]
fn who_is_allowed_passes_and_is_answered(
    mut ruled: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] unanswered: u64,
    #[values(V4, V6)] family: Family,
) {
    let question = make(from(HOST.on(family)).to(DB.on(family)));
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    ruled.silence(Duration::from_secs(unanswered - 5));
    ruled.sent_by("db", question.answer()).passes(Reply).is_stamped_as("db");
    // An answer and nothing else.
    ruled.sent_by("db", between(family, DB, HOST).from_port(1).ack()).drops(DefaultDeny);
    // Who asked may go on, and silence ends it.
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    ruled.silence(Duration::from_hours(3));
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
}

#[rstest]
fn a_rule_is_about_who_is_behind_the_address(#[values(V4, V6)] family: Family) {
    let mut lab = applied(&[DIRECTION, NEVER]);
    let question = masked(family, DB);
    lab.delivered_to("db", &question).stamped_by("a").drops(DeniedByRule);
    lab.delivered_to("db", question.clone().tcp(80)).stamped_by("a").drops(DefaultDeny);
    lab.delivered_to("db", question.clone().udp(53)).stamped_by("a").passes_counted_before();
    lab.sent_by("db", question.answer()).drops(DefaultDeny);
    let denied = lab.flow(&question);
    assert_eq!((denied.reason.as_str(), denied.packets_fwd), ("denied-by-rule", 1));
}

#[rstest]
fn what_nobody_allows_is_denied_and_opens_nothing(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let packet = masked(family, BLUE_A);
    for _ in 0..2 {
        ruled.delivered_to("a", &packet).stamped_by("db").drops(DefaultDeny);
    }
    ruled.sent_by("a", packet.answer()).drops(DefaultDeny);
    // And before any policy.
    without_policy().delivered_to("a", &packet).stamped_by("b").drops(NoPolicy);
}

/// What the receiver asked of the host, NAT handed on; the answer comes back with the host's address.
#[rstest]
fn who_asked_the_host_by_a_rule_is_answered(#[values(V4, V6)] family: Family) {
    let mut lab = applied(&[PUBLISHED, DIRECTION]);
    let question = between(family, BLUE_A, HOST).tcp(8080);
    let answer = question.answer();
    lab.delivered_to("a", &answer).stamped_by("db").drops(DefaultDeny);
    lab.sent_by("a", &question).passes(AllowedByRule);
    lab.delivered_to("a", &answer).stamped_by("db").passes_counted_before();
    // Nothing but answers: no question, no other port, nobody else's.
    let back = between(family, HOST, BLUE_A).from_port(8080);
    lab.delivered_to("a", back.clone().tcp(enforcer_tests::packet::CLIENT_PORT))
        .stamped_by("db")
        .drops(DefaultDeny);
    lab.delivered_to("a", back.tcp(9).ack()).stamped_by("db").drops(DefaultDeny);
    lab.delivered_to("a", &answer).drops(MaskedSource);
    // The rule has gone: so has the answer.
    lab.apply(TENANTS);
    lab.delivered_to("a", &answer).stamped_by("db").drops(DefaultDeny);
}

/// Else somebody else could answer in the place of whom NAT chose.
#[rstest]
fn who_asked_the_host_is_answered_by_nobody_whom_it_may_not_ask(#[values(V4, V6)] family: Family) {
    let mut lab = applied(&[PUBLISHED]);
    let question = between(family, BLUE_A, HOST).tcp(8080);
    lab.sent_by("a", &question).passes(AllowedByRule);
    lab.delivered_to("a", question.answer()).stamped_by("db").drops(DefaultDeny);
}

/// NAT forgets who does not speak: from then on the host itself would hear what was an answer.
#[rstest]
fn answers_keep_no_masked_conversation_open(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = from(HOST.on(family)).to(DB.on(family)).udp(53);
    // With what takes long behind it: programs are loaded for their first packet.
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    for _ in 0..2 {
        ruled.sent_by("db", question.answer()).passes(Reply);
        ruled.silence(Duration::from_secs(10));
    }
    ruled.sent_by("db", question.answer()).passes(Reply);
    ruled.silence(Duration::from_secs(6));
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
}

#[rstest]
fn what_the_allow_list_admits_is_answered_by_the_host_alone(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, HOST).udp(53);
    lab.sent_by("a", &question).passes(HostAllowed);
    lab.delivered_to("a", question.answer()).stamped_by("db").drops(DefaultDeny);
    lab.delivered_to("a", question.answer()).locally_generated().passes(HostOpen);
}

#[rstest]
fn a_stamp_that_stands_for_nobody_tells_nothing(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = masked(family, BLUE_B);
    // An endpoint without an address, one with two, one with a prefix, and one that was forgotten.
    lab.endpoint("new");
    lab.endpoint("two").owns(["10.1.0.40/32", "10.1.0.41/32", "2001:db8:1::40/128", "2001:db8:1::41/128"]);
    lab.endpoint("router").owns(["10.1.0.128/25", "2001:db8:1:0:8000::/80"]);
    for sender in ["new", "two", "router"] {
        lab.delivered_to("b", &packet).stamped_by(sender).drops(MaskedSource);
    }
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    lab.forget_sender("a");
    lab.delivered_to("b", &packet).stamped_by("a").drops(MaskedSource);
    for stamp in [Lab::RELAXED, Lab::DOUBTFUL] {
        lab.delivered_to("b", &packet).relaxed_by("a", stamp).drops(MaskedSource);
    }
}

/// The daemon may be late, or dead: who has got the address since decides, not what the table still says.
#[rstest]
fn a_stale_sender_is_nobody(mut lab: Lab, #[values(V4, V6)] family: Family) {
    let packet = masked(family, BLUE_B);
    lab.delivered_to("b", &packet).stamped_by("a").passes_counted_before();
    lab.endpoint("db").owns([BLUE_A]);
    lab.delivered_to("b", &packet).stamped_by("a").drops(MaskedSource);
}

#[rstest]
fn only_the_hosts_address_is_given_by_nat(mut lab: Lab, #[values(V4, V6)] family: Family) {
    lab.delivered_to("b", between(family, BLUE_FAR, BLUE_B)).stamped_by("a").drops(MaskedSource);
    lab.delivered_to("b", between(family, DB, BLUE_B)).stamped_by("a").drops(UnstampedSource);
    // Nor what the host itself sends on behalf of somebody's mark, nor to whom the packet is not for.
    lab.delivered_to("b", masked(family, BLUE_B)).stamped_by("a").locally_generated().drops(MaskedSource);
    lab.delivered_to("b", masked(family, BLUE_A)).stamped_by("a").drops(NotOwner);
}

#[rstest]
fn a_masked_sender_reaches_no_group(mut lab: Lab) {
    for group in ["224.0.0.251", "255.255.255.255", "ff02::fb"] {
        let group: std::net::IpAddr = group.parse().unwrap();
        let packet = from(HOST.on(Family::of(group))).to(group).udp(5353);
        lab.delivered_to("b", packet).stamped_by("a").drops(MaskedSource);
    }
}

#[rstest]
fn fragments_are_judged_by_their_first_and_by_the_stamp(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let datagram = masked(family, DB).udp(53);
    let later = datagram.clone().fragment(185, false);
    ruled.delivered_to("db", &later).stamped_by("a").drops(Fragment);
    ruled.delivered_to("db", datagram.clone().fragment(0, true)).stamped_by("a").passes_counted_before();
    ruled.delivered_to("db", &later).stamped_by("a").passes_counted_before();
    ruled.delivered_to("db", &later).drops(MaskedSource);
    // In a network ports do not matter; the answer may come in fragments, too.
    let inside = masked(family, BLUE_B).udp(9);
    ruled
        .delivered_to("b", inside.clone().fragment(185, false).id(9))
        .stamped_by("a")
        .passes_counted_before();
    ruled.sent_by("b", inside.answer()).drops(DefaultDeny);
    ruled.sent_by("db", datagram.answer().fragment(0, true).id(7)).passes(Reply);
    ruled.sent_by("db", datagram.answer().fragment(185, false).id(7)).passes(Reply);
}

#[rstest]
fn an_error_quotes_what_nat_has_rewritten(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = masked(family, DB);
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    let error = |src: enforcer_tests::packet::Party, dst: enforcer_tests::packet::Party, about: &Packet| {
        from(src.on(family)).to(dst.on(family)).unreachable(about)
    };
    // Who is behind NAT complains with an address that says nothing of who it is.
    ruled.delivered_to("db", error(HOST, DB, &question.answer())).stamped_by("a").drops(MaskedSource);
    // The one that was asked complains about what it got: at the address that it knows.
    ruled.sent_by("db", error(DB, HOST, &question)).passes(IcmpError);
    let strangers = question.from_port(1);
    ruled.sent_by("db", error(DB, HOST, &strangers)).drops(DefaultDeny);
}

#[rstest]
fn modes_let_go_on_what_is_behind_the_address(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let (denied, unknown) = (masked(family, BLUE_A), masked(family, BLUE_B));
    ruled.endpoint_mode("a", Some(Mode::Audit));
    ruled.delivered_to("a", &denied).stamped_by("db").would_drop(DefaultDeny);
    ruled.delivered_to("a", &denied).drops(MaskedSource);
    // It was counted where it entered.
    ruled.delivered_to("a", &denied).relaxed_by("db", Lab::RELAXED).drops(MaskedSource);
    ruled.endpoint_mode("a", Some(Mode::Observe));
    ruled.delivered_to("a", &denied).stamped_by("db").would_drop(DefaultDeny);
    ruled.delivered_to("a", &denied).would_drop(MaskedSource);
    ruled.delivered_to("a", &denied).relaxed_by("db", Lab::RELAXED).passes_counted_before();
    // The receiver's mode, and no one else's.
    ruled.delivered_to("b", unknown).stamped_by("db").drops(DefaultDeny);
}

#[rstest]
fn audited_networks_and_rules_let_it_go_on(#[values(V4, V6)] family: Family) {
    let mut lab = applied(&[DIRECTION, &NEVER.replace("deny =", "mode = \"audit\"\ndeny =")]);
    let question = masked(family, DB);
    lab.delivered_to("db", &question).stamped_by("a").would_drop(DeniedByRule);
    lab.sent_by("db", question.answer()).passes(Reply);
    lab.apply(&TENANTS.replace("prefixes", "mode = \"audit\"\nprefixes"));
    lab.delivered_to("a", masked(family, BLUE_A)).stamped_by("db").would_drop(DefaultDeny);
}

/// Its conversations are paid for by who is behind the address, not by the host.
#[rstest]
fn who_is_behind_the_address_pays(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = masked(family, DB);
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    assert_eq!(ruled.conversation(&question).map(|entry| entry.payer), Some(ruled.id("a")));
}

/// A change of the endpoint's facts is looked at with the next packet: nothing here is remembered.
#[rstest]
fn nothing_about_a_masked_sender_is_remembered(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = masked(family, DB);
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
    ruled.apply(TENANTS);
    ruled.delivered_to("db", &question).stamped_by("a").drops(DefaultDeny);
    ruled.provides("a", Endpoint::ROUTER);
    ruled.delivered_to("db", &question).stamped_by("a").drops(DefaultDeny);
    ruled.apply(&format!("{TENANTS}{DIRECTION}"));
    ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
}

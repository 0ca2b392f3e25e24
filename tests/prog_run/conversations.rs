//! What a rule lets one side ask the other side may answer: nothing else, nobody else, and only while the
//! rule stands.

use std::time::Duration;

use enforcer_common::verdict::{DropReason::*, PassReason::*, Verdict};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, CLIENT_PORT, DB, DB_FAR, Family, Family::*, Packet, from},
    prog_run::{Judged, Lab},
    wait,
};
use rstest::rstest;

use crate::{DIRECTION, TENANTS, between, ruled};

const DENIED: &str = r#"
[[rule]]
name = "never"
from = ["blue"]
to = ["db"]
deny = ["any"]
"#;

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(5432))]
#[case::udp(|packet: Packet| packet.udp(53))]
#[case::sctp(|packet: Packet| packet.sctp(3868))]
#[case::ping(Packet::ping)]
fn who_was_asked_may_answer(
    mut ruled: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[values(V4, V6)] family: Family,
) {
    let question = make(from(BLUE_A.on(family)).to(DB.on(family)));
    let answer = question.answer();
    ruled.sent_by("db", &answer).drops(DefaultDeny);
    ruled.delivered_to("a", &answer).stamped_by("db").drops(DefaultDeny);
    for _ in 0..2 {
        ruled.sent_by("a", &question).passes(AllowedByRule).is_stamped_as("a");
        ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
        ruled.sent_by("db", &answer).passes(Reply).is_stamped_as("db");
        ruled.delivered_to("a", &answer).stamped_by("db").passes_counted_before();
    }
    // The same question the other way around is nobody's answer.
    ruled.sent_by("db", make(from(DB.on(family)).to(BLUE_A.on(family)))).drops(DefaultDeny);
}

/// A timestamp and its reply, node information and its reply (RFC 4620): of ICMP only an echo is a question.
#[rstest]
#[case::timestamp(V4, 13, 14)]
#[case::node_information(V6, 139, 140)]
fn other_icmp_is_no_answer_and_is_not_answered(
    mut ruled: Lab,
    #[case] family: Family,
    #[case] asks: u8,
    #[case] tells: u8,
) {
    let question = from(BLUE_A.on(family)).to(DB.on(family)).icmp(asks, 0);
    let answer = from(DB.on(family)).to(BLUE_A.on(family)).icmp(tells, 0);
    ruled.sent_by("a", &question).drops(DefaultDeny);
    ruled.apply(&format!("{TENANTS}{}", DIRECTION.replace("\"ping\"", "\"icmp\", \"icmp6\"")));
    for _ in 0..2 {
        ruled.sent_by("a", &question).passes(AllowedByRule);
        ruled.delivered_to("db", &question).stamped_by("a").passes_counted_before();
        ruled.sent_by("db", &answer).drops(DefaultDeny);
        ruled.delivered_to("a", &answer).stamped_by("db").drops(DefaultDeny);
    }
}

#[rstest]
fn a_remote_is_answered_and_answers(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let out = between(family, BLUE_A, DB_FAR);
    ruled.delivered_to("a", out.answer()).drops(DefaultDeny);
    ruled.sent_by("a", &out).passes(AllowedByRule);
    ruled.delivered_to("a", out.answer()).passes(Reply);
    let into = between(family, enforcer_tests::packet::BLUE_FAR, DB);
    ruled.sent_by("db", into.answer()).drops(DefaultDeny);
    ruled.delivered_to("db", &into).passes(AllowedByRule);
    ruled.sent_by("db", into.answer()).passes(Reply);
}

#[rstest]
fn an_answer_of_tcp_acknowledges_or_resets(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    let back = from(DB.on(family)).to(BLUE_A.on(family)).from_port(5432).tcp(CLIENT_PORT);
    ruled.sent_by("db", &back).drops(DefaultDeny);
    ruled.sent_by("db", back.clone().no_flags()).drops(DefaultDeny);
    for answer in [question.answer(), back.clone().ack(), back.clone().fin(), back.clone().rst()] {
        ruled.sent_by("db", answer).passes(Reply);
        // What answered before does not make an opening segment any better, or one that says nothing.
        ruled.sent_by("db", &back).drops(DefaultDeny);
        ruled.sent_by("db", back.clone().no_flags()).drops(DefaultDeny);
    }
}

/// Also while answers keep coming, which are looked at once in a second.
#[rstest]
fn an_answer_to_what_is_forgotten_passes_no_longer_than_a_second(
    mut ruled: Lab,
    #[values(V4, V6)] family: Family,
) {
    let ends = |lab: &mut Lab, question: &Packet| {
        let judged = lab.sent_by("db", question.answer()).outcome().judged;
        let ends = judged == Judged::As(Verdict::Drop(DefaultDeny));
        assert!(ends || judged == Judged::As(Verdict::Pass(Reply)), "{question}, its answer: {judged}");
        ends
    };
    let mut ports = CLIENT_PORT..;
    // The second may end just then.
    let question = wait::until("an answer to what is forgotten passes", Duration::from_secs(5), || {
        let question = from(BLUE_A.on(family)).to(DB.on(family)).udp(53).from_port(ports.next()?);
        ruled.sent_by("a", &question).passes(AllowedByRule);
        ruled.sent_by("db", question.answer()).passes(Reply);
        ruled.sent_by("db", question.answer()).passes(Reply);
        ruled.lose(&question);
        (!ends(&mut ruled, &question)).then_some(question)
    });
    wait::until("the answers end", Duration::from_secs(5), || ends(&mut ruled, &question).then_some(()));
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
}

/// Of what the guard has seen the hook behind it has seen nothing yet.
#[rstest]
fn a_guard_refreshes_no_conversation(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = from(BLUE_A.on(family)).to(DB.on(family)).udp(53);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.lose(&question);
    wait::until("it is open again", Duration::from_secs(5), || {
        ruled.guarded_by("a", &question).passes_uncounted();
        ruled.sent_by("a", &question).passes(AllowedByRule);
        ruled.conversation(&question)
    });
}

/// However often it was refused before.
#[rstest]
fn an_answer_passes_from_the_question_on(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = from(BLUE_A.on(family)).to(DB.on(family)).udp(53);
    for _ in 0..4 {
        ruled.sent_by("db", question.answer()).drops(DefaultDeny);
    }
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.sent_by("db", question.answer()).passes(Reply);
}

/// Who asks again and again keeps the answers coming, and whoever stops does not.
#[rstest]
#[case::udp(|packet: Packet| packet.udp(53), 180)]
#[case::sctp(|packet: Packet| packet.sctp(3868), 3_600)]
#[case::ping(Packet::ping, 30)]
fn a_known_flow_keeps_its_conversation(
    mut ruled: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] seconds: u64,
    #[values(V4, V6)] family: Family,
) {
    let question = make(from(BLUE_A.on(family)).to(DB.on(family)));
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.sent_by("db", question.answer()).passes(Reply);
    for _ in 0..3 {
        // In one second, and long after.
        ruled.sent_by("a", &question).passes(AllowedByRule);
        ruled.sent_by("a", &question).passes(AllowedByRule);
        ruled.silence(Duration::from_secs(seconds - 5));
    }
    ruled.sent_by("db", question.answer()).passes(Reply);
    ruled.silence(Duration::from_secs(seconds + 5));
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
}

#[rstest]
fn a_guessed_tuple_opens_nothing(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    let guess = question.answer();
    for _ in 0..2 {
        ruled.sent_by("db", guess.clone().ack()).drops(DefaultDeny);
        ruled.sent_by("db", guess.clone().rst()).drops(DefaultDeny);
    }
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.sent_by("db", guess.clone().tcp(CLIENT_PORT + 1).ack()).drops(DefaultDeny);
    ruled.sent_by("db", guess.clone().from_port(5433).ack()).drops(DefaultDeny);
    ruled.sent_by("db", guess.clone().udp(CLIENT_PORT)).drops(DefaultDeny);
    ruled
        .sent_by("db", between(family, DB, BLUE_B).from_port(5432).tcp(CLIENT_PORT).ack())
        .drops(DefaultDeny);
    ruled.sent_by("b", &guess).drops(SpoofedSource);
    ruled.sent_by("db", guess).passes(Reply);
}

#[rstest]
fn a_rule_is_as_wide_as_it_says(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let to_db = || from(BLUE_A.on(family)).to(DB.on(family));
    for port in [0, 5431, 5433, u16::MAX] {
        ruled.sent_by("a", to_db().tcp(port)).drops(DefaultDeny);
    }
    for packet in [to_db().udp(5432), to_db().sctp(5432), to_db().pong(), to_db().protocol(47)] {
        ruled.sent_by("a", packet).drops(DefaultDeny);
    }
}

/// The next packet meets the new policy, on whatever conversation, in both directions and at both hooks.
#[rstest]
fn a_revoked_rule_ends_what_it_admitted(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    let (talk, answer) = (question.clone().ack(), question.answer());
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.sent_by("db", &answer).passes(Reply);
    for (policy, reason) in [(String::new(), DefaultDeny), (format!("{DIRECTION}{DENIED}"), DeniedByRule)] {
        ruled.apply(&format!("{TENANTS}{policy}"));
        ruled.sent_by("a", &talk).drops(reason);
        ruled.delivered_to("db", &talk).stamped_by("a").drops(reason);
        ruled.sent_by("db", &answer).drops(DefaultDeny);
        ruled.delivered_to("a", &answer).stamped_by("db").drops(DefaultDeny);
        ruled.guarded_by("a", &talk).drops(reason);
    }
    // State was never a verdict: with the rule the conversation goes on at once.
    ruled.apply(&format!("{TENANTS}{DIRECTION}"));
    ruled.sent_by("db", &answer).passes(Reply);
    ruled.sent_by("a", &talk).passes(AllowedByRule);
}

#[rstest]
fn another_rule_for_the_same_goes_on(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.apply(&format!("{TENANTS}{}", DIRECTION.replace("name = \"db\"", "name = \"other\"")));
    ruled.sent_by("db", question.answer()).passes(Reply);
    ruled.sent_by("a", question.ack()).passes(AllowedByRule);
}

#[rstest]
fn a_deny_rule_comes_before_networks_and_allow_rules(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let inside = between(family, BLUE_A, BLUE_B);
    ruled.sent_by("a", &inside).passes(SharedNetwork);
    let deny = DENIED.replace("to = [\"db\"]", "to = [\"db\", \"blue\"]");
    ruled.apply(&format!("{TENANTS}{DIRECTION}{deny}"));
    for packet in [&inside, &between(family, BLUE_A, DB)] {
        ruled.sent_by("a", packet).drops(DeniedByRule);
        ruled.guarded_by("a", packet).drops(DeniedByRule);
    }
    ruled.delivered_to("b", &inside).stamped_by("a").drops(DeniedByRule);
}

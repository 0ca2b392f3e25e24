//! The states of a TCP connection: how long its silence is suffered, and what begins anew.

use std::time::Duration;

use enforcer_common::{
    state::StateEntry,
    verdict::{DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{BLUE_A, DB, Family, Family::*},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, between, ruled};

/// What has been said before the silence.
#[derive(Clone, Copy)]
enum State {
    HalfOpen,
    Established,
    ClosedByClient,
    ClosedByServer,
    ResetByClient,
    ResetByServer,
}

fn talk(lab: &mut Lab, family: Family, state: State) {
    let question = between(family, BLUE_A, DB);
    lab.sent_by("a", &question).passes(AllowedByRule);
    if matches!(state, State::HalfOpen) {
        return;
    }
    lab.sent_by("db", question.answer()).passes(Reply);
    lab.sent_by("a", question.clone().ack()).passes(AllowedByRule);
    match state {
        State::ClosedByClient => drop(lab.sent_by("a", question.fin()).passes(AllowedByRule)),
        State::ClosedByServer => drop(lab.sent_by("db", question.answer().fin()).passes(Reply)),
        State::ResetByClient => drop(lab.sent_by("a", question.rst()).passes(AllowedByRule)),
        State::ResetByServer => drop(lab.sent_by("db", question.answer().rst()).passes(Reply)),
        State::HalfOpen | State::Established => {}
    }
}

#[rstest]
#[case::half_open(State::HalfOpen, 60)]
#[case::established(State::Established, 7_440)]
#[case::closed_by_the_client(State::ClosedByClient, 120)]
#[case::closed_by_the_server(State::ClosedByServer, 120)]
#[case::reset_by_the_client(State::ResetByClient, 10)]
#[case::reset_by_the_server(State::ResetByServer, 10)]
fn a_silent_connection_is_over(
    mut ruled: Lab,
    #[case] state: State,
    #[case] seconds: u64,
    #[values(V4, V6)] family: Family,
) {
    const MARGIN: u64 = 4;
    let answer = between(family, BLUE_A, DB).answer().ack();
    talk(&mut ruled, family, state);
    ruled.silence(Duration::from_secs(seconds - MARGIN));
    ruled.sent_by("db", &answer).passes(Reply);
    talk(&mut ruled, family, state);
    ruled.silence(Duration::from_secs(seconds + MARGIN));
    ruled.sent_by("db", &answer).drops(DefaultDeny);
    ruled.delivered_to("a", &answer).stamped_by("db").drops(DefaultDeny);
}

#[rstest]
fn a_port_used_again_begins_a_connection_anew(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    talk(&mut ruled, family, State::ResetByServer);
    // A SYN takes the reset back, and is half open again.
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.silence(Duration::from_secs(50));
    ruled.sent_by("db", question.answer()).passes(Reply);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.silence(Duration::from_secs(70));
    ruled.sent_by("db", question.answer()).drops(DefaultDeny);
}

/// What somebody has said is no proof: who goes on talking was not reset.
#[rstest]
#[case::in_its_own_name(State::ResetByClient)]
#[case::in_the_name_of_who_answers(State::ResetByServer)]
fn a_forged_reset_ends_nothing(mut ruled: Lab, #[case] state: State, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    talk(&mut ruled, family, State::Established);
    // In the second in which it was looked for.
    ruled.sent_by("a", question.clone().ack()).passes(AllowedByRule);
    talk(&mut ruled, family, state);
    ruled.sent_by("a", question.clone().ack()).passes(AllowedByRule);
    ruled.silence(Duration::from_secs(7_000));
    ruled.sent_by("db", question.answer().ack()).passes(Reply);
}

/// A SYN that comes late, or from somebody else, is answered by an acknowledgement of what was said (RFC 5961 §4).
#[rstest]
fn a_forged_beginning_ends_nothing(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    talk(&mut ruled, family, State::Established);
    for _ in 0..2 {
        ruled.sent_by("db", question.answer().ack()).passes(Reply);
    }
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.sent_by("db", question.answer().ack()).passes(Reply);
    ruled.silence(Duration::from_secs(7_000));
    ruled.sent_by("db", question.answer().ack()).passes(Reply);
}

/// It does not say that it acknowledges anything.
#[rstest]
fn a_later_fragment_takes_no_reset_back(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    let is_reset = |lab: &Lab| {
        let conversation = lab.conversation(&question).expect("it is open");
        conversation.flags & StateEntry::RESET != 0
    };
    talk(&mut ruled, family, State::Established);
    let datagram = question.clone().ack().payload(64).id(7);
    ruled.sent_by("a", datagram.clone().fragment(0, true)).passes(AllowedByRule);
    ruled.sent_by("db", question.answer().rst()).passes(Reply);
    ruled.sent_by("a", datagram.fragment(185, false)).passes(AllowedByRule);
    assert!(is_reset(&ruled));
    // Nor is that left to another second.
    ruled.sent_by("a", question.clone().ack()).passes(AllowedByRule);
    assert!(!is_reset(&ruled));
}

#[rstest]
fn an_opening_segment_meets_the_policy_of_today(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB);
    talk(&mut ruled, family, State::ClosedByClient);
    ruled.apply(TENANTS);
    for packet in [question.clone(), question.clone().ack(), question.fin()] {
        ruled.sent_by("a", packet).drops(DefaultDeny);
    }
}

/// The initiator's own packets pass by the rule and need no state: a connection outlives its entry.
#[rstest]
fn who_may_ask_may_go_on_in_the_middle(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let middle = between(family, BLUE_A, DB).ack();
    ruled.sent_by("a", &middle).passes(AllowedByRule);
    ruled.sent_by("db", middle.answer()).passes(Reply);
}

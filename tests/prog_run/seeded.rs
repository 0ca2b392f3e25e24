//! Conversations that were open before the programs saw them: what userspace writes into the state table is what
//! the programs would have written.

use std::time::Duration;

use enforcer_common::{
    state::StateEntry,
    verdict::{DropReason::*, PassReason::*},
};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_FAR, DB, DB_FAR, Family, Family::*, Packet, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{between, ruled};

#[rstest]
#[case::tcp(|packet: Packet| packet.tcp(5432), 7_440)]
#[case::udp(|packet: Packet| packet.udp(53), 180)]
#[case::sctp(|packet: Packet| packet.sctp(3868), 3_600)]
fn a_seeded_conversation_is_answered_and_ages(
    mut ruled: Lab,
    #[case] make: fn(Packet) -> Packet,
    #[case] silent: u64,
    #[values(V4, V6)] family: Family,
) {
    const MARGIN: u64 = 5;
    let question = make(from(BLUE_A.on(family)).to(DB.on(family)));
    let answer = question.answer();
    ruled.sent_by("db", &answer).drops(DefaultDeny);
    ruled.seed(&question, "a", StateEntry::ANSWERED);
    ruled.silence(Duration::from_secs(silent - MARGIN));
    ruled.sent_by("db", &answer).passes(Reply).is_stamped_as("db");
    ruled.delivered_to("a", &answer).stamped_by("db").passes_counted_before();
    ruled.silence(Duration::from_secs(silent + MARGIN));
    ruled.sent_by("db", &answer).drops(DefaultDeny);
}

/// Field by field, but for the moment.
#[rstest]
fn it_is_what_the_programs_would_have_written(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let seeded = between(family, BLUE_A, DB).from_port(4001);
    let opened = between(family, BLUE_A, DB).from_port(4002);
    ruled.seed(&seeded, "a", 0);
    ruled.sent_by("a", &opened).passes(AllowedByRule);
    let (seeded, opened) = (ruled.conversation(&seeded).unwrap(), ruled.conversation(&opened).unwrap());
    assert_eq!((seeded.payer, seeded.flags), (opened.payer, opened.flags));
    assert_eq!((seeded.reserved, seeded.key.flags, seeded.key.ifindex), ([0; 3], 0, 0));
    assert!(
        opened.last_seen.abs_diff(seeded.last_seen) < 60_000_000_000,
        "two clocks: {seeded:?} {opened:?}"
    );
}

#[rstest]
fn what_is_open_already_stays_as_it_is(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, BLUE_A, DB_FAR);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    ruled.delivered_to("a", question.answer()).passes(Reply);
    let before = ruled.conversation(&question).unwrap();
    ruled.seed(&question, "db", 0);
    assert_eq!(ruled.conversation(&question), Some(before));
    // A packet of the seeded one finds its record and makes no other.
    let other = between(family, BLUE_FAR, DB);
    ruled.seed(&other, "db", StateEntry::ANSWERED);
    let conversations = ruled.conversations();
    ruled.delivered_to("db", other.clone().ack()).passes(AllowedByRule);
    ruled.sent_by("db", other.answer()).passes(Reply);
    assert_eq!(ruled.conversations(), conversations);
}

#[rstest]
fn a_seed_admits_nothing_that_the_policy_does_not(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let question = between(family, DB, BLUE_A);
    ruled.seed(&question, "db", StateEntry::ANSWERED);
    ruled.sent_by("db", &question).drops(DefaultDeny);
    ruled.sent_by("a", question.answer()).drops(DefaultDeny);
}

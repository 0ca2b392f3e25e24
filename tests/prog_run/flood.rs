//! Who opens conversations without end pays with its own.

use enforcer::datapath::{load::Options, sizes::Sizes};
use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, Packet, Party, from};
use enforcer_tests::prog_run::{CONVERSATIONS, Lab};
use rstest::rstest;

use crate::{TENANTS, populated, without_policy};

const OPEN: &str = "[[rule]]\nname = 'open'\nfrom = ['blue']\nto = ['db']\nallow = ['udp']";

/// More than the table of conversations holds.
const FLOWS: u32 = 20_000;
const _: () = assert!(FLOWS > CONVERSATIONS);

/// As many different questions, by their source ports.
fn flood(question: &Packet) -> impl Iterator<Item = Vec<u8>> {
    let ports = if question.src().is_ipv4() { 14 + 20 } else { 14 + 40 };
    let frame = question.bytes();
    (0..FLOWS as u16).map(move |port| {
        let mut frame = frame.clone();
        frame[ports..ports + 2].copy_from_slice(&port.to_be_bytes());
        frame
    })
}

fn question(family: Family, src: Party) -> Packet {
    from(src.on(family)).to(DB.on(family)).udp(53).from_port(9)
}

#[rstest]
fn who_floods_pays(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    lab.apply(&format!("{TENANTS}{OPEN}"));
    let asked_by = |src| question(family, src);
    let (own, others) = (asked_by(BLUE_A).udp(80), asked_by(BLUE_B).udp(80));
    for (sender, question) in [("a", &own), ("b", &others)] {
        lab.sent_by(sender, question).passes(AllowedByRule);
        lab.sent_by("db", question.answer()).passes(Reply);
    }
    lab.flood_from("a", flood(&asked_by(BLUE_A)));
    // Nobody else's conversation made room, nor an answered one for those that nobody answered.
    lab.sent_by("db", others.answer()).passes(Reply);
    lab.sent_by("db", own.answer()).passes(Reply);
    // From outside it is the receiver who pays, and not with what it asked or others did.
    lab.flood_to("db", flood(&asked_by(BLUE_FAR)));
    lab.sent_by("db", others.answer()).passes(Reply);
    lab.sent_by("db", own.answer()).passes(Reply);
}

/// With room for less than one asks, whoever was asked first and did not answer is forgotten, and not who was asked last.
#[rstest]
#[case::less(1 << 10, false)]
#[case::plenty(1 << 19, true)]
fn as_many_are_remembered_as_there_is_room_for(
    #[case] conversations: u32,
    #[case] are_all: bool,
    #[values(V4, V6)] family: Family,
) {
    let sizes = Sizes { conversations, networks: 1_024, rules: 1_024, ..Sizes::default() };
    let mut lab = populated(Lab::loaded_with(&Options { sizes, ..Options::default() }));
    lab.apply(&format!("{TENANTS}{OPEN}"));
    let [first, last] = [80, 81].map(|port| question(family, BLUE_A).udp(port));
    lab.sent_by("a", &first).passes(AllowedByRule);
    lab.flood_from("a", flood(&question(family, BLUE_A)));
    lab.sent_by("a", &last).passes(AllowedByRule);
    lab.sent_by("db", last.answer()).passes(Reply);
    let answer = lab.sent_by("db", first.answer());
    if are_all {
        answer.passes(Reply)
    } else {
        answer.drops(DefaultDeny)
    };
}

//! Who opens conversations without end pays with its own.

use enforcer_common::{limits::MAX_STATE, verdict::PassReason::*};
use enforcer_tests::packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, Packet, Party, from};
use rstest::rstest;

use crate::{TENANTS, without_policy};

/// More than the table of conversations holds.
const FLOWS: usize = 300_000;
const _: () = assert!(FLOWS > MAX_STATE as usize);

/// As many different questions as there are.
fn flood(question: &Packet) -> impl Iterator<Item = Vec<u8>> {
    let ports = if question.src().is_ipv4() { 14 + 20 } else { 14 + 40 };
    let frame = question.bytes();
    (0..FLOWS).map(move |number| {
        let mut frame = frame.clone();
        // The source port, and the low bits of the destination port.
        let [.., high, low] = (number as u16).to_be_bytes();
        frame[ports..ports + 2].copy_from_slice(&[high, low]);
        frame[ports + 3] = (number >> 16) as u8;
        frame
    })
}

#[rstest]
fn who_floods_pays(#[values(V4, V6)] family: Family) {
    let mut lab = without_policy();
    let rule = "[[rule]]\nname = 'open'\nfrom = ['blue']\nto = ['db']\nallow = ['udp']";
    lab.apply(&format!("{TENANTS}{rule}"));
    let asked_by = |src: Party| from(src.on(family)).to(DB.on(family)).udp(0x5300).from_port(9);
    let (own, others) = (asked_by(BLUE_A).udp(0x4000), asked_by(BLUE_B).udp(0x4000));
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

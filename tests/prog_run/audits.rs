//! Networks and rules in `audit` mode: what they would stop goes on, in every mode of the host, and is told.

use enforcer_common::verdict::{DropReason::*, PassReason::*};
use enforcer_tests::{
    packet::{BLUE_A, BLUE_B, BLUE_FAR, DB, Family, Family::*, HOST, OUTSIDER, from},
    prog_run::Lab,
};
use rstest::rstest;

use crate::{TENANTS, between, ruled, without_policy};

/// Two networks in these modes, and what follows.
fn modes(blue: &str, db: &str, rest: &str) -> Lab {
    let mut lab = without_policy();
    let policy = TENANTS
        .replacen("prefixes", &format!("mode = \"{blue}\"\nprefixes"), 1)
        .replace("[network.db]", &format!("[network.db]\nmode = \"{db}\""));
    lab.apply(&format!("{policy}{rest}"));
    lab
}

#[rstest]
#[case::nobody("enforce", "enforce", false, false)]
#[case::the_sender("audit", "enforce", false, true)]
#[case::the_receiver("enforce", "audit", false, false)]
#[case::both("audit", "audit", true, true)]
fn a_network_lets_go_on_what_no_other_enforces(
    #[case] blue: &str,
    #[case] db: &str,
    #[case] among_both: bool,
    #[case] with_nobody: bool,
    #[values(V4, V6)] family: Family,
) {
    let mut lab = modes(blue, db, "");
    for (dst, relaxed) in [(DB, among_both), (OUTSIDER, with_nobody), (HOST, with_nobody)] {
        let packet = between(family, BLUE_A, dst);
        // From the second packet on by the flow's record.
        for _ in 0..3 {
            let run = lab.sent_by("a", &packet);
            if relaxed {
                run.would_drop(DefaultDeny).bears(Lab::RELAXED);
            } else {
                run.drops(DefaultDeny);
            }
        }
        assert_eq!(lab.flow(&packet).packets_fwd, 3);
    }
    let run = lab.delivered_to("db", between(family, OUTSIDER, DB));
    if db == "audit" {
        run.would_drop(DefaultDeny);
    } else {
        run.drops(DefaultDeny);
    }
    let arriving = between(family, BLUE_A, DB);
    let run = lab.delivered_to("db", &arriving).relaxed_by("a", Lab::RELAXED);
    if among_both {
        run.passes_counted_before();
    } else {
        run.drops(DefaultDeny);
    }
}

#[rstest]
fn a_network_relaxes_nothing_else(#[values(V4, V6)] family: Family) {
    let rules = "[[rule]]\nname = \"no\"\nfrom = [\"blue\"]\nto = [\"db\"]\ndeny = [\"tcp/22\"]\n\
                 [[rule]]\nname = \"yes\"\nfrom = [\"blue\"]\nto = [\"db\"]\nallow = [\"udp/53\"]\n";
    let mut lab = modes("audit", "audit", rules);
    lab.sent_by("a", between(family, BLUE_A, DB).tcp(22)).drops(DeniedByRule);
    lab.sent_by("a", between(family, BLUE_A, DB).tcp(23)).would_drop(DefaultDeny);
    lab.sent_by("a", between(family, BLUE_A, DB).udp(53).fragment(185, false)).drops(Fragment);
    lab.sent_by("a", between(family, BLUE_B, DB)).drops(SpoofedSource);
    lab.sent_by("a", between(family, BLUE_A, DB).udp(53)).passes(AllowedByRule).is_stamped_as("a");
    // No answer was allowed, and this is one.
    lab.sent_by("db", between(family, BLUE_A, DB).udp(53).answer()).passes(Reply);
    lab.sent_by("db", between(family, BLUE_A, DB).udp(54).answer()).would_drop(DefaultDeny);
}

/// A rule in `audit` mode, between these.
fn audited(from: &str, to: &str, deny: &str) -> String {
    format!("[[rule]]\nname = \"new\"\nfrom = {from}\nto = {to}\ndeny = {deny}\nmode = \"audit\"\n")
}

#[rstest]
fn a_rule_tells_what_it_would_deny(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let rule = audited("[\"blue\"]", "[\"any\"]", "[\"tcp/22\", \"tcp/5432\"]");
    ruled.apply(&format!("{TENANTS}{}{rule}", crate::DIRECTION));
    // What a network admits, and what a rule does, from the record, too; others are not concerned.
    for _ in 0..2 {
        for (dst, port) in [(BLUE_FAR, 22), (DB, 5432)] {
            ruled
                .sent_by("a", between(family, BLUE_A, dst).tcp(port))
                .would_drop(DeniedByRule)
                .bears(Lab::RELAXED);
        }
        ruled.sent_by("a", between(family, BLUE_A, BLUE_FAR).tcp(23)).passes(SharedNetwork);
        ruled.sent_by("a", between(family, BLUE_A, DB).udp(53)).passes(AllowedByRule);
        ruled.sent_by("a", between(family, BLUE_A, DB).tcp(22)).drops(DefaultDeny);
        ruled.sent_by("db", between(family, DB, BLUE_A).tcp(22)).drops(DefaultDeny);
    }
    let packet = between(family, BLUE_A, DB).tcp(5432);
    ruled.delivered_to("db", &packet).relaxed_by("a", Lab::RELAXED).passes_counted_before();
    let flow = ruled.flow(&packet);
    let seen = (flow.verdict.as_str(), flow.reason.as_str(), flow.rule.as_deref(), flow.packets_fwd);
    assert_eq!(seen, ("would-drop", "denied-by-rule", Some("new"), 2));
    // It goes on as what it is: it may be answered.
    ruled.sent_by("db", packet.answer()).passes(Reply).is_stamped_as("db");
}

#[rstest]
fn a_rule_would_not_stop_an_answer(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let both = "[[rule]]\nname = \"back\"\nfrom = [\"db\"]\nto = [\"blue\"]\nallow = [\"any\"]\n";
    let rule = audited("[\"db\"]", "[\"blue\"]", "[\"any\"]");
    ruled.apply(&format!("{TENANTS}{}{both}{rule}", crate::DIRECTION));
    let question = between(family, BLUE_A, DB).udp(53);
    ruled.sent_by("a", &question).passes(AllowedByRule);
    for _ in 0..2 {
        ruled.sent_by("db", question.answer()).passes(AllowedByRule).is_stamped_as("db");
        ruled.sent_by("db", between(family, DB, BLUE_A).udp(9)).would_drop(DeniedByRule);
    }
}

#[rstest]
fn a_rule_about_the_host_is_audited_too(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    let rules = audited("[\"blue\"]", "[\"host\"]", "[\"udp/53\"]")
        + &audited("[\"host\"]", "[\"blue\"]", "[\"tcp\"]").replace("new", "newer");
    ruled.apply(&format!("{TENANTS}{rules}"));
    let asks = from(BLUE_A.on(family)).to(HOST.on(family)).udp(53);
    let told = from(HOST.on(family)).to(BLUE_A.on(family)).tcp(80);
    for _ in 0..2 {
        ruled.sent_by("a", &asks).would_drop(DeniedByRule);
        ruled.delivered_to("a", &told).locally_generated().would_drop(DeniedByRule);
        ruled.delivered_to("a", asks.answer()).locally_generated().passes(HostOpen);
    }
    assert_eq!(ruled.flow(&told).rule.as_deref(), Some("newer"));
    ruled.sent_by("a", told.answer()).passes(Reply);
}

#[rstest]
fn a_rule_that_may_be_about_other_ports_tells_nothing(mut ruled: Lab, #[values(V4, V6)] family: Family) {
    ruled.apply(&format!("{TENANTS}{}", audited("[\"blue\"]", "[\"blue\"]", "[\"udp/53\"]")));
    let later = |packet: enforcer_tests::packet::Packet| packet.fragment(185, false);
    ruled.sent_by("a", later(between(family, BLUE_A, BLUE_B).udp(53))).passes(SharedNetwork);
    ruled.apply(&format!("{TENANTS}{}", audited("[\"blue\"]", "[\"blue\"]", "[\"udp\"]")));
    // Of all ports it is about this one, too: the protocol stands in each fragment.
    ruled.sent_by("a", later(between(family, BLUE_A, BLUE_B).udp(53))).would_drop(DeniedByRule);
}

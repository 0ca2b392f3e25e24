//! What becomes of known flows when a policy is edited: those that the edit is not about are not judged again, and all
//! others are, at once. That a judgement stands shows where the kernel is told that nothing has changed although it has.

use std::time::Duration;

use enforcer::datapath::{sizes::TableKind, tables::boottime};
use enforcer_common::verdict::{DropReason, PassReason};
use enforcer_tests::packet::{BLUE_A, BLUE_B, DB, Family, Packet, from};
use enforcer_tests::prog_run::{Lab, Run};
use enforcer_tests::wait;
use rstest::rstest;

use crate::populated;

const BLUE: &str = "10.1.0.0/24\", \"10.7.3.0/26\", \"2001:db8:1::/64\", \"2001:db8:73::/64";

/// The sender and db, and not the other one of blue.
const WITH_DB: &str = "10.1.0.0/24\", \"2001:db8:1::/64\", \"10.9.0.0/24\", \"2001:db8:9::/64";

fn policy(blue: &str, others: &str) -> String {
    format!(
        "version = 1\n[network.blue]\nprefixes = [\"{blue}\"]\n[network.db]\n\
         prefixes = [\"10.9.0.0/24\", \"2001:db8:9::/64\"]\n{others}"
    )
}

/// Everybody's endpoints, and a policy that is not the first: of what was before the first nobody knows.
fn lab() -> Lab {
    edited(Lab::new())
}

/// With tables of ours, whose judgements outlive an edit that is not about them.
fn remembering() -> Lab {
    edited(Lab::with_tables(TableKind::Own))
}

fn edited(lab: Lab) -> Lab {
    let mut lab = populated(lab);
    lab.apply(&policy("192.0.2.0/24", ""));
    lab.apply(&policy(BLUE, ""));
    lab
}

fn shared(family: Family) -> Packet {
    from(BLUE_A.on(family)).to(BLUE_B.on(family)).tcp(80)
}

fn other(family: Family) -> Packet {
    from(BLUE_A.on(family)).to(DB.on(family)).tcp(80)
}

/// At the hook of who sends, and of who receives.
fn at<'l>(lab: &'l mut Lab, receives: bool, to: &str, packet: &Packet) -> Run<'l> {
    if receives { lab.delivered_to(to, packet).stamped_by("a") } else { lab.sent_by("a", packet) }
}

#[rstest]
fn what_an_edit_is_not_about_is_not_judged_again(
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(false, true)] receives: bool,
) {
    let mut lab = remembering();
    let (allowed, denied) = (shared(family), other(family));
    let known = |lab: &mut Lab| {
        let run = at(lab, receives, "b", &allowed);
        if receives {
            run.passes_counted_before()
        } else {
            run.passes(PassReason::SharedNetwork)
        };
        at(lab, receives, "db", &denied).drops(DropReason::DefaultDeny);
    };
    known(&mut lab);
    lab.apply_as_if_unchanged(&policy("192.0.2.0/24", ""));
    known(&mut lab);
    // It is from now on of that generation.
    lab.apply_as_if_unchanged(&policy("192.0.2.0/25", ""));
    known(&mut lab);
    lab.forget_flows();
    at(&mut lab, receives, "b", &allowed).drops(DropReason::DefaultDeny);
}

#[rstest]
fn what_an_edit_is_about_is_judged_at_once(
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(false, true)] receives: bool,
) {
    let mut lab = lab();
    let (allowed, denied) = (shared(family), other(family));
    let passes = |lab: &mut Lab, to: &str, packet: &Packet| {
        let run = at(lab, receives, to, packet);
        if receives {
            run.passes_counted_before()
        } else {
            run.passes(PassReason::SharedNetwork)
        };
    };
    for _ in 0..2 {
        passes(&mut lab, "b", &allowed);
        at(&mut lab, receives, "db", &denied).drops(DropReason::DefaultDeny);
        // One end is enough, whichever.
        lab.apply(&policy(WITH_DB, ""));
        at(&mut lab, receives, "b", &allowed).drops(DropReason::DefaultDeny);
        passes(&mut lab, "db", &denied);
        lab.apply(&policy("10.7.3.0/26\", \"2001:db8:73::/64\", \"10.9.0.0/24\", \"2001:db8:9::/64", ""));
        at(&mut lab, receives, "db", &denied).drops(DropReason::DefaultDeny);
        lab.apply(&policy(BLUE, ""));
    }
}

fn rule(from: &str, to: &str) -> String {
    format!("[[rule]]\nname = \"no\"\nfrom = [{from}]\nto = [{to}]\ndeny = [\"tcp/80\"]\n")
}

/// Whether all of a side are told by their blocks, or the rule is about everything.
#[rstest]
#[case::a_side_that_is_named(r#""blue""#, r#""any""#)]
#[case::the_other_side(r#""any""#, r#""blue""#)]
#[case::anybody(r#""any""#, r#""any""#)]
#[case::a_pattern(r#""bl*""#, r#""b*e""#)]
fn whom_a_rule_is_about_is_judged_at_once(
    #[case] from: &str,
    #[case] to: &str,
    #[values(Family::V4, Family::V6)] family: Family,
    #[values(false, true)] receives: bool,
) {
    let mut lab = lab();
    let packet = shared(family);
    for _ in 0..2 {
        let run = at(&mut lab, receives, "b", &packet);
        if receives {
            run.passes_counted_before()
        } else {
            run.passes(PassReason::SharedNetwork)
        };
        lab.apply(&policy(BLUE, &rule(from, to)));
        at(&mut lab, receives, "b", &packet).drops(DropReason::DeniedByRule);
        lab.apply(&policy(BLUE, ""));
    }
}

/// Of two that may talk, a rule between others ends no judgement.
#[rstest]
fn whom_a_rule_is_not_about_is_not_judged_again(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = remembering();
    lab.sent_by("a", shared(family)).passes(PassReason::SharedNetwork);
    // Its judgement is wrong from now on, and stands until something is known to be about it.
    lab.apply_as_if_unchanged(&policy("192.0.2.0/24", ""));
    for others in [rule(r#""db""#, r#""any""#), rule(r#""world""#, r#""db""#), String::new()] {
        lab.apply(&policy("192.0.2.0/24", &others));
        lab.sent_by("a", shared(family)).passes(PassReason::SharedNetwork);
    }
    lab.apply(&policy("192.0.2.0/24", &rule(r#""any""#, r#""world""#)));
    lab.sent_by("a", shared(family)).drops(DropReason::DefaultDeny);
}

/// Both packets as [`BLUE`] says.
fn is_blue_alone(lab: &mut Lab, family: Family) {
    lab.sent_by("a", shared(family)).passes(PassReason::SharedNetwork);
    lab.sent_by("a", other(family)).drops(DropReason::DefaultDeny);
}

/// Both packets as [`WITH_DB`] says.
fn is_with_db(lab: &mut Lab, family: Family) {
    lab.sent_by("a", shared(family)).drops(DropReason::DefaultDeny);
    lab.sent_by("a", other(family)).passes(PassReason::SharedNetwork);
}

/// What was judged by a policy on trial is judged again by the one that decides after it.
#[rstest]
fn a_trial_leaves_no_judgement_behind(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = lab();
    is_blue_alone(&mut lab, family);
    lab.apply_until(&policy(WITH_DB, ""), u64::MAX);
    is_with_db(&mut lab, family);
    lab.end_trial();
    is_blue_alone(&mut lab, family);
    lab.apply_until(&policy(WITH_DB, ""), u64::MAX);
    lab.sent_by("a", other(family)).passes(PassReason::SharedNetwork);
    lab.end_trial();
    // Not about any of these, but about the policy before the trial.
    lab.apply(&policy(&format!("{BLUE}\", \"192.0.2.0/24"), ""));
    is_blue_alone(&mut lab, family);
}

/// The same where nobody ends the trial but its deadline.
#[rstest]
fn a_trial_that_runs_out_leaves_no_judgement_behind(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = lab();
    is_blue_alone(&mut lab, family);
    let deadline = boottime() + 4_000_000_000;
    lab.apply_until(&policy(WITH_DB, ""), deadline);
    is_with_db(&mut lab, family);
    wait::until("the trial is over", Duration::from_secs(30), || (boottime() > deadline).then_some(()));
    is_blue_alone(&mut lab, family);
}

/// What the receiver's processor keeps is kept again when facts have changed.
#[rstest]
fn what_is_kept_for_a_receiver_follows_the_facts(#[values(Family::V4, Family::V6)] family: Family) {
    let mut lab = remembering();
    let kept = |lab: &mut Lab| {
        lab.delivered_to("b", shared(family)).stamped_by("a").passes_counted_before();
    };
    kept(&mut lab);
    lab.forget_flows();
    kept(&mut lab);
    lab.apply_as_if_unchanged(&policy("192.0.2.0/24", ""));
    kept(&mut lab);
}

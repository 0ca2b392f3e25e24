//! What to type next: from seeing everything and dropping nothing, by way of a policy, to enforcement.

use enforcer_common::mode::Mode;

use super::{Advice, Files, Step, files::Place};
use crate::{foreign::Effect, render::count, report::Status};

/// The steps from here, the next one first.
pub(super) fn steps(advice: &Advice, status: &Status, files: &Files) -> Vec<Step> {
    let mut steps = Vec::new();
    hints(&mut steps, advice, status);
    match (advice.attached.is_empty(), advice.has_policy, advice.denied.is_empty()) {
        (true, ..) => steps.push(think(
            "no workload is attached to: name their host-side interfaces in [attach] of /etc/enforcer/enforcer.toml, \
             then reload",
        )),
        (_, false, true) => {
            look_on(&mut steps, advice.mode);
            steps.push(think("nothing was seen yet that a policy would have a say in: let the workloads work, and ask again"));
        }
        (_, false, false) => {
            look_on(&mut steps, advice.mode);
            draft(&mut steps, &files.place(false));
        }
        (_, true, false) if advice.draft.is_some() => {
            look(&mut steps, advice.mode);
            if !files.are_there() {
                steps.push(think(format!(
                    "the policy in force is of files elsewhere: copy them to {}, or what follows leaves them out",
                    Files::FIRST
                )));
            }
            draft(&mut steps, &files.place(true));
        }
        (_, true, false) => look(&mut steps, advice.mode),
        (_, true, true) => onwards(&mut steps, advice.mode, status),
    }
    steps
}

fn step(why: impl Into<String>, command: impl Into<String>) -> Step {
    Step { why: why.into(), command: Some(command.into()) }
}

fn think(why: impl Into<String>) -> Step {
    Step { why: why.into(), command: None }
}

/// What no draft mends.
fn hints(steps: &mut Vec<Step>, advice: &Advice, status: &Status) {
    if !advice.quarantined.is_empty() {
        steps.push(think(format!(
            "no address is known of {}: give them one, or declare it with [[endpoint]]",
            advice.quarantined.join(", ")
        )));
    }
    if !advice.unenforced.is_empty() {
        steps.push(think(format!(
            "{} not enforced: `enforcer status` lists them, and why",
            count(advice.unenforced.len(), "workload")
        )));
    }
    let of = |effect| advice.foreign.iter().filter(|rule| rule.effect == effect).count();
    if of(Effect::Drops) > 0 {
        steps.push(think(format!(
            "{} of others on this host may drop what passes here: `enforcer status` lists them",
            count(of(Effect::Drops), "rule")
        )));
    }
    if of(Effect::HidesSender) > 0 {
        steps.push(think("others hide by NAT who sends: between workloads no rule of theirs should match"));
    }
    if status.seconds_left.is_some() {
        steps.push(step("the policy is on trial", "enforcer confirm"));
    }
}

/// Before the first policy everything is denied, and dropped where that is enforced.
fn look_on(steps: &mut Vec<Step>, mode: Mode) {
    if mode == Mode::Enforce {
        steps.push(step(
            "without a policy nothing passes: let everything pass, and count",
            "enforcer mode observe",
        ));
    }
}

fn look(steps: &mut Vec<Step>, mode: Mode) {
    let (why, verdict) = match mode {
        Mode::Enforce => ("the policy denies what was seen: is it meant?", "drop"),
        _ => ("the policy would deny what was seen: is it meant?", "would-drop"),
    };
    steps.push(step(why, format!("enforcer flows --verdict {verdict}")));
}

fn draft(steps: &mut Vec<Step>, Place { draft, all }: &Place) {
    steps.push(step("write the draft down, and read it", format!("enforcer adopt --write {draft}")));
    steps.push(step("what would it change?", format!("enforcer plan {all}")));
    steps.push(step("make it the policy", format!("enforcer apply {all}")));
    steps.push(step("let the workloads work, and ask again", "enforcer adopt"));
}

/// The policy lets pass whatever was seen.
fn onwards(steps: &mut Vec<Step>, mode: Mode, status: &Status) {
    match mode {
        Mode::Observe => {
            steps.push(step(
                "the policy lets pass what was seen: drop what is forged, count what it would deny",
                "enforcer mode audit --for 1h",
            ));
            steps.push(step("then ask again", "enforcer adopt"));
        }
        Mode::Audit => {
            steps.push(step("the policy lets pass what was seen: try it", "enforcer mode enforce --for 10m"));
            steps.push(think(KEEP));
        }
        Mode::Enforce if status.mode.by == "ordered" => steps.push(think(KEEP)),
        Mode::Enforce => steps.push(think("the policy is enforced, and denies nothing that was seen")),
    }
}

const KEEP: &str = "if all goes well, write mode = \"enforce\" into /etc/enforcer/enforcer.toml, reload, and take the \
                    order back with `enforcer mode configured`";

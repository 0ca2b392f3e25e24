//! What a policy would change: a line for each name, then what it means.

use std::{
    fmt::Display,
    io::{self, Write},
};

use ipnet::IpNet;

use super::{
    Screen, Tint, short_digest,
    table::{Column, write_table},
};
use crate::{
    policy::{
        diff::{Change, Diff, RuleChange, SetChange},
        world::{WorldMoves, listed},
    },
    report::{Impact, PlanReport, UsageReport},
};

/// Prefixes that a line shows of a name before it says how many more there are.
const LISTED: usize = 6;

const CAPACITY: &[Column<UsageReport>] = &[
    Column::number("USED", |usage, _| usage.used.to_string()),
    Column::number("LIMIT", |usage, _| usage.limit.to_string()),
    Column::text("OF", |usage, _| usage.of.clone()),
];

/// Writes what differs, what moves over the border of the world, and how full the tables would be.
pub fn write_plan(out: &mut impl Write, plan: &PlanReport, screen: &Screen) -> io::Result<()> {
    let before = short_digest(&plan.digest_before);
    let against = match plan.generation {
        Some(0) => "nothing: no policy has been applied yet".to_owned(),
        Some(generation) => format!("generation {generation}, digest {before}"),
        None => format!("files with digest {before}"),
    };
    writeln!(out, "digest {}, compared with {against}", short_digest(&plan.digest_after))?;
    if plan.diff.is_empty() {
        writeln!(out, "no changes")?;
    }
    write_changes(out, &plan.diff, screen)?;
    write_world(out, &plan.world, screen)?;
    if let Some(rule) = &plan.force_needed_by {
        let warning = screen.paint(Tint::Doubtful, "warning:");
        writeln!(out, "{warning} rule `{rule}` names world: `apply` refuses this without --force")?;
    }
    write_warnings(out, &plan.warnings, screen)?;
    if let Some(impact) = &plan.impact {
        write_impact(out, impact, screen)?;
        if !plan.members_unknown.is_empty() {
            let names = plan.members_unknown.join(", ");
            let note = screen.paint(Tint::Doubtful, "note:");
            writeln!(
                out,
                "{note} conversations are judged without the containers that would be members of {names}"
            )?;
        }
    }
    writeln!(out)?;
    write_table(out, screen, CAPACITY, &plan.capacity)
}

/// Writes what somebody should look at.
pub fn write_warnings(out: &mut impl Write, warnings: &[String], screen: &Screen) -> io::Result<()> {
    warnings.iter().try_for_each(|text| writeln!(out, "{} {text}", screen.paint(Tint::Doubtful, "warning:")))
}

/// Writes the conversations that a change touches; nothing where it touches none.
fn write_impact(out: &mut impl Write, impact: &Impact, screen: &Screen) -> io::Result<()> {
    for (what, tint, flows) in [("cut", Tint::Bad, &impact.cut), ("admitted", Tint::Good, &impact.admitted)] {
        let shown = if screen.is_wide() { flows.len() } else { LISTED };
        for flow in flows.iter().take(shown) {
            let (proto, src, dst, port) = (&flow.proto, flow.src, flow.dst, flow.dst_port);
            writeln!(out, "{}: {proto} from {src} to {dst} port {port}", screen.paint(tint, what))?;
        }
        if flows.len() > shown {
            writeln!(out, "{}: {} more conversations", screen.paint(tint, what), flows.len() - shown)?;
        }
    }
    Ok(())
}

fn write_changes(out: &mut impl Write, diff: &Diff, screen: &Screen) -> io::Result<()> {
    let sets = |kind, sets: &[SetChange]| -> Vec<String> {
        sets.iter().map(|change| set_line(kind, change, screen)).collect()
    };
    let rules = diff.rules.iter().map(|change| rule_line(change, screen));
    let lines = sets("network", &diff.networks).into_iter().chain(sets("group", &diff.groups)).chain(rules);
    lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn sign(change: Change, screen: &Screen) -> String {
    match change {
        Change::Added => screen.paint(Tint::Good, "+"),
        Change::Changed => screen.paint(Tint::Doubtful, "~"),
        Change::Removed => screen.paint(Tint::Bad, "-"),
    }
}

fn set_line(kind: &str, set: &SetChange, screen: &Screen) -> String {
    let prefixes = signed(&set.prefixes_added, &set.prefixes_removed, screen);
    let except = signed(&set.except_added, &set.except_removed, screen);
    let mode = set.mode.map(|mode| format!("mode {mode}"));
    let members = signed(&set.members_added, &set.members_removed, screen);
    let parts = [prefixes, members, except.map(|except| format!("except {except}")), mode];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} {kind} {}: {}", sign(set.change, screen), set.name, parts.join(", "))
}

fn signed<T: Display>(added: &[T], removed: &[T], screen: &Screen) -> Option<String> {
    let added = added.iter().map(|prefix| format!("+{prefix}"));
    let all: Vec<String> = added.chain(removed.iter().map(|prefix| format!("-{prefix}"))).collect();
    match all.split_at_checked(LISTED) {
        Some((shown, more @ [_, _, ..])) if !screen.is_wide() => {
            Some(format!("{} and {} more", shown.join(" "), more.len()))
        }
        _ => (!all.is_empty()).then(|| all.join(" ")),
    }
}

fn rule_line(rule: &RuleChange, screen: &Screen) -> String {
    let sign = sign(rule.change, screen);
    match (&rule.before, &rule.after) {
        (Some(before), Some(after)) => format!("{sign} rule `{}`: {after} (was: {before})", rule.name),
        (Some(only), None) | (None, Some(only)) => format!("{sign} rule `{}`: {only}", rule.name),
        (None, None) => format!("{sign} rule `{}`", rule.name),
    }
}

/// Writes what moves over the border of the world; nothing for a direction in which nothing moves.
pub fn write_world(out: &mut impl Write, world: &WorldMoves, screen: &Screen) -> io::Result<()> {
    let ways = [("into world", &world.into), ("out of world", &world.out_of)];
    let all = |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    for (way, ranges) in ways.into_iter().filter(|(_, ranges)| !ranges.is_empty()) {
        writeln!(out, "{way}: {}", if screen.is_wide() { all(ranges) } else { listed(ranges) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(plan: &PlanReport, screen: &Screen) -> String {
        let mut out = Vec::new();
        write_plan(&mut out, plan, screen).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_name_that_differs_is_a_line() {
        insta::assert_snapshot!(text(&samples::plan(), &samples::screen(Format::Table)), @r"
        digest 2b2b2b2b2b2b…, compared with generation 4, digest 1a1a1a1a1a1a…
        + network all: +10.0.0.0/24 +10.1.0.0/24 +10.2.0.0/24 +10.3.0.0/24 +10.4.0.0/24 +10.5.0.0/24 and 3 more
        ~ network blue: -10.0.0.0/24, except +10.1.0.13/32
        - network db: -10.0.0.0/24
        + group db: +10.0.0.0/24
        ~ rule `the web`: allow tcp/443 from blue to world (was: allow tcp/80 from blue to world)
        + rule `time`: allow udp/123 from blue to world
        into world: 10.99.0.0/16
        out of world: 10.0.0.0/24, 10.1.0.0/24, 10.2.0.0/24, 10.3.0.0/24, 10.4.0.0/24, 10.5.0.0/24, 10.6.0.0/24, 10.7.0.0/24, 10.8.0.0/24, 10.9.0.0/24 and 2 more
        warning: rule `the web` names world: `apply` refuses this without --force
        warning: group `db` has no member: `except` covers all of it
        cut: tcp from 10.1.0.5 to 10.1.0.6 port 80

        USED    LIMIT  OF
          12  1048576  prefix entries
           2    65535  rules
        ");
    }

    #[test]
    fn wide_shortens_nothing() {
        let text = text(&samples::plan(), &samples::screen(Format::Wide));
        assert!(text.contains("+10.0.0.0/24 ") && text.contains("+10.8.0.0/24"), "{text}");
    }

    #[test]
    fn nothing_changes_is_said() {
        let plan = PlanReport {
            diff: Diff::default(),
            world: WorldMoves::default(),
            force_needed_by: None,
            generation: None,
            impact: None,
            warnings: Vec::new(),
            ..samples::plan()
        };
        insta::assert_snapshot!(text(&plan, &samples::screen(Format::Table)), @r"
        digest 2b2b2b2b2b2b…, compared with files with digest 1a1a1a1a1a1a…
        no changes

        USED    LIMIT  OF
          12  1048576  prefix entries
           2    65535  rules
        ");
    }

    #[test]
    fn colours_mark_what_comes_and_goes() {
        let screen = Screen { colour: true, ..samples::screen(Format::Table) };
        let text = text(&samples::plan(), &screen);
        assert!(text.contains("\x1b[1;32m+\x1b[0m network") && text.contains("\x1b[1;33mwarning:"), "{text}");
    }
}

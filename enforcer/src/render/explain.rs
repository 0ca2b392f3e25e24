//! Why two ends may talk, in prose: the first line answers, the others give reasons.

use std::io::{self, Write};

use enforcer_common::mode::Mode;

use super::{Screen, Tint};
use crate::report::{DirectionReport, EndReport, ExplainReport};

/// Writes the answer and what it rests on.
pub fn write_explain(out: &mut impl Write, report: &ExplainReport, screen: &Screen) -> io::Result<()> {
    let ExplainReport { src, dst, forward, .. } = report;
    let service = report.service.as_ref().map_or_else(String::new, |service| format!(", {service}"));
    let verdict = screen.paint(tint(forward), &verdict(forward).to_uppercase());
    writeln!(out, "{} -> {}{service}: {verdict}, {}", named(src), named(dst), cause(forward))?;
    writeln!(out, "  {}", membership(src))?;
    writeln!(out, "  {}", membership(dst))?;
    writeln!(out, "  why: {}", forward.why)?;
    writeln!(out, "  reverse: {} -> {}: {}", dst.address, src.address, way_back(report, screen))?;
    if !report.modes.is_empty() {
        writeln!(out, "  mode: {}", modes(report))?;
    }
    if report.members_unknown {
        writeln!(out, "  members by their containers are left out: only the daemon knows them")?;
    }
    match report.generation {
        Some(generation) => writeln!(out, "  as generation {generation} decides on this host"),
        None => writeln!(out, "  as these files would decide"),
    }
}

/// Whoever enforces gets nothing that it should not.
fn modes(report: &ExplainReport) -> String {
    let of = |(name, mode): (&String, &Mode)| format!("{} at {name}", mode.word());
    let ends: Vec<String> = report.modes.iter().map(of).collect();
    let enforced = report.modes.values().any(|mode| *mode == Mode::Enforce);
    let meaning = if enforced { "and dropped where it is enforce" } else { "not dropped" };
    format!("{}: what is denied is counted, {meaning}", ends.join(", "))
}

/// One line is enough where both directions have the same reason; "one-way" is worth its own.
fn way_back(report: &ExplainReport, screen: &Screen) -> String {
    let reverse = &report.reverse;
    let verdict = screen.paint(tint(reverse), verdict(reverse));
    let answer = format!("{verdict}, {}", cause(reverse));
    if report.one_way { format!("{answer} ({}): one-way", reverse.why) } else { answer }
}

fn is_pass(direction: &DirectionReport) -> bool {
    direction.verdict == "pass"
}

fn verdict(direction: &DirectionReport) -> &'static str {
    if is_pass(direction) { "allowed" } else { "denied" }
}

fn tint(direction: &DirectionReport) -> Tint {
    if is_pass(direction) { Tint::Good } else { Tint::Bad }
}

/// The reason, and the network or rule that decided.
fn cause(direction: &DirectionReport) -> String {
    match (&direction.network, &direction.rule) {
        (Some(network), _) => format!("{} {network}", direction.reason),
        (None, Some(rule)) => format!("{} `{rule}`", direction.reason),
        (None, None) => direction.reason.clone(),
    }
}

/// An address and what people call it: its networks, else its groups, the world or the host.
fn named(end: &EndReport) -> String {
    let names = match end {
        EndReport { endpoint: Some(endpoint), .. } if endpoint == "host" => "host".to_owned(),
        EndReport { networks, .. } if !networks.is_empty() => networks.join(", "),
        EndReport { groups, .. } if !groups.is_empty() => groups.join(", "),
        EndReport { world: true, .. } => "world".to_owned(),
        _ => "no network".to_owned(),
    };
    format!("{} ({names})", end.address)
}

fn membership(end: &EndReport) -> String {
    let parts = [
        Some(format!("{} ∈ {{{}}}", end.address, end.networks.join(", "))),
        (!end.groups.is_empty()).then(|| format!("groups {{{}}}", end.groups.join(", "))),
        end.world.then(|| "world".to_owned()),
        end.endpoint.as_ref().map(|name| format!("endpoint {name}")),
    ];
    let selected = end.selected.iter().map(|(name, members)| format!("{name} by {}", members.join(", ")));
    parts.into_iter().flatten().chain(selected).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Format, samples};

    fn text(report: &ExplainReport) -> String {
        let mut out = Vec::new();
        write_explain(&mut out, report, &samples::screen(Format::Table)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_denial_says_what_is_missing() {
        insta::assert_snapshot!(text(&samples::denied()), @r"
        10.1.0.5 (blue) -> 10.9.0.7 (db): DENIED, default-deny
          10.1.0.5 ∈ {blue}, endpoint veth-web
          10.9.0.7 ∈ {db}, endpoint veth-db
          why: no common network
          reverse: 10.9.0.7 -> 10.1.0.5: denied, default-deny
          as generation 4 decides on this host
        ");
    }

    #[test]
    fn a_denial_that_drops_nothing_says_so() {
        let modes = |db| [("veth-db".to_owned(), db), ("veth-web".to_owned(), Mode::Observe)].into();
        let line = |db| {
            let text = text(&ExplainReport { modes: modes(db), ..samples::denied() });
            text.lines().find(|line| line.starts_with("  mode: ")).unwrap().to_owned()
        };
        insta::assert_snapshot!(
            line(Mode::Observe),
            @"  mode: observe at veth-db, observe at veth-web: what is denied is counted, not dropped"
        );
        insta::assert_snapshot!(
            line(Mode::Enforce),
            @"  mode: enforce at veth-db, observe at veth-web: what is denied is counted, and dropped where it is enforce"
        );
    }

    #[test]
    fn an_allowance_names_the_network() {
        insta::assert_snapshot!(text(&samples::allowed()), @r"
        10.1.0.5 (blue) -> 10.1.0.6 (blue), tcp/80: ALLOWED, shared-network blue
          10.1.0.5 ∈ {blue}, endpoint veth-web
          10.1.0.6 ∈ {blue}
          why: both are in blue
          reverse: 10.1.0.6 -> 10.1.0.5: allowed, shared-network blue
          as generation 4 decides on this host
        ");
    }

    #[test]
    fn one_way_is_said_with_both_reasons() {
        let report = ExplainReport {
            forward: samples::allowed().forward,
            one_way: true,
            generation: None,
            ..samples::denied()
        };
        insta::assert_snapshot!(text(&report), @r"
        10.1.0.5 (blue) -> 10.9.0.7 (db): ALLOWED, shared-network blue
          10.1.0.5 ∈ {blue}, endpoint veth-web
          10.9.0.7 ∈ {db}, endpoint veth-db
          why: both are in blue
          reverse: 10.9.0.7 -> 10.1.0.5: denied, default-deny (no common network): one-way
          as these files would decide
        ");
    }

    #[test]
    fn a_rule_groups_and_the_world_are_named() {
        insta::assert_snapshot!(text(&samples::by_rule()), @r"
        10.1.0.5 (blue) -> 1.1.1.1 (world), tcp/443: ALLOWED, allowed-by-rule `the web`
          10.1.0.5 ∈ {blue}, groups {admins}, endpoint veth-web
          1.1.1.1 ∈ {}, world
          why: rule `the web` allows tcp/443
          reverse: 1.1.1.1 -> 10.1.0.5: denied, default-deny (answers to what 10.1.0.5 opens pass, but 1.1.1.1 may not open): one-way
          as generation 4 decides on this host
        ");
    }

    #[test]
    fn colour_marks_the_verdict() {
        let screen = Screen { colour: true, ..samples::screen(Format::Table) };
        let mut out = Vec::new();
        write_explain(&mut out, &samples::denied(), &screen).unwrap();
        assert!(String::from_utf8(out).unwrap().contains(": \x1b[1;31mDENIED\x1b[0m, default-deny\n"));
    }
}

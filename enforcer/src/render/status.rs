//! The state of the host: a line per fact, warnings last, where the eye ends.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use enforcer_common::counter::Counter;

use super::{
    Screen, Tint, count,
    modes::mode,
    short_digest,
    units::{age, ago, bytes},
};
use crate::{
    datapath::{attach::Mechanism, memory::Memory},
    report::{FastpathReport, GateReport, GuardReport, Status, UplinkReport, remark},
    shortcut::{Barrier, Kinds},
};

/// Writes everything that fits a line each.
pub fn write_status(out: &mut impl Write, status: &Status, screen: &Screen) -> io::Result<()> {
    for (key, value) in facts(status, screen) {
        let key = format!("{key}:");
        writeln!(out, "{key:<13} {value}")?;
    }
    for warning in &status.warnings {
        writeln!(out, "{} {warning}", screen.paint(Tint::Doubtful, "warning:"))?;
    }
    Ok(())
}

fn facts(status: &Status, screen: &Screen) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("version", status.version.clone()),
        ("daemon", daemon(status, screen.now)),
        ("kernel", status.kernel.clone()),
        ("attach", attach(status.attach).to_owned()),
    ];
    facts.extend(features(status));
    facts.push(("mode", mode(&status.mode)));
    facts.push(("gate", gate(&status.gate)));
    facts.extend(status.uplinks.iter().map(|uplink| ("uplink", self::uplink(uplink))));
    facts.extend(status.guards.iter().map(|guard| ("guard", self::guard(guard))));
    facts.extend(fastpath(status));
    facts.extend(foreign(status));
    facts.extend(unenforced(status));
    facts.extend([
        ("policy", policy(status, screen.now)),
        ("digest", digest(status, screen)),
        ("endpoints", endpoints(status, screen)),
        ("passed", counter(status.passed)),
        ("dropped", counter(status.dropped)),
        ("memory", memory(&status.memory)),
    ]);
    if status.would_dropped.packets > 0 {
        facts.push(("would drop", counter(status.would_dropped)));
    }
    if let Some(seconds) = status.seconds_left {
        facts.push((
            "unconfirmed",
            format!("falls back in {seconds} s unless `enforcer confirm` comes first"),
        ));
    }
    if status.events_lost > 0 {
        facts.push(("events lost", status.events_lost.to_string()));
    }
    if let Some(last) = &status.last_repair {
        facts.push(("repairs", format!("{}, the last one: {last}", status.repairs)));
    }
    facts
}

fn memory(memory: &Memory) -> String {
    let Memory { flows, conversations, policies, counters, others } = *memory;
    let shares = [
        ("flows", Some(flows)),
        ("conversations", Some(conversations)),
        ("policies", policies),
        ("counters", Some(counters)),
        ("others", Some(others)),
    ];
    let share = |share: Option<u64>| share.map_or_else(|| "unknown".to_owned(), bytes);
    let shares = shares.map(|(what, held)| format!("{what} {}", share(held))).join(", ");
    format!("{} in the kernel: {shares}", bytes(memory.total()))
}

fn daemon(status: &Status, now: SystemTime) -> String {
    match &status.daemon {
        Some(daemon) => {
            let since = age(&daemon.started_at, now)
                .map_or_else(|| format!("since {}", daemon.started_at), |age| format!("for {age}"));
            format!("running {since}, pid {}", daemon.pid)
        }
        None => "not running; the kernel goes on enforcing".to_owned(),
    }
}

const fn attach(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Tcx => "tcx",
        Mechanism::Clsact => "clsact",
    }
}

fn features(status: &Status) -> impl Iterator<Item = (&'static str, String)> {
    status.features.iter().map(|(name, uses)| {
        let lacks = status.lacking.get(name).map(|what| format!("; the kernel lacks {what}"));
        ("feature", format!("{name}: {uses}{}", lacks.unwrap_or_default()))
    })
}

fn gate(gate: &GateReport) -> String {
    match gate {
        GateReport::On => "on".to_owned(),
        GateReport::Off { why } => format!("off ({why})"),
    }
}

fn uplink(uplink: &UplinkReport) -> String {
    format!("{}, trust {}", uplink.interface, uplink.trust.word())
}

fn guard(guard: &GuardReport) -> String {
    format!("{} ({}), {}", guard.interface, guard.role, guard.mode.name())
}

fn unenforced(status: &Status) -> Vec<(&'static str, String)> {
    let told = status.unenforced.iter().take(TOLD_RULES).map(|one| format!("{}: {}", one.name, one.why));
    let more = status.unenforced.len().saturating_sub(TOLD_RULES);
    let more = (more > 0).then(|| format!("{more} more (`-o json` has all)"));
    told.chain(more).map(|text| ("unenforced", text)).collect()
}

/// Which packets take it, and why others do not: first everybody's, then each endpoint's.
fn fastpath(status: &Status) -> Vec<(&'static str, String)> {
    let Some(report) = &status.fastpath else { return Vec::new() };
    let taken = match report.kinds {
        Kinds::NONE => "off".to_owned(),
        kinds => format!("{kinds}, at {}{}", count(report.endpoints as usize, "endpoint"), uplinks(report)),
    };
    let not = |barrier: &Barrier| match barrier.blocks {
        Kinds::ALL => format!("not: {}", barrier.what),
        kinds => format!("not {kinds}: {}", barrier.what),
    };
    let barred = report.barred.iter().chain(&report.barred_uplinks).filter(|_| report.kinds != Kinds::NONE);
    let of_endpoints = barred.flat_map(|barred| {
        barred.barriers.iter().map(move |barrier| format!("{} {}", barred.endpoint, not(barrier)))
    });
    let all: Vec<String> = report.barriers.iter().map(not).chain(of_endpoints).collect();
    let more = all.len().saturating_sub(TOLD_RULES);
    let more = (more > 0).then(|| format!("{more} more (`-o json` has all)"));
    let told = all.into_iter().take(TOLD_RULES);
    [taken].into_iter().chain(told).chain(more).map(|text| ("fast path", text)).collect()
}

/// Whoever has none need not know.
fn uplinks(report: &FastpathReport) -> String {
    if report.uplinks == 0 && report.barred_uplinks.is_empty() {
        return String::new();
    }
    format!(" and {}", count(report.uplinks as usize, "uplink"))
}

/// Rules of others told in full; a host may have thousands, and JSON has all of them.
const TOLD_RULES: usize = 8;

fn foreign(status: &Status) -> Vec<(&'static str, String)> {
    let told = status.foreign.iter().take(TOLD_RULES).map(ToString::to_string);
    let more = status.foreign.len().saturating_sub(TOLD_RULES);
    let more = (more > 0).then(|| format!("{more} more (`-o json` has all)"));
    let unseen = status.foreign_unseen.iter().map(|why| format!("not seen: {why}"));
    told.chain(more).chain(unseen).map(|text| ("foreign", text)).collect()
}

fn policy(status: &Status, now: SystemTime) -> String {
    if status.generation == 0 {
        return format!("none yet: everything is denied{}", remark(status.mode.mode));
    }
    let applied =
        status.applied_at.as_ref().map_or_else(String::new, |time| format!(", applied {}", ago(time, now)));
    let networks = count(status.networks as usize, "network");
    let entries = count(status.prefixes as usize, "entry");
    let sets = count(status.sets as usize, "set");
    let rules = count(status.rules as usize, "rule");
    format!("generation {}{applied}: {networks}, {entries}, {sets}, {rules}", status.generation)
}

fn digest(status: &Status, screen: &Screen) -> String {
    match &status.digest {
        Some(digest) if screen.is_wide() => digest.clone(),
        Some(digest) => short_digest(digest),
        None => "-".to_owned(),
    }
}

fn endpoints(status: &Status, screen: &Screen) -> String {
    let mut text = format!("{} ready", status.endpoints_ready);
    match status.endpoints_quarantined {
        0 => {}
        some => {
            let quarantined = screen.paint(Tint::Bad, &format!("{some} quarantined"));
            text += ", ";
            text += &quarantined;
            text += " (no known address: nothing passes)";
        }
    }
    match status.endpoints_other_mode {
        0 => text,
        some => format!("{text}, {some} in another mode"),
    }
}

fn counter(counter: Counter) -> String {
    format!("{}, {}", count(counter.packets as usize, "packet"), bytes(counter.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        render::{Format, samples},
        report::ModeState,
    };

    fn text(status: &Status, screen: &Screen) -> String {
        let mut out = Vec::new();
        write_status(&mut out, status, screen).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everything_is_a_line() {
        insta::assert_snapshot!(text(&samples::status(), &samples::screen(Format::Table)), @r#"
        version:      0.1.0
        daemon:       running for 2h, pid 812
        kernel:       6.12.0
        attach:       tcx
        feature:      attach: tcx links
        feature:      kernel types: not needed; the kernel lacks BTF (CONFIG_DEBUG_INFO_BTF)
        mode:         observe, ordered, 14m left, then enforce
        gate:         on
        uplink:       eth0, trust external
        guard:        eth0 (uplink), native
        guard:        veth-web (veth), generic
        fast path:    bridged and routed IPv6, at 1 endpoint and 1 uplink
        fast path:    not routed IPv4: rules of nftables: ip nat POSTROUTING
        fast path:    veth-web not: the queue of its interface (tbf)
        foreign:      ip filter DOCKER-ISOLATION-STAGE-2 handle 14 (forward) drops, 12 packets: oifname "docker0" counter drop
        foreign:      ip filter FORWARD (forward) drops: policy drop
        foreign:      ip nat POSTROUTING handle 7 (postrouting) hides who sends (NAT), 0 packets: oifname != "docker0" ip saddr 172.17.0.0/16 masquerade
        unenforced:   vnet0: a tap: programs are attached to veths only
        policy:       generation 4, applied 3m ago: 2 networks, 6 entries, 2 sets, 3 rules
        digest:       1a1a1a1a1a1a…
        endpoints:    1 ready, 1 quarantined (no known address: nothing passes), 1 in another mode
        passed:       2306 packets, 3.4MiB
        dropped:      1235 packets, 89.2KiB
        memory:       74.9MiB in the kernel: flows 41.0MiB, conversations 8.0MiB, policies 900.0KiB, counters 22.0MiB, others 3.0MiB
        would drop:   12 packets, 888B
        events lost:  17
        repairs:      3, the last one: the programs of veth-web
        warning: veth-db claims 10.1.0.5, which veth-web owns
        "#);
    }

    #[test]
    fn a_host_without_daemon_and_policy_says_so() {
        let status = Status {
            daemon: None,
            fastpath: None,
            gate: GateReport::off("its rules are not there"),
            generation: 0,
            digest: None,
            applied_at: None,
            endpoints_quarantined: 0,
            events_lost: 0,
            repairs: 0,
            last_repair: None,
            guards: Vec::new(),
            unenforced: Vec::new(),
            foreign: Vec::new(),
            foreign_unseen: vec!["rules of nftables and iptables: there is no `nft`".to_owned()],
            uplinks: Vec::new(),
            endpoints_other_mode: 0,
            mode: ModeState { by: "host file".to_owned(), ..ModeState::default() },
            warnings: Vec::new(),
            ..samples::status()
        };
        insta::assert_snapshot!(text(&status, &samples::screen(Format::Table)), @r"
        version:      0.1.0
        daemon:       not running; the kernel goes on enforcing
        kernel:       6.12.0
        attach:       tcx
        feature:      attach: tcx links
        feature:      kernel types: not needed; the kernel lacks BTF (CONFIG_DEBUG_INFO_BTF)
        mode:         enforce (host file)
        gate:         off (its rules are not there)
        foreign:      not seen: rules of nftables and iptables: there is no `nft`
        policy:       none yet: everything is denied
        digest:       -
        endpoints:    1 ready
        passed:       2306 packets, 3.4MiB
        dropped:      1235 packets, 89.2KiB
        memory:       74.9MiB in the kernel: flows 41.0MiB, conversations 8.0MiB, policies 900.0KiB, counters 22.0MiB, others 3.0MiB
        would drop:   12 packets, 888B
        ");
    }

    #[test]
    fn what_is_only_counted_is_not_called_dropped() {
        let status = Status { generation: 0, ..samples::status() };
        let text = text(&status, &samples::screen(Format::Table));
        assert!(text.contains("everything is denied (mode observe: counted, not dropped)\n"), "{text}");
    }

    #[test]
    fn of_many_rules_of_others_the_first_are_told() {
        let rule = samples::status().foreign[0].clone();
        let status = Status { foreign: vec![rule; 30], ..samples::status() };
        let text = text(&status, &samples::screen(Format::Table));
        assert_eq!(text.matches("\nforeign:").count(), TOLD_RULES + 1);
        assert!(text.contains("foreign:      22 more (`-o json` has all)\n"), "{text}");
    }

    #[test]
    fn what_nobody_may_measure_is_no_zero() {
        let memory = Memory { policies: None, ..samples::status().memory };
        let text = text(&Status { memory, ..samples::status() }, &samples::screen(Format::Table));
        assert!(text.contains("74.0MiB in the kernel: ") && text.contains("policies unknown, "), "{text}");
    }

    #[test]
    fn wide_has_the_whole_digest_and_colour_marks_warnings() {
        let screen = Screen { colour: true, ..samples::screen(Format::Wide) };
        let text = text(&samples::status(), &screen);
        assert!(text.contains(&"1a".repeat(32)));
        assert!(text.contains("\x1b[1;33mwarning:\x1b[0m"));
    }
}

//! `enforcer check`: is this policy right, and does it fit? Neither root nor a daemon is needed.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;

use super::{Client, Global, Outcome, colourful, failure::Refused};
use crate::{
    policy::{
        self, Capacity, Diagnostics, Ids, Policy, Source,
        diagnostic::Renderer,
        doubt,
        world::{self, WorldMoves},
    },
    render::{self, Screen},
    report::{PolicyReport, digest_text},
};

mod host_file;

/// Validate policy files, or a host file: mistakes with file, line and a caret; no root, no daemon
///
/// Addresses that no network or group covers any more move into the world: they are named, compared with
/// other files or, where a daemon answers, with the policy in force.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer check /etc/enforcer/policy.toml /etc/enforcer/policy.d
  enforcer check new.toml --against old.toml     and which addresses move into or out of the world
  generate-policy | enforcer check -
  enforcer check --config /etc/enforcer/enforcer.toml")]
pub struct Arguments {
    /// Files, directories (their *.toml files) or - for standard input; together they are one policy
    #[arg(required_unless_present = "config", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name what moves into or out of the world since these files; may be given several times
    #[arg(long, value_name = "OLD")]
    against: Vec<PathBuf>,
    /// Check a host file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "against"])]
    config: Option<PathBuf>,
}

/// A policy that can be enforced.
#[derive(Debug, Serialize)]
struct CheckReport {
    /// Its networks.
    networks: usize,
    /// Its groups.
    groups: usize,
    /// Its rules.
    rules: usize,
    /// Prefixes as written.
    prefixes: usize,
    /// Entries of the kernel's membership table.
    entries: usize,
    /// SHA-256 of the canonical policy in hex.
    digest: String,
    /// What it says, and hardly ever means.
    warnings: Vec<String>,
    /// Addresses that change sides; `None` when there is nothing to compare with.
    world: Option<WorldMoves>,
}

impl Arguments {
    /// Reads, validates and compiles; tells what it found.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        if let Some(config) = &self.config {
            return host_file::check(config, global, out);
        }
        let policy = parse(&policy::read(&self.paths)?)?;
        let world = self.before(global)?.map(|before| world::moves(&before, &policy));
        let report = CheckReport { world, ..check(&policy)? };
        let screen = global.screen();
        render::write_one(out, screen.format, &report, |out| write(out, &report, &screen))?;
        Ok(Outcome::Done)
    }

    /// What to compare with. That nobody is there to ask, or nobody who answers, is no mistake of the policy.
    fn before(&self, global: &Global) -> anyhow::Result<Option<Policy>> {
        if !self.against.is_empty() {
            return parse(&policy::read(&self.against)?).map(Some);
        }
        let active = Client::new(global.socket.clone()).get("/v1/policy");
        Ok(active.ok().map(|PolicyReport { policy, .. }| policy))
    }
}

fn write(out: &mut impl Write, report: &CheckReport, screen: &Screen) -> io::Result<()> {
    let CheckReport { networks, groups, rules, prefixes, digest, warnings, world, .. } = report;
    let mut counts = vec![render::count(*networks, "network")];
    let new_kinds = [(groups, "group"), (rules, "rule")].into_iter().filter(|(number, _)| **number > 0);
    counts.extend(new_kinds.map(|(number, thing)| render::count(*number, thing)));
    counts.push(render::count(*prefixes, "prefix"));
    writeln!(out, "ok: {}, digest {}", counts.join(", "), render::short_digest(digest))?;
    render::write_warnings(out, warnings, screen)?;
    world.as_ref().map_or(Ok(()), |world| render::write_world(out, world, screen))
}

/// The policy of these texts, or their mistakes as a terminal's reader likes them.
pub fn parse(sources: &[Source]) -> anyhow::Result<Policy> {
    Policy::parse(sources).map_err(|mistakes: Diagnostics| {
        let renderer = if colourful(&io::stderr()) { Renderer::styled() } else { Renderer::plain() };
        Refused(mistakes.render(&renderer)).into()
    })
}

/// Whether the kernel's tables can hold it. The ids are made up: how many there are does not depend on
/// what this host has seen before.
fn check(policy: &Policy) -> anyhow::Result<CheckReport> {
    let ids = Ids::default().assign(policy)?;
    let tables = policy::compile(policy, &ids, Capacity::default())?;
    Ok(CheckReport {
        networks: policy.networks.len(),
        groups: policy.groups.len(),
        rules: policy.rules.len(),
        prefixes: policy
            .networks
            .values()
            .chain(policy.groups.values())
            .map(|set| set.prefixes().len())
            .sum(),
        entries: tables.prefixes.len(),
        digest: digest_text(&policy.digest()),
        warnings: doubt::warnings(policy),
        world: None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, fake_daemon::FakeDaemon};

    fn run(text: &str, options: &[&str]) -> anyhow::Result<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        let line = ["enforcer", "check", path.to_str().unwrap(), "--socket", "/nonexistent/e.sock"];
        let line = line.into_iter().chain(options.iter().copied());
        let mut out = Vec::new();
        Cli::try_parse_from(line).unwrap().write(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    const POLICY: &str = "version = 1
        [network.blue]
        prefixes = ['10.1.0.0/24', '2001:db8:1::/64']
        [network.db]
        prefixes = ['10.9.0.0/24']";

    #[test]
    fn a_right_policy_is_summed_up_in_a_line() {
        let line = run(POLICY, &[]).unwrap();
        assert!(line.starts_with("ok: 2 networks, 3 prefixes, digest "), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn json_has_the_whole_digest() {
        let report: serde_json::Value = serde_json::from_str(&run(POLICY, &["-o", "json"]).unwrap()).unwrap();
        assert_eq!(report["prefixes"], 3);
        assert_eq!(report["digest"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn mistakes_are_shown_with_carets() {
        let error = run("version = 1\n[network.blue]\nprefixes = ['10.1.0.5/24']", &[]).unwrap_err();
        let text = error.downcast_ref::<Refused>().unwrap().to_string();
        assert!(text.contains("policy.toml:3:13") && text.contains("^^^"), "{text}");
    }

    #[test]
    fn a_policy_that_says_nothing_is_right_and_doubtful() {
        let text = run("version = 1", &[]).unwrap();
        let warning = text.lines().nth(1).unwrap();
        assert!(warning.starts_with("warning: ") && warning.contains("denies everything"), "{text}");
    }

    #[test]
    fn a_host_file_is_checked_as_the_daemon_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enforcer.toml");
        let check = |text: &str| {
            fs::write(&path, text).unwrap();
            let line = ["enforcer", "check", "--config", path.to_str().unwrap()];
            let mut out = Vec::new();
            Cli::try_parse_from(line).unwrap().write(&mut out)?;
            anyhow::Ok(String::from_utf8(out).unwrap())
        };
        let text = "mode = 'audit'\npolicy = ['/p.toml']\n[[uplink]]\nmatch = 'eth*'\ntrust = 'external'\n";
        assert_eq!(check(text).unwrap(), "ok: mode audit, 1 [[uplink]], 0 [[endpoint]], policy: /p.toml\n");
        let refused = check("[attach]\nmatches = []").unwrap_err().to_string();
        assert!(refused.contains("enforcer.toml") && refused.contains("line 2"), "{refused}");
    }

    #[test]
    fn what_moves_over_the_border_of_the_world_is_named() {
        let old = tempfile::NamedTempFile::new().unwrap();
        fs::write(old.path(), "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/23']").unwrap();
        let text = run(POLICY, &["--against", old.path().to_str().unwrap()]).unwrap();
        let moves: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(moves, ["into world: 10.1.1.0/24", "out of world: 10.9.0.0/24, 2001:db8:1::/64"]);
        let same = run(POLICY, &["-o", "json"]).unwrap();
        assert!(same.contains("\"world\": null"), "{same}");
    }

    #[test]
    fn the_policy_in_force_is_compared_with_where_a_daemon_answers() {
        let policy = serde_json::json!({"networks": {"blue": {"prefixes": ["10.1.0.0/24"]}}});
        let answer = serde_json::json!({"generation": 4, "digest": "1a", "policy": policy});
        let empty = tempfile::NamedTempFile::new().unwrap();
        fs::write(empty.path(), "version = 1").unwrap();
        let check = |daemon: &FakeDaemon| daemon.run(&format!("enforcer check {}", empty.path().display()));
        let daemon = FakeDaemon::answering("200 OK", answer.to_string());
        let (_, text) = check(&daemon).unwrap();
        assert!(text.ends_with("\ninto world: 10.1.0.0/24\n"), "{text}");
        assert_eq!(daemon.asked(), "GET /v1/policy HTTP/1.1");
        // One of an older version does not know the question.
        let (_, text) = check(&FakeDaemon::answering("404 Not Found", "")).unwrap();
        assert_eq!(text.lines().count(), 2, "it is empty, too");
    }
}

//! `enforcer check`: is this policy right, and does it fit? Neither root nor a daemon is needed.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;

use super::{Global, Outcome, colourful, failure::Refused};
use crate::{
    policy::{self, Capacity, Diagnostics, Ids, Policy, Source, diagnostic::Renderer},
    render,
    report::digest_text,
};

/// Validate policy files: mistakes with file, line and a caret; no root, no daemon
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer check /etc/enforcer/policy.toml /etc/enforcer/policy.d
  generate-policy | enforcer check -")]
pub struct Arguments {
    /// Files, directories (their *.toml files) or - for standard input; together they are one policy
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// A policy that can be enforced.
#[derive(Debug, Serialize)]
struct CheckReport {
    /// Its networks.
    networks: usize,
    /// Prefixes as written.
    prefixes: usize,
    /// Entries of the kernel's membership table.
    entries: usize,
    /// SHA-256 of the canonical policy in hex.
    digest: String,
}

impl Arguments {
    /// Reads, validates and compiles; tells what it found.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let report = check(&parse(&policy::read(&self.paths)?)?)?;
        render::write_one(out, global.output, &report, |out| {
            let CheckReport { networks, prefixes, digest, .. } = &report;
            let (networks, prefixes) =
                (render::count(*networks, "network"), render::count(*prefixes, "prefix"));
            writeln!(out, "ok: {networks}, {prefixes}, digest {}", render::short_digest(digest))
        })?;
        Ok(Outcome::Done)
    }
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
        prefixes: policy.networks.values().map(|network| network.prefixes().len()).sum(),
        entries: tables.prefixes.len(),
        digest: digest_text(&policy.digest()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn run(text: &str, options: &[&str]) -> anyhow::Result<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        let line = ["enforcer", "check", path.to_str().unwrap()].into_iter().chain(options.iter().copied());
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
}

//! `enforcer plan`: what would change if this were the policy?

use std::{io::Write, path::PathBuf};

use clap::Args;
use enforcer_common::limits;

use super::{Global, Outcome, Source, check};
use crate::{
    datapath::flows::Flow,
    policy::{
        self, Capacity, Ids, Policy, Tables,
        diff::Diff,
        doubt,
        world::{self, IntoWorld},
    },
    render,
    report::{PlanReport, PolicyReport, UsageReport, digest_text},
    view::impact,
};

/// Show what applying files would change: networks, groups, rules, the world, conversations cut and
/// admitted, and room in the tables
///
/// Nothing is changed. Addresses that no network or group covers any more move into the world.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer plan /etc/enforcer/policy.d                  against the policy in force
  enforcer plan new.toml --policy old.toml              against other files; no root, no daemon
  enforcer plan new.toml -o json | jq .world.into       what rules about the world would mean in addition")]
pub struct Arguments {
    /// Files, directories (their *.toml files) or - for standard input; together they are one policy
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Compare with these files instead of the policy in force; may be given several times
    #[arg(long, value_name = "OLD")]
    policy: Vec<PathBuf>,
}

impl Arguments {
    /// Compares and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let new = check::parse(&policy::read(&self.paths)?)?;
        let report = if self.policy.is_empty() {
            let mut source = Source::new(global);
            let active = source.policy()?;
            let flows = source.flows()?;
            plan(&active.policy, &new, Some((&active, flows)))?
        } else {
            plan(&check::parse(&policy::read(&self.policy)?)?, &new, None)?
        };
        let screen = global.screen();
        render::write_one(out, screen.format, &report, |out| render::write_plan(out, &report, &screen))?;
        Ok(Outcome::Done)
    }
}

/// `live` is the policy in force and the flows of this host, unless only files are compared.
fn plan(old: &Policy, new: &Policy, live: Option<(&PolicyReport, Vec<Flow>)>) -> anyhow::Result<PlanReport> {
    let members = live.as_ref().and_then(|(active, _)| active.members.as_ref());
    let (here, unknown) = new.resolve_like(old, members);
    let ids = Ids::default().assign(new)?;
    let tables = policy::compile(&here, &ids, Capacity::default())?;
    Ok(PlanReport {
        generation: live.as_ref().map(|(active, _)| active.generation),
        members_unknown: unknown.iter().map(ToString::to_string).collect(),
        impact: live.map(|(_, flows)| impact(flows, &tables)),
        digest_before: digest_text(&old.digest()),
        digest_after: digest_text(&new.digest()),
        diff: Diff::between(old, new),
        world: world::moves(old, new),
        force_needed_by: world::check(old, new).err().map(|IntoWorld { rule, .. }| rule.to_string()),
        warnings: doubt::warnings(new),
        capacity: capacity(new, &tables),
    })
}

/// What is bounded, in the order in which a growing policy tends to meet the bounds.
fn capacity(policy: &Policy, tables: &Tables) -> Vec<UsageReport> {
    let usage = [
        ("prefix entries", tables.prefixes.len(), limits::MAX_PREFIXES),
        ("set members", tables.members.len(), limits::MAX_SET_MEMBERS),
        // Id 0 is nobody's.
        ("networks", policy.networks.len(), limits::MAX_NETWORKS - 1),
        ("rules", policy.rules.len(), limits::MAX_RULES - 1),
        ("rule pairs", tables.pairs.len(), limits::MAX_RULE_PAIRS),
        ("service ranges", tables.ranges.len(), limits::MAX_SERVICE_RANGES),
    ];
    usage.map(|(of, used, limit)| UsageReport { of: of.to_owned(), used, limit: limit as usize }).into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, fake_daemon::FakeDaemon},
        render::samples,
    };

    const OLD: &str = "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24']";
    const NEW: &str = "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/25', '10.2.0.0/24']";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn files_are_compared_without_a_daemon() {
        let (old, new) = (file(OLD), file(NEW));
        let paths = [new.path(), old.path()].map(|path| path.to_str().unwrap());
        let line = ["enforcer", "plan", paths[0], "--policy", paths[1], "--socket", "/nonexistent/e.sock"];
        let mut out = Vec::new();
        let outcome = Cli::try_parse_from(line).unwrap().write(&mut out).unwrap();
        assert_eq!(outcome, Outcome::Done);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("~ network blue: +10.1.0.0/25 +10.2.0.0/24 -10.1.0.0/24\n"), "{text}");
        assert!(text.contains("into world: 10.1.0.128/25\n"), "{text}");
    }

    #[test]
    fn the_policy_in_force_is_asked_for() {
        let policy = serde_json::json!({"networks": {"blue": {"prefixes": ["10.1.0.0/24"]}}});
        let answer = serde_json::json!({"generation": 4, "digest": "1a", "policy": policy});
        let flow = samples::flows().remove(0);
        let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        let flows = serde_json::json!([Flow { src: "10.9.9.9".parse().unwrap(), last_seen: now, ..flow }]);
        let answers = vec![answer.to_string(), flows.to_string()];
        let (daemon, new) = (FakeDaemon::answering_each("200 OK", answers), file(NEW));
        let (_, text) = daemon.run(&format!("enforcer plan {} -o json", new.path().display())).unwrap();
        let report: PlanReport = serde_json::from_str(&text).unwrap();
        assert_eq!((report.generation, report.world.into.len(), report.world.out_of.len()), (Some(4), 1, 1));
        assert_eq!((report.capacity[0].used, report.force_needed_by), (2, None));
        assert_eq!(report.impact.unwrap().cut.len(), 1);
        assert_eq!(daemon.asked(), "GET /v1/policy HTTP/1.1\nGET /v1/flows HTTP/1.1");
    }

    #[test]
    fn the_force_that_apply_asks_for_is_foreseen() {
        let web = r#"{"from": {"ends": ["any"]}, "to": {"ends": ["world"]}, "action": "allow",
            "services": ["tcp/443"]}"#;
        let policy = |rules: String| -> Policy { serde_json::from_str(&rules).unwrap() };
        let old = policy(r#"{"networks": {"blue": {"prefixes": ["10.1.0.0/24"]}}}"#.to_owned());
        let new = policy(format!(r#"{{"networks": {{}}, "rules": {{"the web": {web}}}}}"#));
        assert_eq!(plan(&old, &new, None).unwrap().force_needed_by.as_deref(), Some("the web"));
        assert_eq!(plan(&new, &old, None).unwrap().force_needed_by, None);
    }
}

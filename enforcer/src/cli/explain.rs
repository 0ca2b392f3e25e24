//! `enforcer explain`: may these two talk, and what decides?

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{Global, Outcome, Source, check};
use crate::{policy, render, report::ExplainReport, view};

/// Say whether SRC may talk to DST and back, what decides, and what a denial lacks
///
/// Exits with 0 when SRC may open everything that is asked to DST, with 1 when it may not. Without a SERVICE,
/// or with a range of ports, all of its packets must pass; where only some do, the answer is no, and the
/// reasons list what passes and what does not. Answers to what was opened pass; the way back is judged as if
/// DST opened the same to SRC.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer explain 10.1.0.5 10.9.0.7                     as the kernel decides now
  enforcer explain veth-web 10.9.0.7 tcp/5432            an endpoint's name instead of an address
  enforcer explain 10.1.0.5 10.9.0.7 --policy new.toml   as these files would; no root, no daemon")]
pub struct Arguments {
    /// Who would send: an address or a local endpoint's name
    src: String,
    /// Who would receive
    dst: String,
    /// Any service that a rule may name: tcp/5432, udp/8000-8999, ping, icmp/3, proto/47, …
    service: Option<String>,
    /// Ask these files instead of the kernel; may be given several times
    #[arg(long, value_name = "PATH")]
    policy: Vec<PathBuf>,
}

impl Arguments {
    /// Asks and shows.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let report = self.answer(global)?;
        let screen = global.screen();
        render::write_one(out, screen.format, &report, |out| render::write_explain(out, &report, &screen))?;
        Ok(outcome(&report))
    }

    fn answer(&self, global: &Global) -> anyhow::Result<ExplainReport> {
        let service = self.service.as_deref();
        if self.policy.is_empty() {
            return Source::new(global).explain(&self.src, &self.dst, service);
        }
        let policy = check::parse(&policy::read(&self.policy)?)?;
        view::explain_policy(&policy, &self.src, &self.dst, service)
    }
}

/// The way there decides; the way back is only told.
fn outcome(report: &ExplainReport) -> Outcome {
    if report.forward.verdict == "pass" { Outcome::Done } else { Outcome::Denied }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::fake_daemon::FakeDaemon, render::samples};

    #[test]
    fn the_daemon_is_asked_and_its_no_is_no_failure() {
        let daemon = FakeDaemon::answering("200 OK", serde_json::to_string(&samples::denied()).unwrap());
        let (outcome, text) = daemon.run("enforcer explain veth-web 10.9.0.7 tcp/5432").unwrap();
        assert_eq!(outcome, Outcome::Denied);
        assert!(text.starts_with("10.1.0.5 (blue) -> 10.9.0.7 (db): DENIED"), "{text}");
        let asked = "GET /v1/explain?src=veth-web&dst=10.9.0.7&service=tcp%2F5432 HTTP/1.1";
        assert_eq!(daemon.asked(), asked);
    }

    #[test]
    fn the_way_there_decides_the_exit_code() {
        let denied = samples::denied();
        assert_eq!(outcome(&denied), Outcome::Denied);
        let one_way = ExplainReport { forward: samples::allowed().forward, ..denied };
        assert_eq!(outcome(&one_way), Outcome::Done);
    }
}

//! `enforcer apply`: makes files the policy of this host, whole and at once.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Args;

use super::{Client, Global, Outcome, session, source::said_by_daemon};
use crate::{
    policy, render,
    report::{ApplyReport, ApplyRequest},
};

/// Make these files the policy of this host: all of it at once, or nothing on a mistake
///
/// Applying what is in force already changes nothing and says so. A change that moves addresses into the
/// world, out of every network and group, is refused while a rule names `world`: it would open them. So is a policy
/// without any network, group and rule, which denies everything. One that would cut the SSH session that it is
/// applied from is refused, too, unless it is on trial.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer apply /etc/enforcer/policy.toml /etc/enforcer/policy.d
  enforcer apply new.toml --confirm 60s      falls back by itself unless `enforcer confirm` follows
  enforcer apply new.toml --max-cut 0        not if it cuts a conversation that is going on
  generate-policy | enforcer apply -")]
pub struct Arguments {
    /// Files, directories (their *.toml files) or - for standard input; together they are one policy
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Apply even if addresses move into the world and a rule names it, the policy is empty, or the session that it comes
    /// from is cut
    #[arg(long)]
    force: bool,
    /// Fall back to the policy before after this time unless `enforcer confirm` comes: kept by the kernel
    /// itself, whoever dies
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    confirm: Option<Duration>,
    /// Refuse to cut more conversations than this, of those seen in the last five minutes
    #[arg(long, value_name = "N")]
    max_cut: Option<usize>,
}

impl Arguments {
    /// Sends the texts to the daemon, so that its mistakes can be shown where they are.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let request = ApplyRequest {
            sources: policy::read(&self.paths)?,
            force: self.force,
            confirm_seconds: self.confirm.map(|time| time.as_secs().max(1)),
            max_cut: self.max_cut,
            session: session::current(),
        };
        let client = Client::new(global.socket.clone());
        let report: ApplyReport = client.post("/v1/apply", &request).map_err(said_by_daemon)?;
        render::write_one(out, global.output, &report, |out| render::write_applied(out, &report))?;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        failure::{self, Refused},
        fake_daemon::FakeDaemon,
    };

    fn apply(daemon: &FakeDaemon) -> anyhow::Result<(Outcome, String)> {
        let policy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(policy.path(), "version = 1").unwrap();
        daemon.run(&format!("enforcer apply {}", policy.path().display()))
    }

    #[test]
    fn the_daemon_decides() {
        let daemon = FakeDaemon::answering(
            "200 OK",
            r#"{"unchanged":true,"generation":4,"digest":"1a","networks":1,"prefixes":9}"#,
        );
        let (outcome, text) = apply(&daemon).unwrap();
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(text, "unchanged: generation 4: 1 network, 9 entries, digest 1a\n");
        assert_eq!(daemon.asked(), "POST /v1/apply HTTP/1.1");
    }

    #[test]
    fn a_refusal_fails_in_its_own_words() {
        let daemon = FakeDaemon::answering("422 Unprocessable Entity", r#"{"error":"error: bad prefix"}"#);
        let error = apply(&daemon).unwrap_err();
        assert_eq!(error.downcast_ref::<Refused>().unwrap().0, "error: bad prefix");
        assert_eq!(failure::code(&error), failure::FAILED);
    }

    #[test]
    fn mistakes_before_the_daemon_is_asked_need_no_daemon() {
        let daemon = FakeDaemon::answering("200 OK", "");
        let error = daemon.run("enforcer apply /nonexistent.toml").unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent.toml does not exist");
    }
}

//! `enforcer apply`: makes files the policy of this host, whole and at once.

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{Client, Global, Outcome, source::said_by_daemon};
use crate::{
    policy, render,
    report::{ApplyReport, ApplyRequest},
};

/// Make these files the policy of this host: all of it at once, or nothing on a mistake
///
/// Applying what is in force already changes nothing and says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer apply /etc/enforcer/policy.toml /etc/enforcer/policy.d
  generate-policy | enforcer apply -")]
pub struct Arguments {
    /// Files, directories (their *.toml files) or - for standard input; together they are one policy
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Arguments {
    /// Sends the texts to the daemon, so that its mistakes can be shown where they are.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let request = ApplyRequest { sources: policy::read(&self.paths)? };
        let client = Client::new(global.socket.clone());
        let report: ApplyReport = client.post("/v1/apply", &request).map_err(said_by_daemon)?;
        render::write_one(out, global.output, &report, |out| render::write_applied(out, &report))?;
        Ok(Outcome::Done)
    }
}

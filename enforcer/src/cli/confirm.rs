//! `enforcer confirm`: what was applied with `--confirm` stays.

use std::io::Write;

use clap::Args;

use super::{Global, Outcome, source::order};
use crate::{daemon::control::report, render, report::ApplyReport};

/// Keep the policy that `apply --confirm` put in force
///
/// Without it the policy before decides again once the time is over. Works without a daemon, as root. A reload of
/// the daemon applies the policy files of the host file: put the same policy there, or it counts no longer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer apply new.toml --confirm 60s && check-my-services && enforcer confirm")]
pub struct Arguments {}

impl Arguments {
    /// Confirms.
    pub fn execute(global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let report: ApplyReport =
            order(global, "/v1/confirm", &(), |offline| Ok(report(offline.confirm()?)))?;
        render::write_one(out, global.output, &report, |out| render::write_confirmed(out, &report))?;
        Ok(Outcome::Done)
    }
}

//! `enforcer rollback`: back to an earlier policy.

use std::io::Write;

use clap::Args;

use super::{Global, Outcome, source::order};
use crate::{
    daemon::control::report,
    render,
    report::{ApplyReport, RollbackRequest},
};

/// Go back to the policy before, or to an earlier one
///
/// What `apply --confirm` put in force is taken back at once; else the earlier policy is applied as a new
/// generation. Works without a daemon, as root. A reload of the daemon applies the policy files of the host file
/// again: change them back, too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer rollback           to what decided before
  enforcer rollback 12        to one of those that `enforcer generations` lists")]
pub struct Arguments {
    /// The generation whose policy to go back to
    #[arg(value_name = "GENERATION")]
    to: Option<u64>,
}

impl Arguments {
    /// Goes back.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let request = RollbackRequest { to: self.to };
        let report: ApplyReport = order(global, "/v1/rollback", &request, |offline| {
            let outcome = offline.rollback(self.to)?;
            Ok(ApplyReport { mode: Some(offline.mode()?), ..report(outcome) })
        })?;
        render::write_one(out, global.output, &report, |out| render::write_rolled_back(out, &report))?;
        Ok(Outcome::Done)
    }
}

//! `enforcer drops`: why packets were dropped, and whose.

use std::io::Write;

use clap::Args;

use super::{Global, Outcome, Source};
use crate::render;

/// Show why packets were dropped: totals per reason, and the most recent denies of each endpoint
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer drops                 reasons that were counted
  enforcer drops -o wide         all reasons, passes too, and what each means")]
pub struct Arguments {}

impl Arguments {
    /// Asks and shows.
    pub fn execute(global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let drops = Source::new(global).drops()?;
        let screen = global.screen();
        render::write_one(out, screen.format, &drops, |out| render::write_drops(out, &drops, &screen))?;
        Ok(Outcome::Done)
    }
}

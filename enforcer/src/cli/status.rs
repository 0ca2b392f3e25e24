//! `enforcer status`: is everything all right?

use std::io::Write;

use clap::Args;

use super::{Global, Outcome, Source};
use crate::render;

/// Show the state of this host: daemon, policy, endpoints, totals, and warnings
#[derive(Debug, Args)]
pub struct Arguments {}

impl Arguments {
    /// Asks and shows.
    pub fn execute(global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let status = Source::new(global).status()?;
        let screen = global.screen();
        render::write_one(out, screen.format, &status, |out| render::write_status(out, &status, &screen))?;
        Ok(Outcome::Done)
    }
}

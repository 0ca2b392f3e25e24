//! `enforcer generations`: what decides, and what can be gone back to.

use std::io::Write;

use clap::Args;

use super::{Global, Outcome, Source};
use crate::render;

/// List the policies of this host, newest first: the one in force and those to go back to
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer generations
  enforcer rollback 12        back to the policy of generation 12")]
pub struct Arguments {}

impl Arguments {
    /// Asks and shows.
    pub fn execute(global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let (generations, screen) = (Source::new(global).generations()?, global.screen());
        render::write_list(out, screen.format, &generations, |out| {
            render::write_generations(out, &generations, &screen)
        })?;
        Ok(Outcome::Done)
    }
}

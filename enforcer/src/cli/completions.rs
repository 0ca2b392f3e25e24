//! `enforcer completions`: what a shell needs to complete our arguments.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer completions bash > /etc/bash_completion.d/enforcer
  enforcer completions zsh > /usr/share/zsh/site-functions/_enforcer
  enforcer completions fish > ~/.config/fish/completions/enforcer.fish")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    /// Prints the script.
    pub fn execute(&self, out: &mut impl Write) -> anyhow::Result<Outcome> {
        // By way of a buffer: the generator panics on a closed pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "enforcer", &mut script);
        out.write_all(&script)?;
        Ok(Outcome::Done)
    }
}

//! The `enforcer` command.

use std::process::ExitCode;

use clap::Parser;
use enforcer::cli::{Cli, failure};

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(outcome) => outcome.into(),
        Err(error) => failure::report(&error),
    }
}

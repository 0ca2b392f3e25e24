//! The command line: one verb per file, its arguments next to what it does.
//!
//! ```text
//! arguments ──▶ verb ──▶ source ──────────────▶ render ──▶ stdout
//!                        the daemon's socket,
//!                        or the pinned tables
//! ```
//!
//! Exit codes: 0 done, 1 failed or denied, 2 usage (clap's), 3 daemon not reachable.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::LazyLock,
    time::SystemTime,
};

use clap::{Args, Parser, Subcommand};
use enforcer_common::ABI_VERSION;

use crate::render::{Format, Screen};

mod adopt;
mod apply;
mod check;
mod clean;
pub mod client;
mod completions;
mod confirm;
mod drops;
mod endpoints;
mod explain;
pub mod failure;
#[cfg(test)]
mod fake_daemon;
mod flow_query;
mod flows;
mod generations;
mod log;
mod mode;
mod networks;
mod plan;
mod rollback;
mod rules;
mod run;
mod session;
mod source;
mod status;
mod test;
mod upgrade;

pub use client::{Client, ClientError};
pub use flow_query::{FlowQuery, Sort};
pub use source::Source;

const EXAMPLES: &str = "\
Examples:
  enforcer check /etc/enforcer/policy.d      is the policy right? no root, no daemon
  enforcer plan /etc/enforcer/policy.d       what would it change?
  enforcer apply /etc/enforcer/policy.d      make it the policy of this host, at once and whole
  enforcer explain 10.1.0.5 10.9.0.7         may they talk, and why (not)?
  enforcer flows --verdict drop --limit 20   who was denied most recently
  enforcer drops                             why packets were dropped
  enforcer status                            is everything all right?
  enforcer mode observe --for 15m            something is cut at 3 a.m.: nothing is dropped, all is counted

Exit codes: 0 done, 1 failed or denied, 2 wrong usage, 3 daemon not reachable";

/// What two versions have to agree on to take each other's tables over.
static LONG_VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{}\ntable layout {ABI_VERSION}", env!("CARGO_PKG_VERSION")));

/// Logical networks for container hosts, enforced per packet in the kernel.
///
/// Addresses that share a logical network may talk to each other, whatever subnets they are in;
/// everything else is denied.
#[derive(Debug, Parser)]
#[command(name = "enforcer", version, long_version = &**LONG_VERSION, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Control socket of the daemon
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "ENFORCER_SOCKET",
        default_value = "/run/enforcer/enforcer.sock"
    )]
    pub socket: PathBuf,
    /// Where the kernel's tables and programs are pinned
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENFORCER_BPFFS",
        default_value = "/sys/fs/bpf/enforcer"
    )]
    pub bpffs: PathBuf,
    /// Where the daemon keeps what must survive it: the policy and the ids of its networks and rules
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENFORCER_STATE_DIR",
        default_value = "/var/lib/enforcer"
    )]
    pub state_dir: PathBuf,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "ENFORCER_OUTPUT",
        default_value = "table"
    )]
    pub output: Format,
    /// Print tables without the line of column names
    #[arg(long, global = true)]
    pub no_headers: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Arguments),
    Adopt(adopt::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Apply(apply::Arguments),
    Confirm(confirm::Arguments),
    Rollback(rollback::Arguments),
    Generations(generations::Arguments),
    Mode(mode::Arguments),
    Status(status::Arguments),
    Networks(networks::Arguments),
    Rules(rules::Arguments),
    Endpoints(endpoints::Arguments),
    Flows(flows::Arguments),
    Drops(drops::Arguments),
    Explain(explain::Arguments),
    Test(test::Arguments),
    Upgrade(upgrade::Arguments),
    Clean(clean::Arguments),
    Completions(completions::Arguments),
}

/// How a verb ended that did what it was asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All is well.
    Done,
    /// The answer is no: denied, or not clean.
    Denied,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Denied => Self::from(failure::FAILED),
        }
    }
}

impl Cli {
    /// Does what the arguments say, printing to standard output.
    pub fn execute(self) -> anyhow::Result<Outcome> {
        let mut out = BufWriter::new(io::stdout().lock());
        let outcome = self.write(&mut out)?;
        out.flush()?;
        Ok(outcome)
    }

    fn write(self, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let global = &self.global;
        match self.verb {
            Verb::Run(run) => run.execute(global),
            Verb::Adopt(adopt) => adopt.execute(global, out),
            Verb::Check(check) => check.execute(global, out),
            Verb::Plan(plan) => plan.execute(global, out),
            Verb::Apply(apply) => apply.execute(global, out),
            Verb::Confirm(_) => confirm::Arguments::execute(global, out),
            Verb::Rollback(rollback) => rollback.execute(global, out),
            Verb::Generations(_) => generations::Arguments::execute(global, out),
            Verb::Mode(mode) => mode.execute(global, out),
            Verb::Status(_) => status::Arguments::execute(global, out),
            Verb::Networks(networks) => networks.execute(global, out),
            Verb::Rules(rules) => rules.execute(global, out),
            Verb::Endpoints(endpoints) => endpoints.execute(global, out),
            Verb::Flows(flows) => flows.execute(global, out),
            Verb::Drops(_) => drops::Arguments::execute(global, out),
            Verb::Explain(explain) => explain.execute(global, out),
            Verb::Test(test) => test.execute(global, out),
            Verb::Upgrade(upgrade) => upgrade.execute(global, out),
            Verb::Clean(clean) => clean.execute(global, out),
            Verb::Completions(completions) => completions.execute(out),
        }
    }
}

impl Global {
    /// The screen to print on at this moment.
    fn screen(&self) -> Screen {
        Screen {
            format: self.output,
            headers: !self.no_headers,
            colour: colourful(&io::stdout()),
            now: SystemTime::now(),
        }
    }
}

/// Colours are for terminals, and only for people who want them: <https://no-color.org>.
fn colourful(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_layout_of_tables_is_part_of_the_long_version() {
        let version = Cli::try_parse_from(["enforcer", "--version"]).unwrap_err().to_string();
        assert!(version.ends_with(&format!("\ntable layout {ABI_VERSION}\n")), "{version}");
        assert_eq!(Cli::try_parse_from(["enforcer", "-V"]).unwrap_err().to_string().lines().count(), 1);
    }

    #[test]
    fn every_verb_has_a_line_of_help() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{} has none", verb.get_name());
        }
    }

    #[test]
    fn options_of_every_command_may_follow_the_verb() {
        let cli = Cli::try_parse_from(["enforcer", "status", "-o", "json", "--socket", "/tmp/s"]).unwrap();
        assert_eq!(cli.global.output, Format::Json);
        assert_eq!(cli.global.socket, PathBuf::from("/tmp/s"));
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for line in ["enforcer nonsense", "enforcer check", "enforcer status -o xml", "enforcer explain a"] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        let help = Cli::try_parse_from(["enforcer", "--help"]).unwrap_err();
        assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
    }
}

//! `enforcer run`: the daemon, in the foreground.

use std::path::PathBuf;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{Global, Outcome};
use crate::daemon::{self, RunOptions};

/// Which messages are written: `ENFORCER_LOG=debug`, or per module as `tracing` filters do.
const LOG_FILTER: &str = "ENFORCER_LOG";

/// Run the daemon in the foreground: attach to the workloads' interfaces and keep them enforced
///
/// What it attaches and the policy it applies stay in force when it stops; `enforcer clean` removes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer run                         as systemd runs it
  enforcer run --once                  load and attach, then leave; the kernel goes on enforcing
  ENFORCER_LOG=debug enforcer run      tell more on standard error")]
pub struct Arguments {
    /// The host file: which interfaces are workloads, and whose addresses are declared
    #[arg(long, value_name = "FILE", default_value = "/etc/enforcer/enforcer.toml")]
    config: PathBuf,
    /// Load, attach and leave; the kernel goes on enforcing
    #[arg(long)]
    once: bool,
    /// Log every packet's way through the datapath; slow, for development
    #[arg(long)]
    trace_datapath: bool,
}

impl Arguments {
    /// Runs until told to stop.
    pub fn execute(self, global: &Global) -> anyhow::Result<Outcome> {
        start_logging();
        daemon::run(&RunOptions {
            config: self.config,
            socket: global.socket.clone(),
            bpffs: global.bpffs.clone(),
            state_dir: global.state_dir.clone(),
            once: self.once,
            trace_datapath: self.trace_datapath,
        })?;
        Ok(Outcome::Done)
    }
}

pub(super) fn start_logging() {
    let filter = EnvFilter::try_from_env(LOG_FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    // Somebody who embeds the command line may have a subscriber already; then that one stays.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(super::colourful(&std::io::stderr()))
            .try_init(),
    );
}

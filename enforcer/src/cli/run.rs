//! `enforcer run`: the daemon, in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::{
    Global, Outcome,
    log::{self, LogFormat},
};
use crate::{
    config::HostFile,
    daemon::{self, RunOptions},
};

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
    /// [default: /etc/enforcer/enforcer.toml, and the defaults of every setting where that does not exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Load, attach and leave; the kernel goes on enforcing
    #[arg(long)]
    once: bool,
    /// How to log on standard error; without it what systemd starts logs to its journal, all else as text
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Log every packet's way through the datapath; slow, for development
    #[arg(long)]
    trace_datapath: bool,
}

impl Arguments {
    /// Runs until told to stop.
    pub fn execute(self, global: &Global) -> anyhow::Result<Outcome> {
        log::start(self.log_format);
        daemon::run(&RunOptions {
            config: HostFile::new(self.config.as_deref()),
            socket: global.socket.clone(),
            bpffs: global.bpffs.clone(),
            state_dir: global.state_dir.clone(),
            once: self.once,
            trace_datapath: self.trace_datapath,
        })?;
        Ok(Outcome::Done)
    }
}

//! `enforcer upgrade`: from one version to another, and back, without losing a packet.

use std::{io::Write, path::PathBuf};

use clap::Args;
use enforcer_common::ABI_VERSION;
use serde::Serialize;

use super::{Global, Outcome, log};
use crate::{
    config::HostFile,
    daemon::{self, RunOptions},
    datapath::{pins::Pins, tables::Tables},
    render,
    view::Offline,
};

/// Replace what an earlier version left running by this version: tables first, then programs, one by one
///
/// Starting the daemon of this version does the same; this needs no daemon, and is for those that run with
/// less than root's capabilities. With --to the way back is prepared: then start that version.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  enforcer upgrade              this version takes over; no daemon may run meanwhile
  enforcer upgrade --to 3       prepare the tables for a version with table layout 3, then start it")]
pub struct Arguments {
    /// The host file
    /// [default: /etc/enforcer/enforcer.toml, and the defaults of every setting where that does not exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Make tables of this layout instead, for an earlier enforcer to take over; its `--version` tells which it has,
    /// and one that does not tell has 3
    #[arg(long, value_name = "LAYOUT", conflicts_with = "if_needed")]
    to: Option<u32>,
    /// Do nothing unless the tables are of another layout or kind; what the unit does before it starts the daemon
    #[arg(long)]
    if_needed: bool,
}

/// What was done.
#[derive(Serialize)]
struct Report {
    /// Layout version of the tables before; nothing on a fresh host.
    from: Option<u32>,
    /// And now.
    to: u32,
    /// Endpoints with this version's programs.
    endpoints: Option<u32>,
}

impl Arguments {
    /// Takes over, or prepares the way back.
    pub fn execute(&self, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
        let from = Pins::new(global.bpffs.clone()).versions()?.last().copied();
        let is_current = from.is_none_or(|from| from == ABI_VERSION && !self.wants_other_tables(global));
        let report = match self.to {
            None if self.if_needed && is_current => return Ok(Outcome::Done),
            Some(to) if to != ABI_VERSION => {
                daemon::downgrade(&global.bpffs, &global.socket, to)?;
                Report { from, to, endpoints: None }
            }
            _ => Report { from, to: ABI_VERSION, endpoints: Some(self.take_over(global)?) },
        };
        render::write_one(out, global.output, &report, |out| write_report(out, &report))?;
        Ok(Outcome::Done)
    }

    /// Whether the host file wants prefixes in tables of another kind than there are. Where it or they cannot be read,
    /// the daemon says why.
    fn wants_other_tables(&self, global: &Global) -> bool {
        let (Ok(config), Ok(tables)) = (
            HostFile::new(self.config.as_deref()).read(),
            Tables::open_pinned(&Pins::new(global.bpffs.clone())),
        ) else {
            return false;
        };
        tables.banks_without(config.datapath.sizes.tables).is_ok_and(|banks| !banks.is_empty())
    }

    fn take_over(&self, global: &Global) -> anyhow::Result<u32> {
        log::start(None);
        let once = RunOptions {
            config: HostFile::new(self.config.as_deref()),
            socket: global.socket.clone(),
            bpffs: global.bpffs.clone(),
            state_dir: global.state_dir.clone(),
            once: true,
            trace_datapath: false,
        };
        daemon::run(&once)?;
        let status = Offline::open(&global.bpffs, &global.state_dir)?.status()?;
        Ok(status.endpoints_ready + status.endpoints_quarantined)
    }
}

fn write_report(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let from = report.from.map_or_else(|| "none".to_owned(), |from| from.to_string());
    match report.endpoints {
        Some(endpoints) => writeln!(
            out,
            "table layout {from} -> {}: this version's programs run at {}",
            report.to,
            render::count(endpoints as usize, "endpoint")
        ),
        None => writeln!(out, "table layout {from} -> {}: now start the enforcer of that version", report.to),
    }
}

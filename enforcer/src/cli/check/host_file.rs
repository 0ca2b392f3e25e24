//! `enforcer check --config`: is this host file right?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use enforcer_common::mode::Mode;
use serde::Serialize;

use crate::{
    cli::{Global, Outcome},
    config::HostFile,
    render,
};

/// A host file that the daemon would take.
#[derive(Debug, Serialize)]
struct HostFileReport {
    /// The mode that it gives the host.
    mode: Mode,
    /// Policy files that it names.
    policy: Vec<PathBuf>,
    /// Tables `[[uplink]]`.
    uplinks: usize,
    /// Tables `[[endpoint]]`.
    endpoints: usize,
}

/// Reads it as the daemon does; tells what it found.
pub(super) fn check(path: &Path, global: &Global, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let config = HostFile::new(Some(path)).read()?;
    let report = HostFileReport {
        mode: config.mode,
        policy: config.policy,
        uplinks: config.uplinks.len(),
        endpoints: config.endpoints.len(),
    };
    render::write_one(out, global.output, &report, |out| write(out, &report))?;
    Ok(Outcome::Done)
}

fn write(out: &mut impl Write, report: &HostFileReport) -> io::Result<()> {
    let HostFileReport { mode, policy, uplinks, endpoints } = report;
    let policy: Vec<String> = policy.iter().map(|path| path.display().to_string()).collect();
    let policy = if policy.is_empty() { "no policy file".to_owned() } else { policy.join(" ") };
    let mode = mode.word();
    writeln!(out, "ok: mode {mode}, {uplinks} [[uplink]], {endpoints} [[endpoint]], policy: {policy}")
}

//! Stub: the daemon.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The host file.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The pins.
    pub bpffs: PathBuf,
    /// The persisted state.
    pub state_dir: PathBuf,
    /// Attach and leave.
    pub once: bool,
    /// Trace every packet.
    pub trace_datapath: bool,
}

/// Runs the daemon.
pub fn run(_options: RunOptions) -> anyhow::Result<()> {
    bail!("not there yet")
}

/// Removes everything.
pub fn clean(_bpffs: &Path, _state_dir: &Path, _socket: &Path) -> anyhow::Result<Vec<String>> {
    bail!("not there yet")
}

/// What is left.
pub fn clean_check(_bpffs: &Path, _state_dir: &Path, _socket: &Path) -> anyhow::Result<Vec<String>> {
    bail!("not there yet")
}

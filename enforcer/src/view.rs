//! Stub: the answers read from the pins and from files.

use std::path::Path;

use anyhow::bail;

use crate::{
    datapath::flows::Flow,
    policy::Policy,
    report::{Drops, EndpointReport, ExplainReport, NetworkReport, Status},
};

/// The kernel's tables, without a daemon.
pub struct Offline;

impl Offline {
    /// Opens the pinned tables.
    pub fn open(_bpffs: &Path, _state_dir: &Path) -> anyhow::Result<Self> {
        bail!("not there yet")
    }

    /// The state of the host.
    pub fn status(&self) -> anyhow::Result<Status> {
        bail!("not there yet")
    }

    /// The networks.
    pub fn networks(&self) -> anyhow::Result<Vec<NetworkReport>> {
        bail!("not there yet")
    }

    /// The endpoints.
    pub fn endpoints(&self) -> anyhow::Result<Vec<EndpointReport>> {
        bail!("not there yet")
    }

    /// The flows.
    pub fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        bail!("not there yet")
    }

    /// The drops.
    pub fn drops(&self) -> anyhow::Result<Drops> {
        bail!("not there yet")
    }

    /// Whether two ends may talk.
    pub fn explain(&self, _src: &str, _dst: &str, _service: Option<&str>) -> anyhow::Result<ExplainReport> {
        bail!("not there yet")
    }
}

/// The same from files alone.
pub fn explain_policy(
    _policy: &Policy,
    _src: &str,
    _dst: &str,
    _service: Option<&str>,
) -> anyhow::Result<ExplainReport> {
    bail!("not there yet")
}

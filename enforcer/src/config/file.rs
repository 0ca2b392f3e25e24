//! The host file as it is written.

use std::{path::PathBuf, time::Duration};

use enforcer_common::mode::Mode;
use serde::Deserialize;

use super::{
    Config, Mistake,
    attach::{AttachTable, GuardTable},
    datapath::DatapathTable,
    docker::DockerTable,
    endpoint::EndpointTable,
    host::HostTable,
    uplink::UplinkTable,
};

/// Who may use the control socket, besides root. Groups are named, or given by number.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Whose members may connect and read.
    pub group: String,
    /// Whose members may change things, too.
    pub admin_group: Option<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self { group: "enforcer".to_owned(), admin_group: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default = "default_policy")]
    policy: Vec<PathBuf>,
    #[serde(default = "default_inspection")]
    inspection: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    attach: AttachTable,
    #[serde(default)]
    guard: GuardTable,
    #[serde(default)]
    uplink: Vec<UplinkTable>,
    #[serde(default)]
    endpoint: Vec<EndpointTable>,
    #[serde(default)]
    host: HostTable,
    #[serde(default)]
    docker: DockerTable,
    #[serde(default)]
    control: Control,
    #[serde(default)]
    datapath: DatapathTable,
}

fn default_inspection() -> String {
    "30s".to_owned()
}

fn default_policy() -> Vec<PathBuf> {
    vec!["/etc/enforcer/policy.toml".into(), "/etc/enforcer/policy.d".into()]
}

impl File {
    pub(super) fn check(self) -> Result<Config, Mistake> {
        let attach = self.attach.without(self.uplink.iter().map(UplinkTable::pattern));
        Ok(Config {
            policy: self.policy,
            inspection: inspection(self.inspection)?,
            mode: self.mode,
            attach,
            guard: self.guard.into(),
            uplinks: self.uplink.into_iter().map(UplinkTable::check).collect::<Result<_, _>>()?,
            endpoints: self.endpoint.into_iter().map(EndpointTable::check).collect::<Result<_, _>>()?,
            host: self.host.check()?,
            docker: self.docker.check()?,
            control: self.control,
            datapath: self.datapath.check()?,
        })
    }
}

fn inspection(text: String) -> Result<Duration, Mistake> {
    let period = humantime::parse_duration(&text).ok().filter(|period| *period >= Duration::from_millis(100));
    period.ok_or_else(|| {
        Mistake::new("inspection", text, "write a duration of at least 100ms, such as \"30s\"")
    })
}

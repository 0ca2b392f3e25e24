//! What the command line asks of the daemon, and what came of a policy that was ordered.

use std::{net::IpAddr, path::PathBuf};

use enforcer_common::mode::Mode;
use serde::{Deserialize, Serialize};

use crate::policy::Source;

/// What `rollback` sends.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// The generation to go back to; the one before by default.
    #[serde(default)]
    pub to: Option<u64>,
}

/// What `mode` sends.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ModeRequest {
    /// The mode; `None` takes an earlier order back.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Of which endpoint; `None` means the whole host.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// For how many seconds; `None` until the next order.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// What `endpoints forget` sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// The endpoint.
    pub endpoint: String,
}

/// A TCP connection, by its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Who opened it.
    pub client: IpAddr,
    /// From which port.
    pub client_port: u16,
    /// To whom.
    pub server: IpAddr,
    /// To which port.
    pub server_port: u16,
}

/// What `apply` sends: the text of the policy files, so that diagnostics can show their lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The files.
    pub sources: Vec<Source>,
    /// Apply even if addresses move into the world and a rule names it, or the policy is empty.
    #[serde(default)]
    pub force: bool,
    /// Go back to the policy before unless this one is confirmed within so many seconds.
    #[serde(default)]
    pub confirm_seconds: Option<u64>,
    /// The session that the order comes from: refuse to cut it.
    #[serde(default)]
    pub session: Option<Session>,
    /// Refuse to cut more conversations than this that were seen lately.
    #[serde(default)]
    pub max_cut: Option<usize>,
}

/// What `apply`, `confirm` or `rollback` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApplyReport {
    /// The policy was the active one already.
    pub unchanged: bool,
    /// The deciding generation.
    pub generation: u64,
    /// Its digest in hex.
    pub digest: String,
    /// Its networks.
    pub networks: u32,
    /// Its membership entries.
    pub prefixes: u32,
    /// Seconds until it ends by itself, unless it is confirmed.
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// How seriously verdicts are taken, after `confirm` and `rollback`; where nobody looked it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// After `confirm` and `rollback`: the files that a reload applies, whatever decides until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reload_applies: Vec<PathBuf>,
}

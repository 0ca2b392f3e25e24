//! How seriously verdicts are taken.

use enforcer_common::mode::Mode;
use serde::{Deserialize, Serialize};

/// The mode of the host or of an endpoint at this moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ModeState {
    /// The mode.
    pub mode: Mode,
    /// Who says so: `ordered`, `host file`, or `host` for an endpoint of which nothing is said itself.
    pub by: String,
    /// Seconds until the order ends.
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// The mode after that.
    #[serde(default)]
    pub then: Option<Mode>,
}

/// What to add where it is said that something is denied.
pub const fn remark(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "",
        Mode::Audit => " (mode audit: counted, not dropped)",
        Mode::Observe => " (mode observe: counted, not dropped)",
    }
}

/// An endpoint whose mode is another than the host's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndpointMode {
    /// Name of its host-side interface.
    pub endpoint: String,
    /// Its mode.
    #[serde(flatten)]
    pub state: ModeState,
}

/// The modes in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ModesReport {
    /// The host's.
    pub host: ModeState,
    /// Those of endpoints that differ.
    pub endpoints: Vec<EndpointMode>,
}

/// What `endpoints forget` did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ForgetReport {
    /// The endpoint.
    pub endpoint: String,
    /// Learned addresses that it owns no more, until they are learned anew.
    pub addresses: Vec<String>,
    /// The MAC that it had.
    pub mac: Option<String>,
}

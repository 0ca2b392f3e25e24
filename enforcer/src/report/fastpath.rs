//! Which packets between workloads pass the host's stack by, and why others do not.

use serde::{Deserialize, Serialize};

use crate::shortcut::{Barrier, Kinds};

/// Of the host as a whole. Field names are a contract with scripts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FastpathReport {
    /// Kinds of packets that may.
    pub kinds: Kinds,
    /// Why others may not, wherever they are from.
    pub barriers: Vec<Barrier>,
    /// Endpoints of which all those kinds may be taken.
    pub endpoints: u32,
    /// Those where something else is in the way.
    pub barred: Vec<Barred>,
    /// Interfaces that lead outside, to and from which all those kinds may be taken.
    #[serde(default)]
    pub uplinks: u32,
    /// Those where something else is in the way.
    #[serde(default)]
    pub barred_uplinks: Vec<Barred>,
}

/// An endpoint, or an interface that leads outside, of which some packets have to go by the stack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Barred {
    /// Name of its interface.
    pub endpoint: String,
    /// Why.
    pub barriers: Vec<Barrier>,
}

//! Which interfaces are workloads', and where the early guard runs.

use serde::Deserialize;
use wildmatch::WildMatch;

use super::{any, patterns};

/// Which interfaces are workloads'.
#[derive(Clone, Debug)]
pub struct Attach {
    include: Vec<WildMatch>,
    exclude: Vec<WildMatch>,
    /// What happens at a workload whose address is not known.
    pub unknown: Unknown,
}

impl Attach {
    /// Whether the host-side interface `name` belongs to a workload.
    pub fn wants(&self, name: &str) -> bool {
        any(&self.include, name) && !any(&self.exclude, name)
    }

    /// Whether an interface is meant to be left alone.
    pub fn excludes(&self, name: &str) -> bool {
        any(&self.exclude, name)
    }

    /// The patterns of `match`.
    pub fn included(&self) -> impl Iterator<Item = String> {
        self.include.iter().map(WildMatch::pattern)
    }

    /// The patterns of `exclude`, and those of uplinks.
    pub fn excluded(&self) -> impl Iterator<Item = String> {
        self.exclude.iter().map(WildMatch::pattern)
    }
}

/// Where the early guard runs: at an endpoint's veth it judges what the endpoint sends, any other
/// interface is an uplink.
#[derive(Clone, Debug)]
pub struct Guard {
    include: Vec<WildMatch>,
}

impl Guard {
    /// Whether the guard is to run on the interface `name`.
    pub fn wants(&self, name: &str) -> bool {
        any(&self.include, name)
    }
}

/// What happens at a workload whose address is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Attach at once: nothing passes until the address is known.
    #[default]
    Quarantine,
    /// Leave the interface alone until the address is known.
    Ignore,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AttachTable {
    #[serde(rename = "match")]
    include: Vec<String>,
    exclude: Vec<String>,
    unknown: Unknown,
}

impl Default for AttachTable {
    fn default() -> Self {
        let include = ["veth*", "ve-*", "cali*"].map(str::to_owned).to_vec();
        Self { include, exclude: Vec::new(), unknown: Unknown::default() }
    }
}

impl AttachTable {
    /// What leads outside is no workload's, so the patterns of uplinks are excluded.
    pub(super) fn without<'a>(self, uplinks: impl Iterator<Item = &'a str>) -> Attach {
        let exclude = patterns(&self.exclude).into_iter().chain(uplinks.map(WildMatch::new));
        Attach { include: patterns(&self.include), exclude: exclude.collect(), unknown: self.unknown }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardTable {
    #[serde(rename = "match")]
    include: Vec<String>,
}

impl From<GuardTable> for Guard {
    fn from(table: GuardTable) -> Self {
        Self { include: patterns(&table.include) }
    }
}

//! Interfaces that lead outside.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::Mistake;

/// What is said of interfaces that lead outside. Whatever it matches is no workload's.
#[derive(Clone, Debug)]
pub struct Uplink {
    name: WildMatch,
    /// How far what comes from there is trusted.
    pub trust: Trust,
}

impl Uplink {
    /// Whether this is about the interface `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.matches(name)
    }
}

/// How far what comes from outside is trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Members of networks may be there, on other hosts.
    #[default]
    Fabric,
    /// Nobody there is a member of a network, whatever address he bears.
    External,
}

impl Trust {
    /// Its word in the host file and in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fabric => "fabric",
            Self::External => "external",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UplinkTable {
    #[serde(rename = "match")]
    name: String,
    #[serde(default)]
    trust: Trust,
}

impl UplinkTable {
    pub(super) fn pattern(&self) -> &str {
        &self.name
    }

    pub(super) fn check(self) -> Result<Uplink, Mistake> {
        if self.name.is_empty() {
            return Err(Mistake::new("uplink.match", "", "write the name of an interface, with * and ?"));
        }
        Ok(Uplink { name: WildMatch::new(&self.name), trust: self.trust })
    }
}

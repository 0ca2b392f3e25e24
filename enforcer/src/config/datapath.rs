//! How the datapath works.

use enforcer_common::limits::{MAX_NETWORKS, MAX_RULES};
use serde::Deserialize;

use super::Mistake;
use crate::datapath::{
    attach::Mechanism,
    load::DEFAULT_MARK_MASK,
    sizes::{Sizes, TableKind},
};

/// How the datapath works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatapathConfig {
    /// Bits of the packet mark that carry stamps.
    pub mark_mask: u32,
    /// How programs are attached; the best way where it is not given.
    pub attach: Mechanism,
    /// Whether packets between workloads may pass the host's stack by.
    pub fastpath: Fastpath,
    /// How large its tables are.
    pub sizes: Sizes,
}

/// Whether packets between workloads may pass the host's stack by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fastpath {
    /// Where nothing there could make a difference.
    #[default]
    Auto,
    /// Never.
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatapathTable {
    mark_mask: Option<String>,
    attach: AttachWith,
    fastpath: Fastpath,
    tables: TableKind,
    flows: Option<u32>,
    denied: Option<u32>,
    conversations: Option<u32>,
    networks: Option<u32>,
    rules: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AttachWith {
    #[default]
    Auto,
    Clsact,
}

impl DatapathTable {
    pub(super) fn check(self) -> Result<DatapathConfig, Mistake> {
        let sizes = self.sizes()?;
        let mark_mask = match self.mark_mask {
            None => DEFAULT_MARK_MASK,
            Some(text) => {
                let digits = text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let fix = "write a hexadecimal number such as \"0x0ff00000\"";
                digits.ok_or_else(|| Mistake::new("datapath.mark_mask", text, fix))?
            }
        };
        let attach = match self.attach {
            AttachWith::Auto => Mechanism::best(),
            AttachWith::Clsact => Mechanism::Clsact,
        };
        Ok(DatapathConfig { mark_mask, attach, fastpath: self.fastpath, sizes })
    }

    fn sizes(&self) -> Result<Sizes, Mistake> {
        let default = Sizes::default();
        Ok(Sizes {
            tables: self.tables,
            flows: size("datapath.flows", self.flows, default.flows, MOST_ENTRIES)?,
            denied: size("datapath.denied", self.denied, default.denied, MOST_ENTRIES)?,
            conversations: size(
                "datapath.conversations",
                self.conversations,
                default.conversations,
                MOST_ENTRIES,
            )?,
            networks: size("datapath.networks", self.networks, default.networks, MAX_NETWORKS)?,
            rules: size("datapath.rules", self.rules, default.rules, MAX_RULES)?,
        })
    }
}

/// A gigabyte of conversations, as much of IPv4 flows, and half as much again of IPv6 flows; of flows twice that, where each
/// processor's part is rounded up to a power of two. Kernel 5.10 takes no table of 4 GiB.
const MOST_ENTRIES: u32 = 1 << 24;

fn size(key: &'static str, given: Option<u32>, default: u32, most: u32) -> Result<u32, Mistake> {
    match given {
        None => Ok(default),
        Some(size) if (1..=most).contains(&size) => Ok(size),
        Some(size) => Err(Mistake::new(key, size.to_string(), format!("write a number from 1 to {most}"))),
    }
}

//! How the datapath works.

use serde::Deserialize;

use super::Mistake;
use crate::datapath::{attach::Mechanism, load::DEFAULT_MARK_MASK};

/// How the datapath works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatapathConfig {
    /// Bits of the packet mark that carry stamps.
    pub mark_mask: u32,
    /// How programs are attached; the best way where it is not given.
    pub attach: Mechanism,
    /// Whether packets between workloads may pass the host's stack by.
    pub fastpath: Fastpath,
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
        Ok(DatapathConfig { mark_mask, attach, fastpath: self.fastpath })
    }
}

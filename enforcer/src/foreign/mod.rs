//! What others have put on a workload's way: rules of netfilter that drop what passed our programs, or hide
//! by NAT who sent it. Nothing here changes any of them.
//!
//! [`nft`] and [`legacy`] read the two listings that a host can have into the same [`Table`]s, [`walk`] follows
//! the chains from their hooks, [`read`] runs the programs.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub mod legacy;
pub mod nft;
pub mod read;
pub mod walk;

pub use read::Watch;

/// All that was found, and what could not be looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// What is in a workload's way.
    pub rules: Vec<Finding>,
    /// What was not seen, and why; for people.
    pub unseen: Vec<String>,
}

/// A rule, or the policy of a chain, that may get in a workload's way. Field names are a contract with scripts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// `ip`, `ip6`, `inet`, `bridge` or `netdev`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that it stands in.
    pub chain: String,
    /// The hook from which packets come to it.
    pub hook: String,
    /// Its handle; the policy of a chain has none, nor have rules of iptables-legacy.
    pub handle: Option<u64>,
    /// What becomes of packets.
    pub effect: Effect,
    /// What it says.
    pub text: String,
    /// Packets that it met, where it counts.
    pub packets: Option<u64>,
}

/// What becomes of packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// They go nowhere.
    Drops,
    /// They get another source: their receiver does not see who sent them.
    HidesSender,
    /// They get another destination.
    Redirects,
    /// An extension that `nft` does not name decides.
    Unknown,
}

impl Effect {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Drops => "drops",
            Self::HidesSender => "hides who sends (NAT)",
            Self::Redirects => "changes who receives (NAT)",
            Self::Unknown => "does what nft cannot tell",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, hook, text, .. } = self;
        write!(out, "{family} {table} {chain}")?;
        if let Some(handle) = self.handle {
            write!(out, " handle {handle}")?;
        }
        write!(out, " ({hook}) {}", self.effect.words())?;
        match self.packets {
            Some(1) => write!(out, ", 1 packet")?,
            Some(packets) => write!(out, ", {packets} packets")?,
            None => {}
        }
        write!(out, ": {text}")
    }
}

/// A table of either listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    family: String,
    name: String,
    chains: BTreeMap<String, Chain>,
}

/// A chain, and where packets come to it by themselves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Chain {
    hook: Option<String>,
    /// Whether what no rule decides is dropped.
    drops: bool,
    packets: Option<u64>,
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Rule {
    handle: Option<u64>,
    packets: Option<u64>,
    text: String,
    does: Vec<Does>,
}

/// What a rule may do with a packet, as far as it concerns us.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Does {
    Affects(Effect),
    /// It hands it to another chain.
    Sends(String),
}

impl Does {
    /// By the name of a target of iptables; whether it ends in another chain is known to the caller.
    fn target(name: &str) -> Option<Self> {
        let effect = match name {
            "DROP" | "REJECT" | "TARPIT" => Effect::Drops,
            "MASQUERADE" | "SNAT" => Effect::HidesSender,
            "DNAT" | "REDIRECT" | "TPROXY" => Effect::Redirects,
            // Both directions, by the hook.
            "NETMAP" => Effect::Unknown,
            _ => return None,
        };
        Some(Self::Affects(effect))
    }
}

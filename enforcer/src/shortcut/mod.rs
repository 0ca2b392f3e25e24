//! Where packets may go straight from one workload's interface into another's, or to the outside and back, and why not:
//! what stands on the way that they would take otherwise, and would miss them.
//!
//! [`netfilter`], [`ipsec`], [`queues`] and [`taps`] ask the kernel for it; what is to be seen of the interfaces
//! themselves comes with each look at the host ([`crate::daemon::links`]). [`Changes`] says when to ask again at once. What
//! follows is for [`crate::daemon::shortcuts`] to decide. What cannot be seen counts as being there.

use std::fmt;

use enforcer_common::shortcut::Shortcut;
use serde::{Deserialize, Serialize};

mod changes;
pub mod ipsec;
pub mod netfilter;
pub mod queues;
pub mod taps;
mod watch;

pub use changes::Changes;
pub use watch::{Surroundings, Watch};

/// Kinds of shortcuts, as bits of [`Shortcut::flags`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Vec<String>", from = "Vec<String>")]
pub struct Kinds(pub u32);

impl Kinds {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// IPv4 where the host routes.
    pub const ROUTED_V4: Self = Self(Shortcut::ROUTED_V4);
    /// IPv6 where the host routes.
    pub const ROUTED_V6: Self = Self(Shortcut::ROUTED_V6);
    /// Wherever the host routes.
    pub const ROUTED: Self = Self(Shortcut::ROUTED_V4 | Shortcut::ROUTED_V6);
    /// Within a bridge.
    pub const BRIDGED: Self = Self(Shortcut::BRIDGED);
    /// All of them.
    pub const ALL: Self = Self(Self::ROUTED.0 | Self::BRIDGED.0);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those.
    #[must_use]
    pub const fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Names of the kinds one by one, as scripts know them.
const NAMES: [(Kinds, &str); 3] =
    [(Kinds::ROUTED_V4, "routed-v4"), (Kinds::ROUTED_V6, "routed-v6"), (Kinds::BRIDGED, "bridged")];

impl From<Kinds> for Vec<String> {
    fn from(kinds: Kinds) -> Self {
        let named = NAMES.iter().filter(|(kind, _)| kinds.0 & kind.0 != 0);
        named.map(|(_, name)| (*name).to_owned()).collect()
    }
}

/// Names of another version's kinds mean nothing here.
impl From<Vec<String>> for Kinds {
    fn from(names: Vec<String>) -> Self {
        let known = NAMES.iter().filter(|(_, name)| names.iter().any(|given| given == name));
        known.fold(Self::NONE, |kinds, (kind, _)| kinds.and(*kind))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match *self {
            Self::NONE => "none",
            Self::ROUTED_V4 => "routed IPv4",
            Self::ROUTED_V6 => "routed IPv6",
            Self::ROUTED => "routed",
            Self::BRIDGED => "bridged",
            Self::ALL => "all",
            kinds if kinds == Self::ROUTED_V4.and(Self::BRIDGED) => "bridged and routed IPv4",
            _ => "bridged and routed IPv6",
        })
    }
}

/// Something that packets have to meet. Field names are a contract with scripts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Barrier {
    /// The shortcuts that would pass it by.
    pub blocks: Kinds,
    /// What it is, for people.
    pub what: String,
}

impl Barrier {
    /// Something that these shortcuts would pass by.
    pub fn new(blocks: Kinds, what: impl Into<String>) -> Self {
        Self { blocks, what: what.into() }
    }

    /// The same at a bridge, which only what is routed comes past.
    #[must_use]
    pub fn of_bridge(&self) -> Self {
        Self::new(Kinds(self.blocks.0 & Kinds::ROUTED.0), format!("at its bridge: {}", self.what))
    }

    /// What could not be looked at may be there.
    fn unseen(what: &str, error: &std::io::Error) -> Self {
        Self::new(Kinds::ALL, format!("{what} cannot be looked at: {error}"))
    }
}

/// The kinds that no barrier blocks.
pub fn open<'b>(barriers: impl IntoIterator<Item = &'b Barrier>) -> Kinds {
    barriers.into_iter().fold(Kinds::ALL, |kinds, barrier| kinds.but(barrier.blocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_barrier_blocks_is_open() {
        let nat = Barrier::new(Kinds::ROUTED_V4, "nat");
        let vlan = Barrier::new(Kinds::BRIDGED, "vlans");
        assert_eq!(open([]), Kinds::ALL);
        assert_eq!(open([&nat]), Kinds::ROUTED_V6.and(Kinds::BRIDGED));
        assert_eq!(open([&nat, &vlan]), Kinds::ROUTED_V6);
        assert_eq!(open([&nat, &vlan, &Barrier::new(Kinds::ALL, "x")]), Kinds::NONE);
    }

    #[test]
    fn every_kind_has_a_name() {
        let names: std::collections::BTreeSet<String> = (0..8).map(|bits| Kinds(bits).to_string()).collect();
        assert_eq!(names.len(), 8, "{names:?}");
    }
}

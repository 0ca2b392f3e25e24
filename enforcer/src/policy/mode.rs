//! How seriously a network or a rule is meant: for what is new and to be watched first.
//!
//! On the policy's way: part of the model.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What becomes of packets that a network or a rule would stop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are dropped.
    #[default]
    Enforce,
    /// They go on, counted.
    Audit,
}

/// Why a text is no mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a mode is `audit` or `enforce`")]
pub struct ModeError;

impl Mode {
    /// Its word in files and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }

    // What is not written is not part of the canonical form: older policies keep their digests.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(super) const fn is_enforce(&self) -> bool {
        matches!(self, Self::Enforce)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        [Self::Enforce, Self::Audit].into_iter().find(|mode| mode.word() == text).ok_or(ModeError)
    }
}

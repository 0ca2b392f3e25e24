//! The gate, as the daemon knows it: wanted or not, and what was installed.

use std::error::Error;

use tracing::{info, warn};

use crate::{
    config::{Config, Unknown},
    datapath::{
        gate::{self, Listing, Ruleset},
        nft::NftError,
    },
    report::GateReport,
};

/// What was made of the gate when the daemon started.
#[derive(Clone, Debug)]
pub enum Gate {
    /// It was installed.
    Installed {
        /// What it looks like.
        listing: Listing,
        /// Patterns of the host file that it does not say, or not exactly.
        inexact: Vec<String>,
    },
    /// Nobody wants it.
    Unwanted,
    /// It is open while the host only observes.
    Observing {
        /// Why it could not be opened.
        refused: Option<String>,
    },
    /// It could not be installed.
    Refused(String),
}

impl Gate {
    /// Installs the gate that the host file asks for, or removes it. To be called when everything that can
    /// be attached to is: what is not is closed by it.
    pub fn establish(config: &Config) -> Self {
        let ruleset = Ruleset::new(&config.attach, config.datapath.mark_mask);
        let outcome = match config.attach.unknown {
            Unknown::Quarantine => ruleset.install().map(Some),
            Unknown::Ignore => gate::remove().map(|_| None),
        };
        match outcome {
            Ok(Some(listing)) => {
                info!("the gate holds new workloads back until they are enforced");
                Self::Installed { listing, inexact: ruleset.inexact }
            }
            Ok(None) => Self::Unwanted,
            Err(error) => {
                warn!(
                    error = &error as &dyn Error,
                    "no gate: the first packets of new workloads pass freely"
                );
                Self::Refused(format!("{:#}", anyhow::Error::from(error)))
            }
        }
    }

    /// Opens it: a host that observes drops nothing.
    pub fn observe() -> Self {
        match gate::remove() {
            Ok(was_closed) => {
                if was_closed {
                    info!("the host observes: the gate is open");
                }
                Self::Observing { refused: None }
            }
            // Without the program there was never a gate.
            Err(NftError::Missing) => Self::Observing { refused: None },
            Err(error) => {
                warn!(error = &error as &dyn Error, "the host observes, but the gate cannot be opened");
                Self::Observing { refused: Some(format!("{:#}", anyhow::Error::from(error))) }
            }
        }
    }

    /// Whether what was installed is still there; what was never to be installed is.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Installed { listing, .. } => {
                gate::installed().is_ok_and(|found| found.as_ref() == Some(listing))
            }
            Self::Unwanted => true,
            Self::Observing { refused } => refused.is_none(),
            // What did not work may work now.
            Self::Refused(_) => false,
        }
    }

    /// How it is now; others may have changed it since.
    pub fn report(&self) -> GateReport {
        let listing = match self {
            Self::Installed { listing, .. } => listing,
            Self::Unwanted => return GateReport::off("`attach.unknown` is \"ignore\""),
            Self::Observing { refused: None } => return GateReport::off("the host observes"),
            Self::Observing { refused: Some(_) } => return GateReport::On,
            Self::Refused(why) => return GateReport::off(why),
        };
        match gate::installed() {
            Ok(Some(found)) if found == *listing => GateReport::On,
            Ok(_) => GateReport::off("somebody removed or changed its rules; the next inspection mends them"),
            Err(error) => GateReport::off(format!("{:#}", anyhow::Error::from(error))),
        }
    }

    /// What becomes of a workload that cannot be attached to.
    pub const fn consequence(&self) -> &'static str {
        match self {
            Self::Installed { .. } => "the gate stops what it sends, what it gets is not enforced",
            Self::Unwanted | Self::Observing { .. } | Self::Refused(_) => "it is not enforced",
        }
    }

    /// What somebody should look at.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Installed { inexact, .. } => inexact.iter().map(|pattern| unsayable(pattern)).collect(),
            Self::Unwanted | Self::Observing { refused: None } => Vec::new(),
            Self::Observing { refused: Some(why) } => vec![format!("the gate cannot be opened: {why}")],
            Self::Refused(why) => {
                vec![format!("the first packets of new workloads are not held back: {why}")]
            }
        }
    }
}

fn unsayable(pattern: &str) -> String {
    format!(
        "the gate cannot tell interfaces by {pattern:?} of [attach], only by a name or its beginning: first \
         packets of new workloads there are not held back"
    )
}

//! The guide to a first day: from what was seen on a host to a policy that would have let it pass, and what to type
//! next. Pure; whoever asks brings what the host tells.
//!
//! ```text
//! flows ──▶ seen (conversations) ──▶ draft (networks, rules) ──▶ text (TOML)
//! status, mode ────────────────────────────────────────────────▶ steps
//! ```

use enforcer_common::mode::Mode;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    datapath::flows::Flow,
    foreign::Finding,
    policy::Policy,
    report::{EndpointReport, Status},
    unenforced::Unenforced,
};

mod draft;
mod files;
mod seen;
mod steps;
#[cfg(test)]
mod tests;
mod text;

pub use self::files::Files;
use self::seen::Seen;

/// What a host tells.
pub struct Host {
    /// Its state.
    pub status: Status,
    /// Its workloads.
    pub endpoints: Vec<EndpointReport>,
    /// What was seen.
    pub flows: Vec<Flow>,
    /// The policy in force; empty before the first one.
    pub policy: Policy,
    /// Subnets that interfaces of the host are in.
    pub subnets: Vec<IpNet>,
    /// The files of its policy.
    pub files: Files,
}

/// What the guide says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Advice {
    /// How seriously verdicts are taken.
    pub mode: Mode,
    /// Whether a policy decides.
    pub has_policy: bool,
    /// Workloads that are enforced.
    pub attached: Vec<String>,
    /// Workloads without a known address.
    pub quarantined: Vec<String>,
    /// Workloads that nothing is enforced for.
    pub unenforced: Vec<Unenforced>,
    /// Rules of others in the way.
    pub foreign: Vec<Finding>,
    /// What the policy in force does not let pass, most packets first.
    pub denied: Vec<Denied>,
    /// A policy, or what to add to the one in force, that lets it pass; TOML.
    pub draft: Option<String>,
    /// What to do next, in order.
    pub next: Vec<Step>,
}

/// Conversations between two parties about one thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Denied {
    /// Who opens: an endpoint, `host`, or an address.
    pub src: String,
    /// To whom.
    pub dst: String,
    /// What, as a rule writes it.
    pub service: String,
    /// Why it is denied.
    pub reason: String,
    /// Conversations.
    pub conversations: usize,
    /// Their packets.
    pub packets: u64,
    /// Whether the draft lets it pass.
    pub drafted: bool,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Why.
    pub why: String,
    /// What to type; nothing where there is something to think about.
    pub command: Option<String>,
}

/// What to make of a host.
pub fn advise(host: &Host) -> Advice {
    let seen = Seen::new(host);
    let has_policy = host.status.generation > 0;
    let draft = draft::draft(&seen, host, has_policy);
    let mut denied = seen.denied();
    for row in &mut denied {
        row.drafted = draft.as_ref().is_some_and(|draft| draft.covers(&row.src, &row.dst, &row.service));
    }
    let names = |state: &str| {
        let of_state = host.endpoints.iter().filter(|endpoint| endpoint.state == state);
        of_state.map(|endpoint| endpoint.name.clone()).collect::<Vec<_>>()
    };
    let mut advice = Advice {
        mode: host.status.mode.mode,
        has_policy,
        attached: names("ready"),
        quarantined: names("quarantined"),
        unenforced: host.status.unenforced.clone(),
        foreign: host.status.foreign.clone(),
        denied,
        draft: draft.map(|draft| text::write(&draft, seen.conversations.len(), has_policy)),
        next: Vec::new(),
    };
    advice.next = steps::steps(&advice, &host.status, &host.files);
    advice
}

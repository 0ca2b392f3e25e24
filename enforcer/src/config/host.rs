//! The host as an end of conversations: what workloads may ask of it, what it may ask of them, and what
//! stays open whatever the policy says.

use enforcer_common::host::{HOST_ALLOW, HostEnd};
use serde::Deserialize;

use super::Mistake;
use crate::{host_end, policy::service::Service};

/// The host as an end of conversations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// What workloads may ask of it without a rule.
    pub allow: Vec<Service>,
    /// What it may ask of workloads.
    pub to_workloads: ToWorkloads,
    /// What stays open from outside, whatever address somebody there bears.
    pub failsafe: Vec<Service>,
    end: HostEnd,
}

impl Host {
    /// The same for the kernel.
    pub const fn end(&self) -> &HostEnd {
        &self.end
    }
}

/// What the host may ask of workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToWorkloads {
    /// Everything that no rule denies: health checks work.
    #[default]
    Open,
    /// What a rule allows, and answers.
    Rules,
}

/// What a workload may ask of the host beyond `allow`. There is no other way yet; it is written so that the
/// file says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FromWorkloads {
    #[default]
    Rules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HostTable {
    from_workloads: FromWorkloads,
    allow: Vec<String>,
    to_workloads: ToWorkloads,
    failsafe: Vec<String>,
}

impl Default for HostTable {
    fn default() -> Self {
        Self {
            from_workloads: FromWorkloads::default(),
            allow: HOST_ALLOW.split(", ").map(str::to_owned).collect(),
            to_workloads: ToWorkloads::default(),
            failsafe: vec!["tcp/22".to_owned()],
        }
    }
}

impl HostTable {
    pub(super) fn check(self) -> Result<Host, Mistake> {
        let FromWorkloads::Rules = self.from_workloads;
        let allow = services("host.allow", &self.allow)?;
        let failsafe = services("host.failsafe", &self.failsafe)?;
        let ranges = |key, services: &[Service]| {
            host_end::ranges(services).map_err(|error| Mistake::new(key, texts(services), error.to_string()))
        };
        let flags = match self.to_workloads {
            ToWorkloads::Open => 0,
            ToWorkloads::Rules => HostEnd::ASKS_BY_RULES,
        };
        let end = HostEnd {
            allow: ranges("host.allow", &allow)?,
            failsafe: ranges("host.failsafe", &failsafe)?,
            flags,
        };
        Ok(Host { allow, to_workloads: self.to_workloads, failsafe, end })
    }
}

fn services(key: &'static str, texts: &[String]) -> Result<Vec<Service>, Mistake> {
    let parse = |text: &String| text.parse().map_err(|error| Mistake::new(key, text, format!("{error}")));
    texts.iter().map(parse).collect()
}

fn texts(services: &[Service]) -> String {
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

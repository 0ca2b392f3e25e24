//! What the host file says of the host as an end of conversations.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    super::service::Service,
    World,
    flow::Flow,
    services::{Cover, cover},
};

/// The host as an end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostEnd {
    /// What workloads may ask of it without a rule.
    pub allow: BTreeSet<Service>,
    /// What of it stays open from outside, whoever asks.
    pub failsafe: BTreeSet<Service>,
    /// It may open to workloads only what a rule allows.
    pub asks_by_rules: bool,
}

impl Default for HostEnd {
    /// DNS, DHCP and ping for workloads, SSH for admins.
    fn default() -> Self {
        let services =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("these are services")).collect();
        Self {
            allow: services(&["udp/53", "tcp/53", "udp/67", "ping"]),
            failsafe: services(&["tcp/22"]),
            asks_by_rules: false,
        }
    }
}

impl World {
    /// Whether workloads may ask this of their host without a rule.
    pub(super) fn is_on_allow_list(&self, flow: Flow) -> bool {
        lists(&self.host_end.allow, flow)
    }

    /// Whether the host stays open for this, whoever asks.
    pub(super) fn stays_open(&self, flow: Flow) -> bool {
        lists(&self.host_end.failsafe, flow)
    }
}

/// What has ports that nobody knows is on no list.
fn lists(services: &BTreeSet<Service>, flow: Flow) -> bool {
    flow.ports.is_some() && cover(services, &flow) == Cover::Surely
}

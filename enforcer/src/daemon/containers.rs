//! Whose containers endpoints are, and so what is known of their addresses. A part of the pure step.
//!
//! A container runtime tells of processes, the kernel tells of veths; both name the workload's namespace by
//! the id that it has here. The kernel gives the id of a namespace that is gone to another one. So a
//! container is taken for the workload behind a veth only if that veth was seen with the id before the
//! container's was asked for, and is seen with it again afterwards: in between nobody else had it.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::EndpointId;

use super::{
    event::Observation,
    op::Owned,
    step::{EndpointState, State},
};
use crate::policy::{Labels, Prefix};

/// A container that runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What is known of it: `docker:name:NAME`, `docker:label:KEY=VALUE`.
    pub labels: BTreeSet<String>,
    /// The id of its network namespace here; `None` where it has none, and no veth here then.
    pub nsid: Option<i32>,
    /// Why no veth of this host leads to it, where that is so.
    pub unseen: Option<String>,
    /// Looks at the host before its namespace was asked for.
    pub asked_at: u64,
}

/// All containers that ran at one time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Running {
    /// The containers.
    pub containers: Vec<Container>,
    /// Looks at the host before the list was asked for.
    pub asked_at: u64,
    /// Looks at the host when the last of them had been asked for.
    pub told_at: u64,
}

impl Running {
    /// Nobody runs containers here, and nobody will.
    pub const fn nothing() -> Self {
        Self { containers: Vec::new(), asked_at: u64::MAX, told_at: 0 }
    }
}

/// A workload's namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Namespace {
    /// Its id here.
    nsid: Option<i32>,
    /// The look that saw it first.
    since: u64,
}

impl Namespace {
    /// Its id here.
    pub(super) const fn nsid(self) -> Option<i32> {
        self.nsid
    }
}

/// What is known of containers.
#[derive(Clone, Debug, Default)]
pub struct Containers {
    /// Looks so far.
    looks: u64,
    told: Option<Running>,
    /// What was told is bound to endpoints.
    bound: bool,
}

impl Containers {
    /// Nothing was told yet.
    pub const fn new() -> Self {
        Self { looks: 0, told: None, bound: false }
    }

    /// Looks at the host so far.
    pub const fn looks(&self) -> u64 {
        self.looks
    }

    /// Those that nothing is enforced for, and why.
    fn unseen(&self) -> impl Iterator<Item = (String, String)> {
        let all = self.told.iter().flat_map(|told| &told.containers);
        all.filter_map(|container| Some((container.name.clone(), container.unseen.clone()?)))
    }

    /// What is known of whoever is in a namespace: it may be that of several containers.
    fn labels(&self, namespace: Namespace) -> BTreeSet<String> {
        let all = self.told.iter().flat_map(|told| &told.containers);
        let is_here = |container: &&Container| {
            container.nsid.is_some()
                && container.nsid == namespace.nsid
                && namespace.since <= container.asked_at
        };
        all.filter(is_here).flat_map(|container| container.labels.iter().cloned()).collect()
    }
}

impl State {
    /// What runs was told anew. Who runs no longer is forgotten at once; who is new is believed when the host
    /// has been looked at again.
    pub(super) fn told(&mut self, running: Running) {
        self.containers.told = Some(running);
        self.containers.bound = false;
        for endpoint in self.endpoints.values_mut() {
            let known = self.containers.labels(endpoint.namespace);
            endpoint.labels.retain(|label| known.contains(label));
        }
    }

    /// One more look at the host.
    pub(super) fn bind(&mut self, observation: &Observation) {
        self.containers.looks += 1;
        let Containers { looks, told: Some(told), bound } = &self.containers else { return };
        // The look under way when the last container was asked for may have begun before.
        if *bound || *looks < told.told_at.saturating_add(2) {
            return;
        }
        for (ifindex, endpoint) in &mut self.endpoints {
            let seen = observation.veths.get(ifindex).and_then(|veth| veth.nsid);
            if seen == endpoint.namespace.nsid {
                endpoint.labels = self.containers.labels(endpoint.namespace);
            }
        }
        self.containers.bound = !self.endpoints.keys().any(|ifindex| observation.unsure.contains(ifindex));
    }

    /// Whether what was told waits for another look.
    pub fn awaits_look(&self) -> bool {
        self.containers.told.is_some() && !self.containers.bound
    }

    /// The namespaces of workloads that came after the containers were asked for.
    pub fn newcomers(&self) -> BTreeSet<i32> {
        let asked_at = self.containers.told.as_ref().map_or(0, |told| told.asked_at);
        let namespaces = self.endpoints.values().map(|endpoint| endpoint.namespace);
        namespaces.filter(|namespace| namespace.since > asked_at).filter_map(|it| it.nsid).collect()
    }

    /// Containers that no veth of this host leads to: their names, and why.
    pub fn unenforced(&self) -> Vec<(String, String)> {
        self.containers.unseen().collect()
    }

    /// Which endpoint owns what; the host is one of them.
    pub(super) fn owned_by(&self) -> OwnedBy {
        let owned = self.endpoints.values();
        let owned = owned.flat_map(|endpoint| endpoint.owned.keys().map(|owned| (*owned, endpoint.id)));
        let host = self.host.iter().map(|owned| (*owned, EndpointId::HOST));
        OwnedBy(owned.chain(host).collect())
    }

    /// What is known of the addresses of endpoints; `None` as long as nobody has told of containers. Of a
    /// prefix in which somebody else owns something nothing is said.
    pub fn labels(&self) -> Option<Labels> {
        self.containers.told.as_ref()?;
        let mut labels = Labels::none();
        let labelled = self.endpoints.values().filter(|endpoint| !endpoint.labels.is_empty());
        let mut owners = None;
        for endpoint in labelled {
            let owners = owners.get_or_insert_with(|| self.owned_by());
            let owned = endpoint.owned.keys().filter(|owned| owners.is_wholly(owned, endpoint.id));
            for prefix in owned.filter_map(|owned| Prefix::owned(owned.net()?)) {
                endpoint.labels.iter().for_each(|label| labels.add(label, prefix));
            }
        }
        Some(labels)
    }
}

/// Whose addresses are.
pub(super) struct OwnedBy(BTreeMap<Owned, EndpointId>);

impl OwnedBy {
    /// Who owns exactly this.
    pub fn owner(&self, prefix: &Owned) -> Option<EndpointId> {
        self.0.get(prefix).copied()
    }

    /// Whether all of a prefix is this endpoint's.
    pub fn is_wholly(&self, prefix: &Owned, id: EndpointId) -> bool {
        let within = |(owned, _): &(&Owned, &EndpointId)| prefix.covers(owned);
        self.0.get(prefix) == Some(&id)
            && (prefix.bits == 128 || self.0.iter().filter(within).all(|(_, owner)| *owner == id))
    }
}

impl EndpointState {
    /// Takes over in which namespace its workload was seen. What is known of another one is not of this.
    pub(super) fn seen_in(&mut self, nsid: Option<i32>, look: u64) {
        if self.namespace.nsid != nsid {
            self.namespace = Namespace { nsid, since: look };
            self.labels.clear();
        }
    }
}

impl Owned {
    fn net(&self) -> Option<ipnet::IpNet> {
        let (address, bits) = (std::net::IpAddr::from(self.address), self.bits);
        let bits = if self.address.is_v4() {
            bits.checked_sub(enforcer_common::address::V4_PREFIX_OFFSET)?
        } else {
            bits
        };
        ipnet::IpNet::new(address, bits).ok()
    }
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;

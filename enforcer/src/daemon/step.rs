//! The daemon's core: what it knows, and what has to happen when it learns something new.
//!
//! A pure step from (state, event) to (state, kernel operations). It reads no clock, opens nothing and
//! never fails; whatever touches the kernel is behind [`super::kernel::Kernel`], and what could not be
//! done comes back as an event.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use enforcer_common::{
    address::{Address, Scope},
    control::Generation,
    endpoint::{AddressOwner, Endpoint, EndpointId},
    limits::MAX_ENDPOINTS,
};
use ipnet::IpNet;

use super::{
    claims::{MAX_LEARNED, Origin, claims},
    op::{Op, Owned},
};
use crate::{
    config::{Config, Unknown},
    datapath::bank::idle_bank,
    policy,
};

/// What the daemon learns.
#[derive(Clone, Debug)]
pub enum Event {
    /// A wanted interface appeared; nothing more is known of it.
    Appeared {
        /// Its index.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// A complete look at the host.
    Observed(Observation),
    /// A policy was accepted.
    Apply(NewPolicy),
    /// Attaching to an interface did not work; it is tried again with the next look.
    AttachFailed {
        /// Its index.
        ifindex: u32,
    },
}

/// A compiled policy on its way to the kernel.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    /// Its tables.
    pub tables: Arc<policy::Tables>,
    /// SHA-256 of the canonical policy.
    pub digest: [u8; 32],
    /// Seconds since the Unix epoch.
    pub applied_at: u64,
}

/// What the host looks like at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observation {
    /// The host's own addresses.
    pub host: BTreeSet<IpAddr>,
    /// Every wanted veth, by index.
    pub veths: BTreeMap<u32, Veth>,
}

/// One host-side veth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Veth {
    /// Its name.
    pub name: String,
    /// MAC of the interface at the other end.
    pub mac: Option<[u8; 6]>,
    /// Host routes (/32, /128) to this very veth.
    pub routed: BTreeSet<IpAddr>,
    /// Subnets on the veth, or on the bridge it is a port of: they bound what may be learned.
    pub subnets: Vec<IpNet>,
    /// Addresses on the interface at the other end.
    pub inside: BTreeSet<IpAddr>,
}

/// What is known of one endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointState {
    /// Its id.
    pub id: EndpointId,
    /// Name of its host-side interface.
    pub name: String,
    /// MAC of its interface.
    pub mac: Option<[u8; 6]>,
    /// What it owns, and why.
    pub owned: BTreeMap<Owned, Origin>,
    /// What it claims but somebody else owns.
    pub conflicts: BTreeSet<Owned>,
    /// The programs are on its interface.
    pub attached: bool,
}

/// All that the daemon knows.
#[derive(Clone, Debug)]
pub struct State {
    config: Arc<Config>,
    /// Endpoints by interface.
    pub endpoints: BTreeMap<u32, EndpointState>,
    /// Interfaces for which there was no id left: attached to and closed for good.
    pub unregistered: BTreeMap<u32, String>,
    /// The host's addresses.
    pub host: BTreeSet<Owned>,
    /// The deciding generation.
    pub generation: Generation,
    last_id: u32,
}

impl State {
    /// Knows nothing yet, except what decides in the kernel.
    pub const fn new(config: Arc<Config>, generation: Generation) -> Self {
        Self {
            config,
            endpoints: BTreeMap::new(),
            unregistered: BTreeMap::new(),
            host: BTreeSet::new(),
            generation,
            last_id: 0,
        }
    }

    /// Takes over what an earlier daemon wrote: ids, so that counters and flows keep their meaning, and
    /// addresses, so that what was learned stays learned. The programs are put on again.
    pub fn adopt(&mut self, endpoints: &[(u32, Endpoint)], addresses: &[(Owned, AddressOwner)]) {
        for (ifindex, endpoint) in endpoints {
            let mine = addresses.iter().filter(|(_, owner)| owner.ifindex == *ifindex);
            let name = String::from_utf8_lossy(&endpoint.name).trim_end_matches('\0').to_owned();
            self.endpoints.insert(
                *ifindex,
                EndpointState {
                    id: endpoint.id,
                    name,
                    mac: Some(endpoint.mac).filter(|mac| *mac != [0; 6]),
                    owned: mine.map(|(network, owner)| (*network, Origin::of(owner))).collect(),
                    conflicts: BTreeSet::new(),
                    attached: false,
                },
            );
            self.last_id = self.last_id.max(endpoint.id.0);
        }
        let host = addresses.iter().filter(|(_, owner)| owner.endpoint == EndpointId::HOST);
        self.host = host.map(|(network, _)| *network).collect();
    }

    /// One step.
    pub fn step(&mut self, event: Event) -> Vec<Op> {
        match event {
            Event::Appeared { ifindex, name } => self.appeared(ifindex, &name),
            Event::Observed(observation) => self.observed(&observation),
            Event::Apply(policy) => self.apply(policy),
            Event::AttachFailed { ifindex } => {
                self.unregistered.remove(&ifindex);
                if let Some(endpoint) = self.endpoints.get_mut(&ifindex) {
                    endpoint.attached = false;
                }
                Vec::new()
            }
        }
    }

    fn apply(&mut self, policy: NewPolicy) -> Vec<Op> {
        let number = self.generation.number + 1;
        let bank = idle_bank(number);
        self.generation = Generation {
            number,
            applied_at: policy.applied_at,
            digest: policy.digest,
            bank,
            networks: policy.tables.networks,
            prefixes: policy.tables.prefixes.len() as u32,
            sets: policy.tables.sets,
        };
        vec![Op::BuildBank { bank, tables: policy.tables }, Op::Publish(self.generation)]
    }

    /// Closes the interface before anything else is known of it.
    fn appeared(&mut self, ifindex: u32, name: &str) -> Vec<Op> {
        if self.config.attach.unknown == Unknown::Ignore || self.endpoints.contains_key(&ifindex) {
            return Vec::new();
        }
        self.register(ifindex, name)
    }

    fn register(&mut self, ifindex: u32, name: &str) -> Vec<Op> {
        let attach = Op::Attach { ifindex, name: name.to_owned() };
        let Some(id) = self.free_id() else {
            // The datapath drops everything at an interface that it has no record of.
            let known = self.unregistered.insert(ifindex, name.to_owned());
            return if known.is_none() { vec![attach] } else { Vec::new() };
        };
        let endpoint = EndpointState {
            id,
            name: name.to_owned(),
            mac: None,
            owned: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            attached: true,
        };
        let record = self.record(&endpoint);
        self.endpoints.insert(ifindex, endpoint);
        vec![Op::ResetCounters(id), Op::WriteEndpoint { ifindex, endpoint: record }, attach]
    }

    /// The next id after the last one given: a used id rests as long as possible, so that old flow
    /// records do not get a new name.
    fn free_id(&mut self) -> Option<EndpointId> {
        let used: BTreeSet<u32> = self.endpoints.values().map(|endpoint| endpoint.id.0).collect();
        let candidates = (self.last_id + 1..MAX_ENDPOINTS).chain(1..=self.last_id.min(MAX_ENDPOINTS - 1));
        let id = candidates.into_iter().find(|id| !used.contains(id))?;
        self.last_id = id;
        Some(EndpointId(id))
    }

    fn record(&self, endpoint: &EndpointState) -> Endpoint {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(endpoint.name.bytes().take(15)) {
            *to = from;
        }
        Endpoint {
            id: endpoint.id,
            flags: if endpoint.owned.is_empty() { 0 } else { Endpoint::ADDRESSED },
            stamp: endpoint.id.stamp(self.config.datapath.mark_mask),
            mac: endpoint.mac.unwrap_or_default(),
            reserved: 0,
            name,
        }
    }

    /// Compares a complete look with what is known. What goes, goes first: so an address can move from
    /// one endpoint to another within one step.
    fn observed(&mut self, observation: &Observation) -> Vec<Op> {
        let mut ops = self.vanished(observation);
        let host: BTreeSet<Owned> =
            observation.host.iter().copied().filter(is_usable).map(Owned::from).collect();
        ops.extend(self.host.difference(&host).map(|network| Op::RemoveAddress(*network)));
        ops.extend(self.reclaim_for_host(&host));
        self.host = host;
        for (ifindex, veth) in &observation.veths {
            ops.extend(self.released(*ifindex, veth));
        }
        let mut owners = self.owners();
        for (ifindex, veth) in &observation.veths {
            ops.extend(self.settled(*ifindex, veth, &mut owners));
        }
        if ops.iter().any(|op| !matches!(op, Op::Attach { .. })) {
            ops.push(Op::FactsChanged);
        }
        ops
    }

    fn vanished(&mut self, observation: &Observation) -> Vec<Op> {
        let is_gone = |ifindex: &u32| !observation.veths.contains_key(ifindex);
        let unregistered: Vec<u32> = self.unregistered.keys().copied().filter(is_gone).collect();
        let mut ops = Vec::new();
        for ifindex in unregistered {
            let name = self.unregistered.remove(&ifindex);
            ops.extend(name.map(|name| Op::Forget { ifindex, name }));
        }
        let gone: Vec<u32> = self.endpoints.keys().copied().filter(is_gone).collect();
        for ifindex in gone {
            let Some(endpoint) = self.endpoints.remove(&ifindex) else { continue };
            ops.push(Op::RemoveEndpoint { ifindex });
            ops.extend(endpoint.owned.into_keys().map(Op::RemoveAddress));
            ops.push(Op::Forget { ifindex, name: endpoint.name });
        }
        ops
    }

    /// The host's own addresses are the host's, whoever had them before.
    fn reclaim_for_host(&mut self, host: &BTreeSet<Owned>) -> Vec<Op> {
        let new: Vec<Owned> = host.difference(&self.host).copied().collect();
        for endpoint in self.endpoints.values_mut() {
            endpoint.owned.retain(|network, _| !new.contains(network));
        }
        new.into_iter().map(|network| Op::WriteAddress { network, owner: AddressOwner::HOST }).collect()
    }

    /// What an endpoint owns no longer: routes and declarations that are gone. Learned addresses stay,
    /// unless the family has a better source by now, or the workload keeps taking new ones.
    fn released(&mut self, ifindex: u32, veth: &Veth) -> Vec<Op> {
        let claims = claims(&self.config, veth);
        let Some(endpoint) = self.endpoints.get_mut(&ifindex) else { return Vec::new() };
        let better_source = |network: &Owned| {
            claims.iter().any(|(other, origin)| {
                *origin != Origin::Learned && other.address.is_v4() == network.address.is_v4()
            })
        };
        let all: BTreeSet<&Owned> = endpoint.owned.keys().chain(claims.keys()).collect();
        let crowded = all.len() > MAX_LEARNED;
        let mut ops = Vec::new();
        endpoint.owned.retain(|network, origin| {
            let sticks = *origin == Origin::Learned && !crowded && !better_source(network);
            let stays = sticks || claims.contains_key(network);
            if !stays {
                ops.push(Op::RemoveAddress(*network));
            }
            stays
        });
        ops
    }

    /// Who owns what at this moment; 0 is the host.
    fn owners(&self) -> BTreeMap<Owned, u32> {
        let endpoints = self.endpoints.iter();
        let owned = endpoints
            .flat_map(|(ifindex, endpoint)| endpoint.owned.keys().map(|network| (*network, *ifindex)));
        owned.chain(self.host.iter().map(|network| (*network, 0))).collect()
    }

    /// Registers, attaches and gives what is claimed and free.
    fn settled(&mut self, ifindex: u32, veth: &Veth, owners: &mut BTreeMap<Owned, u32>) -> Vec<Op> {
        let claims = claims(&self.config, veth);
        let mut ops = Vec::new();
        if !self.endpoints.contains_key(&ifindex) {
            if self.config.attach.unknown == Unknown::Ignore && claims.is_empty() {
                return ops;
            }
            ops.extend(self.register(ifindex, &veth.name));
        }
        let Some(endpoint) = self.endpoints.get(&ifindex).cloned() else { return ops };
        let before = self.record(&endpoint);
        let mut endpoint =
            EndpointState { name: veth.name.clone(), mac: veth.mac.or(endpoint.mac), ..endpoint };
        if !endpoint.attached {
            endpoint.attached = true;
            ops.push(Op::Attach { ifindex, name: veth.name.clone() });
        }
        endpoint.conflicts.clear();
        for (network, origin) in claims {
            if *owners.entry(network).or_insert(ifindex) != ifindex {
                endpoint.conflicts.insert(network);
            } else if endpoint.owned.insert(network, origin) != Some(origin) {
                let owner = AddressOwner {
                    endpoint: endpoint.id,
                    ifindex,
                    stamp: before.stamp,
                    flags: origin.flags(),
                };
                ops.push(Op::WriteAddress { network, owner });
            }
        }
        let record = self.record(&endpoint);
        if record != before {
            ops.push(Op::WriteEndpoint { ifindex, endpoint: record });
        }
        self.endpoints.insert(ifindex, endpoint);
        ops
    }
}

/// Loopback addresses of the host never meet a veth.
fn is_usable(address: &IpAddr) -> bool {
    matches!(Address::from(*address).scope(), Scope::Global | Scope::LinkLocal)
}

//! The daemon's core: what it knows, and what has to happen when it learns something new.
//!
//! A pure step from (state, event) to (state, kernel operations). It reads no clock, opens nothing and
//! never fails; whatever touches the kernel is behind [`super::kernel::Kernel`], and what could not be
//! done comes back as an event.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{
    address::{Address, Scope},
    endpoint::{AddressOwner, Endpoint, EndpointId},
    mode::Mode,
};
use ipnet::IpNet;

use super::{
    claims::{self, Claims, Contest, MAX_LEARNED, Origin},
    containers::{Containers, Namespace},
    event::{Event, Observation, Veth, Wire},
    guards::Guards,
    host::Told,
    op::{Op, Owned},
    repairs::Repairs,
    senders::Senders,
    shortcuts::Shortcuts,
    uplinks::Uplinks,
};
use crate::{
    config::{Config, Subject, Unknown},
    shortcut::{Barrier, Kinds},
};

/// What is known of one endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointState {
    /// Its id.
    pub id: EndpointId,
    /// Name of its host-side interface.
    pub name: String,
    /// Its alias.
    pub alias: Option<String>,
    /// Names of its namespace, where the host file goes by them.
    pub netns: BTreeSet<String>,
    /// Where its workload is.
    pub namespace: Namespace,
    /// What is known of its container.
    pub labels: BTreeSet<String>,
    /// MAC of its interface.
    pub mac: Option<[u8; 6]>,
    /// The mode that the host file gives it, as the kernel was told.
    pub mode: Option<Mode>,
    /// What it owns, and why.
    pub owned: BTreeMap<Owned, Origin>,
    /// What it claims but somebody else owns.
    pub conflicts: BTreeSet<Owned>,
    /// The programs are on its interface.
    pub attached: bool,
    /// How frames get to it.
    pub wire: Wire,
    /// What the kernel was told last.
    pub record: Endpoint,
}

/// All that the daemon knows of the host.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) config: Arc<Config>,
    /// Endpoints by interface.
    pub endpoints: BTreeMap<u32, EndpointState>,
    /// Interfaces for which there was no id left: attached to and closed for good.
    pub unregistered: BTreeMap<u32, String>,
    /// Early guards.
    pub guards: Guards,
    /// Interfaces that lead outside.
    pub uplinks: Uplinks,
    /// Whom stamps stand for behind NAT.
    pub(super) senders: Senders,
    /// Where packets may go straight.
    pub(super) shortcuts: Shortcuts,
    /// What the kernel was told of the host as a whole.
    pub(super) told: Told,
    /// What containers run.
    pub containers: Containers,
    /// The host's addresses.
    pub host: BTreeSet<Owned>,
    /// What somebody else broke, and was mended.
    pub repairs: Repairs,
    /// MACs that more than one workload bears.
    pub(super) shared_macs: BTreeSet<[u8; 6]>,
    pub(super) last_id: u32,
}

impl State {
    /// Knows nothing yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            told: Told::of(&config),
            config,
            endpoints: BTreeMap::new(),
            unregistered: BTreeMap::new(),
            guards: Guards::new(),
            uplinks: Uplinks::new(),
            senders: Senders::new(),
            shortcuts: Shortcuts::default(),
            containers: Containers::new(),
            host: BTreeSet::new(),
            repairs: Repairs::new(),
            shared_macs: BTreeSet::new(),
            last_id: 0,
        }
    }

    /// One step.
    pub fn step(&mut self, event: Event) -> Vec<Op> {
        let mut ops = self.react(event);
        self.follow_senders(&mut ops);
        self.follow_shortcuts(&mut ops);
        ops
    }

    fn react(&mut self, event: Event) -> Vec<Op> {
        match event {
            Event::Appeared { ifindex, name } => self.appeared(ifindex, &name),
            Event::Vanished { ifindex } => {
                let mut ops = self.forget(ifindex);
                if !ops.is_empty() {
                    ops.push(Op::FactsChanged);
                }
                ops
            }
            Event::Observed(observation) => self.observed(&observation),
            Event::Glimpsed(glimpse) => self.glimpsed(&glimpse),
            Event::Configured(config) => {
                self.config = config;
                Vec::new()
            }
            Event::Containers(running) => {
                self.told(running);
                Vec::new()
            }
            Event::LookedAround(surroundings) => self.looked_around(surroundings),
            Event::Blinded => {
                let unseen = "the host's interfaces cannot be looked at";
                self.shortcuts.routed(vec![Barrier::new(Kinds::ALL, unseen)], BTreeMap::new());
                Vec::new()
            }
            Event::Relearn { ifindex } => self.relearn(ifindex),
            Event::Inspected(facts) => self.repair(&facts),
            Event::AttachFailed { ifindex } => {
                self.unregistered.remove(&ifindex);
                self.endpoints.entry(ifindex).and_modify(|endpoint| endpoint.attached = false);
                Vec::new()
            }
            Event::UplinkFailed { ifindex, reason } => {
                self.uplinks.refused(ifindex, reason);
                Vec::new()
            }
            Event::GuardFailed { ifindex, reason } => {
                self.guards.refused(ifindex, reason);
                Vec::new()
            }
        }
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
        self.unregistered.remove(&ifindex);
        let mut endpoint = EndpointState {
            id,
            name: name.to_owned(),
            alias: None,
            netns: BTreeSet::new(),
            namespace: Namespace::default(),
            labels: BTreeSet::new(),
            mac: None,
            mode: self.config.mode_of(Subject::named(name)),
            owned: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            attached: true,
            wire: Wire::default(),
            record: Endpoint::default(),
        };
        let record = self.record(&endpoint);
        endpoint.record = record;
        let mut ops = vec![Op::ResetCounters(id)];
        if endpoint.mode.is_some() {
            ops.push(Op::ConfigureMode { slot: id.0, mode: endpoint.mode });
        }
        ops.extend([Op::WriteEndpoint { ifindex, endpoint: record }, attach]);
        self.endpoints.insert(ifindex, endpoint);
        ops
    }

    /// Compares a complete look with what is known. What goes, goes first: so an address can move from
    /// one endpoint to another within one step.
    fn observed(&mut self, observation: &Observation) -> Vec<Op> {
        let mut ops = self.follow_config();
        ops.extend(self.released_outside(observation));
        ops.extend(self.vanished(observation));
        ops.extend(self.reused(observation));
        self.bind(observation);
        self.share_macs(observation);
        self.shortcuts.routed(observation.barriers.clone(), observation.outside.clone());
        ops.extend(self.observed_host(&observation.host));
        let claims: Claims = observation
            .veths
            .iter()
            .map(|(ifindex, veth)| {
                (*ifindex, claims::claims(&self.config, veth, self.subject(*ifindex, veth)))
            })
            .collect();
        let contest = Contest::of(&claims);
        for ifindex in claims.keys().filter(|ifindex| !observation.overtaken.contains(ifindex)) {
            ops.extend(self.released(*ifindex, &claims[ifindex], &contest));
        }
        let mut owners = self.owners();
        for (ifindex, veth) in &observation.veths {
            ops.extend(self.settled(*ifindex, veth, &claims[ifindex], &contest, &mut owners));
        }
        ops.extend(self.uplinks.settled(&self.config.outside(observation)));
        if ops.iter().any(Op::ends_judgements) {
            ops.push(Op::FactsChanged);
        }
        // Last, since putting them on takes long.
        let guarded = self.guarded(observation);
        let guards = self.guards.settled(&guarded);
        let again = guards.iter().any(Op::ends_judgements);
        ops.extend(guards);
        ops.extend(again.then_some(Op::FactsChanged));
        ops
    }

    fn vanished(&mut self, observation: &Observation) -> Vec<Op> {
        let known = self.endpoints.keys().chain(self.unregistered.keys());
        let is_seen = |ifindex: &u32| observation.veths.contains_key(ifindex);
        let gone =
            known.copied().filter(|ifindex| !is_seen(ifindex) && !observation.unsure.contains(ifindex));
        let gone: Vec<u32> = gone.collect();
        gone.into_iter().flat_map(|ifindex| self.forget(ifindex)).collect()
    }

    /// An index may be another interface's whose coming was not heard of. A name or a peer may change, but
    /// hardly both between two looks.
    fn reused(&mut self, observation: &Observation) -> Vec<Op> {
        let is_another = |endpoint: &EndpointState, veth: &Veth| {
            let other_peer = endpoint.mac.zip(veth.mac).is_some_and(|(known, seen)| known != seen);
            other_peer && (endpoint.name != veth.name || !endpoint.attached)
        };
        let known = self.endpoints.iter();
        let seen = |ifindex| observation.veths.get(ifindex);
        let reused =
            known.filter(|(ifindex, endpoint)| seen(ifindex).is_some_and(|veth| is_another(endpoint, veth)));
        let reused: Vec<u32> = reused.map(|(ifindex, _)| *ifindex).collect();
        reused.into_iter().flat_map(|ifindex| self.forget(ifindex)).collect()
    }

    /// Its programs went with the interface that had its index before: nothing known of that holds.
    pub(super) fn replaced(&mut self, ifindex: u32) -> Vec<Op> {
        let name = self.endpoints.get(&ifindex).map(|endpoint| endpoint.name.clone()).unwrap_or_default();
        let mut ops = self.forget(ifindex);
        ops.extend(self.appeared(ifindex, &name));
        ops
    }

    /// Everything that is known of an interface.
    fn forget(&mut self, ifindex: u32) -> Vec<Op> {
        let is_uplink = self.uplinks.contains(ifindex);
        let mut ops: Vec<Op> = self.guards.forget(ifindex, is_uplink).into_iter().collect();
        ops.extend(self.uplinks.forget(ifindex));
        if let Some(endpoint) = self.endpoints.remove(&ifindex) {
            ops.push(Op::RemoveEndpoint { ifindex });
            ops.extend(endpoint.owned.into_keys().map(Op::RemoveAddress));
            ops.push(Op::Forget { ifindex, name: endpoint.name });
        }
        if let Some(name) = self.unregistered.remove(&ifindex) {
            ops.push(Op::Forget { ifindex, name });
        }
        ops
    }

    /// What is the host's is the host's, whoever had it before.
    fn observed_host(&mut self, networks: &BTreeSet<IpNet>) -> Vec<Op> {
        let host: BTreeSet<Owned> =
            networks.iter().filter(|network| meets_veths(network)).copied().map(Owned::from).collect();
        let gone = self.host.difference(&host).map(|network| Op::RemoveAddress(*network));
        let mut ops: Vec<Op> = gone.collect();
        for network in host.difference(&self.host) {
            for endpoint in self.endpoints.values_mut() {
                endpoint.owned.remove(network);
            }
            ops.push(Op::WriteAddress { network: *network, owner: AddressOwner::HOST });
        }
        self.host = host;
        ops
    }

    /// What an endpoint owns no longer: what was routed or declared and is not any more. Learned addresses
    /// stay, unless somebody has a better claim, or a claim at all when the workload has given it up.
    fn released(&mut self, ifindex: u32, claims: &BTreeMap<Owned, Origin>, contest: &Contest) -> Vec<Op> {
        let Some(endpoint) = self.endpoints.get_mut(&ifindex) else { return Vec::new() };
        let better_source = |network: &Owned| {
            claims.iter().any(|(other, origin)| *origin != Origin::Learned && other.is_family_of(network))
        };
        let all: BTreeSet<&Owned> = endpoint.owned.keys().chain(claims.keys()).collect();
        let crowded = all.len() > MAX_LEARNED;
        let mut ops = Vec::new();
        endpoint.owned.retain(|network, origin| {
            let stays = match claims.get(network) {
                Some(claim) => contest.allows(network, *claim),
                None if *origin != Origin::Learned || crowded || better_source(network) => false,
                None => !contest.is_claimed(network),
            };
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
    pub(super) fn settled(
        &mut self,
        ifindex: u32,
        veth: &Veth,
        claims: &BTreeMap<Owned, Origin>,
        contest: &Contest,
        owners: &mut BTreeMap<Owned, u32>,
    ) -> Vec<Op> {
        let mut ops = Vec::new();
        if !self.endpoints.contains_key(&ifindex) {
            if self.config.attach.unknown == Unknown::Ignore && claims.is_empty() {
                return ops;
            }
            ops.extend(self.register(ifindex, &veth.name));
        }
        let Some(mut endpoint) = self.endpoints.remove(&ifindex) else { return ops };
        self.identify(&mut endpoint, veth);
        let mode = self.config.mode_of(self.subject_of(&endpoint));
        if endpoint.mode != mode {
            endpoint.mode = mode;
            ops.push(Op::ConfigureMode { slot: endpoint.id.0, mode });
        }
        if !endpoint.attached {
            endpoint.attached = true;
            ops.push(Op::Attach { ifindex, name: veth.name.clone() });
        }
        let stamp = endpoint.id.stamp(self.config.datapath.mark_mask);
        let restamp = endpoint.record.stamp != stamp;
        endpoint.conflicts.clear();
        let before = endpoint.owned.clone();
        for (network, origin) in claims {
            let free = *owners.get(network).unwrap_or(&ifindex) == ifindex;
            let refused = *origin == Origin::Learned && contest.refuses(network, ifindex, &before);
            if !free || refused || !contest.allows(network, *origin) {
                endpoint.conflicts.insert(*network);
                continue;
            }
            owners.insert(*network, ifindex);
            if endpoint.owned.insert(*network, *origin) != Some(*origin) && !restamp {
                ops.push(write_address(ifindex, &endpoint, *network, *origin, stamp));
            }
        }
        if restamp {
            let all = endpoint.owned.iter();
            ops.extend(
                all.map(|(network, origin)| write_address(ifindex, &endpoint, *network, *origin, stamp)),
            );
        }
        let record = self.record(&endpoint);
        if record != endpoint.record {
            endpoint.record = record;
            ops.push(Op::WriteEndpoint { ifindex, endpoint: record });
        }
        self.endpoints.insert(ifindex, endpoint);
        ops
    }
}

pub(super) fn write_address(
    ifindex: u32,
    endpoint: &EndpointState,
    network: Owned,
    origin: Origin,
    stamp: u32,
) -> Op {
    Op::WriteAddress { network, owner: owner(ifindex, endpoint, origin, stamp) }
}

/// An endpoint as the owner of a prefix.
pub(super) const fn owner(
    ifindex: u32,
    endpoint: &EndpointState,
    origin: Origin,
    stamp: u32,
) -> AddressOwner {
    AddressOwner { endpoint: endpoint.id, ifindex, stamp, flags: origin.flags() }
}

/// A name as records hold it: NUL padded, and NUL terminated as the kernel's names are.
pub(super) fn padded_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    padded
}

/// Loopback addresses of the host never meet a veth.
fn meets_veths(network: &IpNet) -> bool {
    matches!(Address::from(network.addr()).scope(), Scope::Global | Scope::LinkLocal)
}

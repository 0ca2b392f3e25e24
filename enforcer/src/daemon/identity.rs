//! Who an endpoint is: its id, its record, what the host file may tell it by. A part of the pure step.

use std::collections::BTreeSet;

use enforcer_common::{
    endpoint::{Endpoint, EndpointId},
    limits::MAX_ENDPOINTS,
};

use super::{
    claims::Origin,
    event::{Observation, Veth},
    guards,
    op::Op,
    step::{EndpointState, State, padded_name},
    uplinks,
};
use crate::config::{Config, Macs, Subject};

impl State {
    /// The next id after the last one given: a used id rests as long as possible, so that old flow
    /// records do not get a new name. One whose stamp is nobody else's comes first: then the sender is known
    /// also behind NAT.
    pub(super) fn free_id(&mut self) -> Option<EndpointId> {
        let mask = self.config.datapath.mark_mask;
        let used: BTreeSet<u32> = self.endpoints.values().map(|endpoint| endpoint.id.0).collect();
        let stamps: BTreeSet<u32> = used.iter().map(|id| EndpointId(*id).stamp(mask)).collect();
        let last = self.last_id;
        let candidates = || {
            let all = (last + 1..MAX_ENDPOINTS).chain(1..=last.min(MAX_ENDPOINTS - 1));
            all.filter(|id| !used.contains(id))
        };
        let is_unlike = |id: &u32| !stamps.contains(&EndpointId(*id).stamp(mask));
        let id = candidates().find(is_unlike).or_else(|| candidates().next())?;
        self.last_id = id;
        Some(EndpointId(id))
    }

    /// What the kernel is told of an endpoint.
    pub(super) fn record(&self, endpoint: &EndpointState) -> Endpoint {
        let addressed = if endpoint.owned.is_empty() { 0 } else { Endpoint::ADDRESSED };
        let provided = self.config.provided(self.subject_of(endpoint));
        let mac = match self.config.macs_of(self.subject_of(endpoint)) {
            Macs::Own => endpoint.mac.unwrap_or_default(),
            Macs::Any => [0; 6],
        };
        Endpoint {
            id: endpoint.id,
            flags: provided.fold(addressed, |flags, provides| flags | provides.flag()),
            stamp: endpoint.id.stamp(self.config.datapath.mark_mask),
            mac,
            reserved: 0,
            name: padded_name(&endpoint.name),
        }
    }

    /// Finds the MACs that more than one workload bears: they tell nobody.
    pub(super) fn share_macs(&mut self, observation: &Observation) {
        let mut seen = BTreeSet::new();
        let macs = observation.veths.iter().filter_map(|(ifindex, veth)| self.mac_of(*ifindex, veth));
        self.shared_macs = macs.filter(|mac| !seen.insert(*mac)).collect();
    }

    /// The MAC of a veth's workload. One that was learned stays: the workload cannot become somebody else by
    /// another one.
    fn mac_of(&self, ifindex: u32, veth: &Veth) -> Option<[u8; 6]> {
        let endpoint = self.endpoints.get(&ifindex).filter(|endpoint| !endpoint.owned.is_empty());
        endpoint.and_then(|endpoint| endpoint.mac).or(veth.mac)
    }

    /// What the host file may tell an endpoint by.
    pub(super) fn subject_of<'a>(&self, endpoint: &'a EndpointState) -> Subject<'a> {
        let EndpointState { name, alias, netns, labels, mac, .. } = endpoint;
        Subject { name, alias: alias.as_deref(), mac: self.telling(*mac), netns, labels }
    }

    fn telling(&self, mac: Option<[u8; 6]>) -> Option<[u8; 6]> {
        mac.filter(|mac| !self.shared_macs.contains(mac))
    }

    /// What the host file may tell a veth by.
    pub(super) fn subject<'a>(&'a self, ifindex: u32, veth: &'a Veth) -> Subject<'a> {
        let mac = self.telling(self.mac_of(ifindex, veth));
        let (alias, netns) = (veth.alias.as_deref(), &veth.netns);
        let named = Subject { alias, mac, netns, ..Subject::named(&veth.name) };
        match self.endpoints.get(&ifindex) {
            Some(endpoint) => Subject { labels: &endpoint.labels, ..named },
            None => named,
        }
    }

    /// Takes over what a look says of who an endpoint is.
    pub(super) fn identify(&self, endpoint: &mut EndpointState, veth: &Veth) {
        endpoint.name.clone_from(&veth.name);
        endpoint.alias.clone_from(&veth.alias);
        endpoint.netns.clone_from(&veth.netns);
        endpoint.wire.clone_from(&veth.wire);
        endpoint.seen_in(veth.nsid, self.containers.looks());
        let is_free =
            endpoint.owned.is_empty() || self.config.macs_of(self.subject_of(endpoint)) == Macs::Any;
        if is_free {
            // From the first address on the MAC is the one it had then: nobody takes over another's.
            endpoint.mac = veth.mac.or(endpoint.mac);
        }
    }

    /// What an endpoint learned of itself counts no more: the next look learns anew.
    pub(super) fn relearn(&mut self, ifindex: u32) -> Vec<Op> {
        let Some(mut endpoint) = self.endpoints.remove(&ifindex) else { return Vec::new() };
        let learned = endpoint.owned.extract_if(.., |_, origin| *origin == Origin::Learned);
        let mut ops: Vec<Op> = learned.map(|(network, _)| Op::RemoveAddress(network)).collect();
        endpoint.mac = None;
        let record = self.record(&endpoint);
        if record != endpoint.record {
            endpoint.record = record;
            ops.push(Op::WriteEndpoint { ifindex, endpoint: record });
        }
        self.endpoints.insert(ifindex, endpoint);
        if !ops.is_empty() {
            ops.push(Op::FactsChanged);
        }
        ops
    }

    /// Takes off what is no uplink or no guarded interface any more. The record of both goes with the last.
    pub(super) fn released_outside(&mut self, observation: &Observation) -> Vec<Op> {
        let guarded = self.guarded(observation);
        let uplinks = &self.uplinks;
        let mut ops = self.guards.released(&guarded, |ifindex| uplinks.contains(ifindex));
        let guards = &self.guards;
        let outside = self.config.outside(observation);
        ops.extend(self.uplinks.released(&outside, |ifindex| guards.contains(ifindex)));
        ops
    }

    /// Where the early guard is to run: at uplinks, and at veths whose endpoint is registered.
    pub(super) fn guarded<'a>(&self, observation: &'a Observation) -> guards::Wanted<'a> {
        let record = |name: &str| uplinks::record(name, self.config.trust(name).unwrap_or_default());
        let uplinks = observation.uplinks.iter().filter(|(_, name)| self.config.guard.wants(name));
        let uplinks = uplinks.map(|(ifindex, name)| (*ifindex, (Some(record(name)), &**name)));
        let veths = observation.veths.iter().map(|(ifindex, veth)| (*ifindex, (None, &*veth.name)));
        let veths = veths.filter(|(ifindex, (_, name))| {
            self.endpoints.contains_key(ifindex) && self.config.guard.wants(name)
        });
        uplinks.chain(veths).collect()
    }
}

impl Config {
    /// The interfaces that lead outside.
    pub(super) fn outside<'a>(&self, observation: &'a Observation) -> uplinks::Wanted<'a> {
        let all = observation.uplinks.iter();
        all.filter_map(|(ifindex, name)| Some((*ifindex, (&**name, self.trust(name)?)))).collect()
    }
}

//! What the kernel holds, compared with what it should: after a start to take over what an earlier daemon
//! left, and from time to time to mend what somebody else broke. A part of the pure step.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::{AddressOwner, Endpoint, EndpointId};

use super::{
    claims::Origin,
    containers::Namespace,
    event::{Facts, Wire},
    host::configured,
    op::{Op, Owned},
    repairs::Broken,
    step::{EndpointState, State, owner},
};

/// Wrong owners of prefixes that are told one by one.
const FLOOD: usize = 256;

impl State {
    /// Takes over what an earlier daemon wrote: ids, so that counters and flows keep their meaning, and
    /// addresses, so that what was learned stays learned. The programs are put on again. What hangs on
    /// nothing any more has to go.
    pub fn adopt(&mut self, facts: &Facts) -> Vec<Op> {
        // Before anything is attached: the first packet is judged by it.
        let mut ops: Vec<Op> = self.broken_host(facts).into_iter().flat_map(|(_, ops)| ops).collect();
        self.senders.clone_from(&facts.senders);
        for (ifindex, record) in &facts.endpoints {
            self.last_id = self.last_id.max(record.id.0);
            if facts.linked.contains(ifindex) {
                self.endpoints.insert(*ifindex, adopted(*ifindex, record, facts));
            } else {
                ops.push(Op::RemoveEndpoint { ifindex: *ifindex });
                ops.push(Op::Forget { ifindex: *ifindex, name: name_of(record) });
            }
        }
        for (network, owner) in &facts.addresses {
            if owner.endpoint == EndpointId::HOST {
                self.host.insert(*network);
            } else if !self.endpoints.contains_key(&owner.ifindex) {
                ops.push(Op::RemoveAddress(*network));
            }
        }
        ops.extend(self.stray_links(facts));
        self.adopt_uplinks(facts);
        ops.extend(self.adopt_guards(facts));
        ops.extend(self.stray_uplinks(facts));
        // A daemon that died between a write and this left flows judged under facts that are gone.
        ops.push(Op::FactsChanged);
        self.follow_senders(&mut ops);
        ops
    }

    /// Links of interfaces that nothing else is known of.
    fn stray_links(&self, facts: &Facts) -> Vec<Op> {
        let is_known = |ifindex: &u32| {
            self.endpoints.contains_key(ifindex)
                || self.unregistered.contains_key(ifindex)
                || facts.endpoints.contains_key(ifindex)
        };
        let stray = facts.link_pins.iter().filter(|ifindex| !is_known(ifindex));
        stray.map(|ifindex| Op::Forget { ifindex: *ifindex, name: String::new() }).collect()
    }

    /// Guards run on where there is a record to run by.
    fn adopt_guards(&mut self, facts: &Facts) -> Vec<Op> {
        for ifindex in facts.guard_pins.iter().copied() {
            if let Some(record) = facts.uplinks.get(&ifindex) {
                self.guards.adopt(ifindex, Some(*record));
            } else if self.endpoints.contains_key(&ifindex) {
                self.guards.adopt(ifindex, None);
            }
        }
        self.stray_guards(facts)
    }

    /// The uplinks' programs run on where there is a record to run by.
    fn adopt_uplinks(&mut self, facts: &Facts) {
        for ifindex in &facts.uplinks_linked {
            if let Some(record) = facts.uplinks.get(ifindex) {
                self.uplinks.adopt(*ifindex, *record);
            }
        }
    }

    /// Programs on uplinks that nobody wants, and records that nothing runs by.
    fn stray_uplinks(&self, facts: &Facts) -> Vec<Op> {
        let strays = facts.uplinks_linked.iter().filter(|ifindex| !self.uplinks.contains(**ifindex));
        let programs = strays.map(|ifindex| {
            let record = facts.uplinks.contains_key(ifindex) && !self.guards.contains(*ifindex);
            let name = facts.uplinks.get(ifindex).map(name_of).unwrap_or_default();
            Op::DetachUplink { ifindex: *ifindex, name, record }
        });
        let is_used = |ifindex: &u32| {
            let programs = facts.guard_pins.contains(ifindex) || facts.uplinks_linked.contains(ifindex);
            programs || self.guards.contains(*ifindex) || self.uplinks.contains(*ifindex)
        };
        let lone = facts.uplinks.keys().filter(|ifindex| !is_used(ifindex));
        programs.chain(lone.map(|ifindex| Op::RemoveEndpoint { ifindex: *ifindex })).collect()
    }

    /// Guards that nobody wants.
    fn stray_guards(&self, facts: &Facts) -> Vec<Op> {
        let strays = facts.guard_pins.iter().filter(|ifindex| !self.guards.contains(**ifindex));
        let unguard = |ifindex: &u32| Op::Unguard {
            ifindex: *ifindex,
            uplink: facts.uplinks.contains_key(ifindex) && !self.uplinks.contains(*ifindex),
        };
        strays.map(unguard).collect()
    }

    /// Mends what is not as it was left, as far as nobody fights about it.
    pub(super) fn repair(&mut self, facts: &Facts) -> Vec<Op> {
        self.repairs.begin();
        self.shortcuts.tell_again();
        let dead = facts.dead.iter().filter(|ifindex| self.endpoints.contains_key(ifindex));
        let replaced: Vec<u32> =
            dead.filter(|ifindex| self.repairs.mends(&Broken::Programs(**ifindex))).copied().collect();
        if !replaced.is_empty() {
            // What the facts say of them is of others, the next inspection sees the rest.
            let mut ops: Vec<Op> = replaced.into_iter().flat_map(|ifindex| self.replaced(ifindex)).collect();
            ops.push(Op::FactsChanged);
            return ops;
        }
        let mut broken = self.broken_host(facts);
        broken.extend(self.broken_endpoints(facts));
        let addresses = self.broken_addresses(facts);
        if addresses.len() > FLOOD {
            broken.push((Broken::Addresses, addresses.into_iter().flat_map(|(_, ops)| ops).collect()));
        } else {
            broken.extend(addresses);
        }
        broken.extend(self.broken_senders(facts));
        broken.extend(self.broken_outside(facts));
        broken.retain(|(broken, _)| self.repairs.mends(broken));
        let mut ops: Vec<Op> = broken.into_iter().flat_map(|(_, ops)| ops).collect();
        ops.extend(self.stray_links(facts));
        ops.extend(self.stray_guards(facts));
        ops.extend(self.stray_uplinks(facts));
        if ops.iter().any(Op::ends_judgements) {
            ops.push(Op::FactsChanged);
        }
        ops
    }

    fn broken_endpoints(&self, facts: &Facts) -> Vec<(Broken, Vec<Op>)> {
        let mut broken = Vec::new();
        for (&ifindex, endpoint) in &self.endpoints {
            if facts.endpoints.get(&ifindex) != Some(&endpoint.record) {
                let write = Op::WriteEndpoint { ifindex, endpoint: endpoint.record };
                broken.push((Broken::Endpoint(ifindex), vec![write]));
            }
            if endpoint.attached && !facts.attached.contains(&ifindex) {
                let attach = Op::Attach { ifindex, name: endpoint.name.clone() };
                broken.push((Broken::Programs(ifindex), vec![attach]));
            }
        }
        for &ifindex in facts.endpoints.keys().filter(|ifindex| !self.endpoints.contains_key(ifindex)) {
            broken.push((Broken::Endpoint(ifindex), vec![Op::RemoveEndpoint { ifindex }]));
        }
        broken
    }

    fn broken_addresses(&self, facts: &Facts) -> Vec<(Broken, Vec<Op>)> {
        let owned = self.endpoints.iter().flat_map(|(ifindex, endpoint)| {
            let networks = endpoint.owned.iter();
            let stamp = endpoint.record.stamp;
            networks.map(move |(network, origin)| (*network, owner(*ifindex, endpoint, *origin, stamp)))
        });
        let host = self.host.iter().map(|network| (*network, AddressOwner::HOST));
        let wanted: BTreeMap<Owned, AddressOwner> = owned.chain(host).collect();
        let all: BTreeSet<Owned> = wanted.keys().chain(facts.addresses.keys()).copied().collect();
        let differs = |network: &Owned| wanted.get(network) != facts.addresses.get(network);
        let mend = |network: Owned| {
            let op = wanted
                .get(&network)
                .map_or(Op::RemoveAddress(network), |owner| Op::WriteAddress { network, owner: *owner });
            (Broken::Address(network), vec![op])
        };
        let mut broken: Vec<_> = all.into_iter().filter(differs).map(mend).collect();
        // What has no business there makes room first.
        broken.sort_by_key(|(_, ops)| matches!(ops[..], [Op::WriteAddress { .. }]));
        broken
    }

    fn broken_outside(&self, facts: &Facts) -> Vec<(Broken, Vec<Op>)> {
        let uplinks = self.uplinks.missing(facts);
        let uplinks = uplinks.map(|(ifindex, op)| (Broken::Uplink(ifindex), vec![op]));
        let guards = self.guards.missing(facts);
        uplinks.chain(guards.map(|(ifindex, op)| (Broken::Guard(ifindex), vec![op]))).collect()
    }
}

fn adopted(ifindex: u32, record: &Endpoint, facts: &Facts) -> EndpointState {
    // An earlier user of the index may have left something.
    let all = facts.addresses.iter();
    let mine = all.filter(|(_, owner)| owner.ifindex == ifindex && owner.endpoint == record.id);
    EndpointState {
        id: record.id,
        name: name_of(record),
        alias: None,
        netns: BTreeSet::new(),
        namespace: Namespace::default(),
        labels: BTreeSet::new(),
        mac: Some(record.mac).filter(|mac| *mac != [0; 6]),
        mode: configured(facts, record.id.0),
        owned: mine.map(|(network, owner)| (*network, Origin::of(owner))).collect(),
        conflicts: BTreeSet::new(),
        attached: false,
        wire: Wire::default(),
        record: *record,
    }
}

fn name_of(record: &Endpoint) -> String {
    String::from_utf8_lossy(&record.name).trim_end_matches('\0').to_owned()
}

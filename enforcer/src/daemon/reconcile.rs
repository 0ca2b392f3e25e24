//! What the kernel holds, compared with what it should: after a start to take over what an earlier daemon
//! left, and from time to time to mend what somebody else broke. A part of the pure step.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::{AddressOwner, Endpoint, EndpointId};

use super::{
    claims::Origin,
    event::Facts,
    guards::Role,
    op::{Op, Owned},
    policies::Damage,
    step::{EndpointState, State, owner},
};

/// Who mends the same thing in every inspection may be fighting somebody: from this often on it waits longer
/// each time.
const PATIENCE: u32 = 3;

/// Wrong owners of prefixes that are told one by one.
const FLOOD: usize = 256;

/// The longest wait, in inspections, as a power of two.
const LONGEST_WAIT: u32 = 6;

/// What was mended, and how often.
#[derive(Clone, Debug, Default)]
pub struct Repairs {
    /// Inspections so far.
    inspections: u64,
    /// Repairs so far.
    count: u64,
    /// What was mended of late.
    mended: BTreeMap<Broken, Mended>,
    /// What was mended last.
    last: Option<Broken>,
}

/// Something that was not as it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Broken {
    /// The programs of an interface are gone, or are not ours.
    Programs(u32),
    /// The guard of an interface is gone.
    Guard(u32),
    /// An endpoint's record.
    Endpoint(u32),
    /// The owner of a prefix.
    Address(Owned),
    /// The owners of more prefixes than anybody wants to hear of.
    Addresses,
    /// A part of the policy.
    Policy(Damage),
    /// The gate before new workloads.
    Gate,
}

/// How often something was mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mended {
    /// In a row: it was broken again each time it was looked at.
    pub in_a_row: u32,
    /// The inspection that mended it last.
    last: u64,
    /// The inspection before which it is left as it is.
    not_before: u64,
}

impl Repairs {
    /// None.
    pub const fn new() -> Self {
        Self { inspections: 0, count: 0, mended: BTreeMap::new(), last: None }
    }

    /// The next inspection begins.
    fn begin(&mut self) {
        self.inspections += 1;
        // Whole again at the inspection after its wait: nobody is fighting.
        self.mended.retain(|_, mended| self.inspections <= mended.not_before);
    }

    /// Whether to mend it in this inspection; counts it if so.
    pub(super) fn mends(&mut self, broken: &Broken) -> bool {
        let now = self.inspections;
        let known = self.mended.get(broken).copied();
        if known.is_some_and(|mended| now < mended.not_before) {
            return false;
        }
        let in_a_row = known.map_or(1, |mended| mended.in_a_row + 1);
        let wait = 1 << in_a_row.saturating_sub(PATIENCE).min(LONGEST_WAIT);
        self.mended.insert(broken.clone(), Mended { in_a_row, last: now, not_before: now + wait });
        self.count += 1;
        self.last = Some(broken.clone());
        true
    }

    /// What was mended in the last inspection.
    pub fn latest(&self) -> impl Iterator<Item = &Broken> {
        let latest = self.mended.iter().filter(|(_, mended)| mended.last == self.inspections);
        latest.map(|(broken, _)| broken)
    }

    /// What somebody breaks again and again.
    pub fn contested(&self) -> impl Iterator<Item = (&Broken, u32)> {
        let contested = self.mended.iter().filter(|(_, mended)| mended.in_a_row > PATIENCE);
        contested.map(|(broken, mended)| (broken, mended.in_a_row))
    }

    /// Repairs so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// What was mended last.
    pub const fn last(&self) -> Option<&Broken> {
        self.last.as_ref()
    }
}

impl State {
    /// Takes over what an earlier daemon wrote: ids, so that counters and flows keep their meaning, and
    /// addresses, so that what was learned stays learned. The programs are put on again. What hangs on
    /// nothing any more has to go.
    pub fn adopt(&mut self, facts: &Facts) -> Vec<Op> {
        let mut ops = Vec::new();
        for (ifindex, record) in &facts.endpoints {
            self.last_id = self.last_id.max(record.id.0);
            if facts.linked.contains(ifindex) {
                self.endpoints.insert(*ifindex, adopted(*ifindex, record, &facts.addresses));
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
        ops.extend(self.adopt_guards(facts));
        // A daemon that died between a write and this left flows judged under facts that are gone.
        ops.push(Op::FactsChanged);
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
            if facts.uplinks.contains(&ifindex) {
                self.guards.adopt(ifindex, Role::Uplink);
            } else if self.endpoints.contains_key(&ifindex) {
                self.guards.adopt(ifindex, Role::Endpoint);
            }
        }
        self.stray_guards(facts)
    }

    /// Guards that nobody wants, and records of uplinks that no guard runs by.
    fn stray_guards(&self, facts: &Facts) -> Vec<Op> {
        let strays = facts.guard_pins.iter().filter(|ifindex| !self.guards.contains(**ifindex));
        let guards =
            strays.map(|ifindex| Op::Unguard { ifindex: *ifindex, uplink: facts.uplinks.contains(ifindex) });
        let lone = facts.uplinks.difference(&facts.guard_pins);
        let lone = lone.filter(|ifindex| !self.guards.contains(**ifindex));
        guards.chain(lone.map(|ifindex| Op::RemoveEndpoint { ifindex: *ifindex })).collect()
    }

    /// Mends what is not as it was left, as far as nobody fights about it.
    pub(super) fn repair(&mut self, facts: &Facts) -> Vec<Op> {
        self.repairs.begin();
        let dead = facts.dead.iter().filter(|ifindex| self.endpoints.contains_key(ifindex));
        let replaced: Vec<u32> =
            dead.filter(|ifindex| self.repairs.mends(&Broken::Programs(**ifindex))).copied().collect();
        if !replaced.is_empty() {
            // What the facts say of them is of others, the next inspection sees the rest.
            let mut ops: Vec<Op> = replaced.into_iter().flat_map(|ifindex| self.replaced(ifindex)).collect();
            ops.push(Op::FactsChanged);
            return ops;
        }
        let mut broken = self.broken_endpoints(facts);
        let addresses = self.broken_addresses(facts);
        if addresses.len() > FLOOD {
            broken.push((Broken::Addresses, addresses.into_iter().flat_map(|(_, ops)| ops).collect()));
        } else {
            broken.extend(addresses);
        }
        broken.extend(self.broken_guards(facts));
        broken.retain(|(broken, _)| self.repairs.mends(broken));
        let mut ops: Vec<Op> = broken.into_iter().flat_map(|(_, ops)| ops).collect();
        ops.extend(self.stray_links(facts));
        ops.extend(self.stray_guards(facts));
        let only_programs = |op: &Op| {
            matches!(op, Op::Attach { .. } | Op::Guard { .. } | Op::Unguard { .. } | Op::Forget { .. })
        };
        if !ops.iter().all(only_programs) {
            ops.push(Op::FactsChanged);
        }
        ops
    }

    /// What was broken, for people.
    pub fn describe(&self, broken: &Broken) -> String {
        match broken {
            Broken::Programs(ifindex) => format!("the programs of {}", self.interface(*ifindex)),
            Broken::Guard(ifindex) => format!("the guard of {}", self.interface(*ifindex)),
            Broken::Endpoint(ifindex) => format!("the record of {}", self.interface(*ifindex)),
            Broken::Addresses => "the owners of many addresses".to_owned(),
            Broken::Address(network) => format!("the owner of {}", network.text()),
            Broken::Policy(damage) => damage.to_string(),
            Broken::Gate => "the gate".to_owned(),
        }
    }

    fn interface(&self, ifindex: u32) -> String {
        let endpoint = self.endpoints.get(&ifindex).map(|endpoint| endpoint.name.as_str());
        let name = endpoint.or_else(|| self.guards.name(ifindex));
        name.map_or_else(|| format!("interface {ifindex}"), str::to_owned)
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

    fn broken_guards(&self, facts: &Facts) -> Vec<(Broken, Vec<Op>)> {
        let missing = self.guards.missing(&facts.guards, &facts.uplinks);
        missing.map(|(ifindex, op)| (Broken::Guard(ifindex), vec![op])).collect()
    }
}

fn adopted(ifindex: u32, record: &Endpoint, addresses: &BTreeMap<Owned, AddressOwner>) -> EndpointState {
    // An earlier user of the index may have left something.
    let mine = addresses.iter().filter(|(_, owner)| owner.ifindex == ifindex && owner.endpoint == record.id);
    EndpointState {
        id: record.id,
        name: name_of(record),
        mac: Some(record.mac).filter(|mac| *mac != [0; 6]),
        owned: mine.map(|(network, owner)| (*network, Origin::of(owner))).collect(),
        conflicts: BTreeSet::new(),
        attached: false,
        record: *record,
    }
}

fn name_of(record: &Endpoint) -> String {
    String::from_utf8_lossy(&record.name).trim_end_matches('\0').to_owned()
}

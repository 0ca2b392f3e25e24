//! What must never be, and what must not be when all has come to rest.

mod disk;
mod facts;
mod members;

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::endpoint::{AddressOwner, Endpoint, EndpointId};

use super::{
    disk::FakeDisk,
    host::Host,
    machine::Machine,
    pool::{WORKLOADS, by_digest},
};
use crate::{
    config::Config,
    daemon::{claims::Origin, op::Owned, store::Saved},
};

/// After every operation: what must never be.
pub fn always(machine: &Machine) -> Option<String> {
    passes_too_much(machine)
        .or_else(|| members::always(machine))
        .or_else(|| spoofs(machine))
        .or_else(|| facts::masks(machine))
}

/// What the kernel lets pass, no policy does that may decide.
fn passes_too_much(machine: &Machine) -> Option<String> {
    let deciding = machine.deciding()?;
    let number = deciding.number;
    let Some(passes) = &machine.banks[deciding.bank as usize] else {
        return Some(format!("generation {number} decides by a bank that was never written"));
    };
    let surplus = passes.beyond(machine.ledger.passes(machine.now))?;
    let policy = by_digest(&deciding.digest);
    Some(format!(
        "generation {number} (policy {policy:?}) passes {surplus}, and nothing that may decide does"
    ))
}

/// A workload speaks as somebody whose address its interface was never given.
fn spoofs(machine: &Machine) -> Option<String> {
    machine.links.iter().filter(|(ifindex, link)| machine.is_alive(**ifindex, link)).find_map(
        |(ifindex, _)| {
            let record = machine.endpoints.get(ifindex)?;
            let interface = &machine.host.interfaces[ifindex];
            let admits =
                |address: &Owned| owner(machine, address).is_some_and(|owner| owner.endpoint == record.id);
            let universe = WORKLOADS.map(|text| Owned::from(text.parse::<std::net::IpAddr>().unwrap()));
            let is_given = |address: &Owned| interface.given.iter().any(|given| given.covers(address));
            let spoofed = universe.into_iter().find(|address| admits(address) && !is_given(address))?;
            let name = &interface.veth.name;
            Some(format!("{name} (index {ifindex}) speaks as {}, which it never had", spoofed.text()))
        },
    )
}

fn owner<'a>(machine: &'a Machine, address: &Owned) -> Option<&'a AddressOwner> {
    let covering = machine.addresses.iter().filter(|(owned, _)| owned.covers(address));
    covering.max_by_key(|(owned, _)| owned.bits).map(|(_, owner)| owner)
}

/// What is told of the policy is what decides.
pub fn told(machine: &Machine, saved: Option<&Saved>) -> Option<String> {
    let deciding = machine.deciding()?;
    // The kernel obeys a deadline at once, the daemon a little later.
    let is_late = machine.word.is_unconfirmed() && machine.now >= machine.record(machine.word).deadline;
    let told = saved.map(|saved| saved.policy.digest());
    (!is_late && told != Some(deciding.digest)).then(|| {
        let (number, saved) = (deciding.number, saved.map(|saved| saved.number));
        format!("the kernel decides by generation {number}, what is told is another policy: {saved:?}")
    })
}

/// The ids of what decides are nobody else's.
pub fn named(machine: &mut Machine, saved: &Saved) -> Option<String> {
    if machine.deciding().map(|deciding| deciding.number) != Some(saved.number) {
        return None;
    }
    let networks = saved.policy.networks.keys();
    let networks =
        networks.filter_map(|name| Some(("network", saved.ids.networks.id(name)?, name.to_string())));
    let rules = saved.policy.rules.keys();
    let rules = rules.filter_map(|name| Some(("rule", saved.ids.rules.id(name)?, name.to_string())));
    let all: Vec<_> = networks.chain(rules).collect();
    all.into_iter().find_map(|(kind, id, name)| {
        let known = machine.names.entry((kind, id)).or_insert_with(|| name.clone());
        (*known != name).then(|| format!("{kind} {name} counts under id {id}, which was {known}'s"))
    })
}

/// Nothing happens any more: what the kernel holds is what the host is.
pub fn at_rest(machine: &Machine, disk: &FakeDisk, config: &Config) -> Option<String> {
    policy_at_rest(machine)
        .or_else(|| disk::at_rest(machine, disk))
        .or_else(|| members::at_rest(machine))
        .or_else(|| interfaces_at_rest(machine))
        .or_else(|| ids_are_shared(machine))
        .or_else(|| addresses_at_rest(machine, config))
        .or_else(|| facts::at_rest(machine, config))
        .or_else(|| machine.changed.then(|| "flows remember what facts said that are gone".to_owned()))
}

fn policy_at_rest(machine: &Machine) -> Option<String> {
    let ledger = &machine.ledger;
    match machine.deciding() {
        None => {
            ledger.acknowledged.map(|policy| format!("policy {policy} was acknowledged, and none decides"))
        }
        Some(deciding) => {
            let allowed =
                by_digest(&deciding.digest).is_some_and(|policy| ledger.allows(policy, machine.now));
            let policy = by_digest(&deciding.digest);
            (!allowed).then(|| format!("policy {policy:?} decides, which is older than {ledger:?}"))
        }
    }
}

fn interfaces_at_rest(machine: &Machine) -> Option<String> {
    let facts = machine.facts();
    let observed = machine.host.observe();
    let veths: BTreeSet<u32> = observed.veths.keys().copied().collect();
    let uplinks: BTreeSet<u32> = observed.uplinks.keys().copied().collect();
    let guarded: BTreeSet<u32> = observed
        .veths
        .iter()
        .filter(|(_, veth)| veth.name == "veth-c")
        .map(|(ifindex, _)| *ifindex)
        .chain(uplinks.iter().copied())
        .collect();
    let links = machine.links.keys().copied().collect();
    let records = facts.endpoints.keys().copied().collect();
    let seen_uplinks: BTreeSet<u32> = facts.uplinks.keys().copied().collect();
    let outside = observed.uplinks.iter().filter(|(_, name)| *name == "eth1");
    let outside: BTreeSet<u32> = outside.map(|(ifindex, _)| *ifindex).collect();
    let sets: [(&str, &BTreeSet<u32>, &BTreeSet<u32>); 8] = [
        ("with a record", &records, &veths),
        ("with programs", &facts.attached, &veths),
        ("with links", &links, &veths),
        ("with an uplink's record", &seen_uplinks, &uplinks),
        ("with an uplink's program", &facts.uplinks_attached, &outside),
        ("with an uplink's link", &facts.uplinks_linked, &outside),
        ("guarded", &facts.guards, &guarded),
        ("with a guard's link", &facts.guard_pins, &guarded),
    ];
    let wrong = sets.into_iter().find(|(_, seen, wanted)| seen != wanted);
    wrong.map(|(what, seen, wanted)| format!("interfaces {what}: {seen:?}, should be {wanted:?}")).or_else(
        || facts.endpoints.iter().find_map(|(ifindex, record)| wrong_record(machine, *ifindex, record)),
    )
}

fn wrong_record(machine: &Machine, ifindex: u32, record: &Endpoint) -> Option<String> {
    let name = &machine.host.interfaces[&ifindex].veth.name;
    let written = String::from_utf8_lossy(&record.name);
    let owns = machine.addresses.values().any(|owner| owner.ifindex == ifindex);
    if written.trim_end_matches('\0') != name {
        Some(format!("{name} has the record of {written}"))
    } else if owns != (record.flags & Endpoint::ADDRESSED != 0) {
        Some(format!("{name} owns an address: {owns}, and its record says otherwise"))
    } else {
        None
    }
}

fn ids_are_shared(machine: &Machine) -> Option<String> {
    let mut seen = BTreeMap::new();
    let mut records = machine.endpoints.iter().filter(|(_, record)| record.id != EndpointId::REMOTE);
    records.find_map(|(ifindex, record)| {
        let other = seen.insert(record.id, ifindex)?;
        Some(format!("interfaces {other} and {ifindex} are both endpoint {}", record.id.0))
    })
}

fn addresses_at_rest(machine: &Machine, config: &Config) -> Option<String> {
    let wanted = Rights::of(&machine.host, config);
    let all: BTreeSet<Owned> = machine.addresses.keys().chain(wanted.0.keys()).copied().collect();
    all.into_iter().find_map(|address| {
        let owner = machine.addresses.get(&address);
        let endpoint = owner.and_then(|owner| Some(machine.endpoints.get(&owner.ifindex)?.id));
        let is_real =
            owner.is_none_or(|owner| owner.endpoint == EndpointId::HOST || Some(owner.endpoint) == endpoint);
        let text = address.text();
        if !is_real {
            return Some(format!("{text} belongs to an endpoint that is not there: {owner:?}"));
        }
        let claims = wanted.0.get(&address);
        (!wanted.admit(machine, &address, owner))
            .then(|| format!("{text} is {owner:?}, claimed by {claims:?}"))
    })
}

/// Who has a right to each address: the best reason, and all who have it. The host is 0.
struct Rights(BTreeMap<Owned, (Option<Origin>, BTreeSet<u32>)>);

impl Rights {
    fn of(host: &Host, config: &Config) -> Self {
        let own = host.addresses.iter().map(|network| (Owned::from(*network), None, 0));
        let veths = host.interfaces.iter().filter(|(_, interface)| interface.veth.name.starts_with("veth"));
        let claims = veths.flat_map(|(ifindex, interface)| {
            let rights = interface.rights(config).into_iter();
            rights.map(|(owned, origin)| (owned, Some(origin), *ifindex))
        });
        let mut rights = Self(BTreeMap::new());
        for (owned, origin, ifindex) in own.chain(claims) {
            let (best, claimants) = rights.0.entry(owned).or_insert((origin, BTreeSet::new()));
            if origin < *best {
                (*best, *claimants) = (origin, BTreeSet::new());
            }
            if origin == *best {
                claimants.insert(ifindex);
            }
        }
        rights
    }

    /// Who comes first keeps it among equals. A learned address may be refused, and stays with whom it was
    /// given to while nobody claims it.
    fn admit(&self, machine: &Machine, address: &Owned, owner: Option<&AddressOwner>) -> bool {
        match (self.0.get(address), owner) {
            (Some((best, _)), None) => *best == Some(Origin::Learned),
            (Some((_, claimants)), Some(owner)) => claimants.contains(&owner.ifindex),
            (None, Some(owner)) => {
                let interface = machine.host.interfaces.get(&owner.ifindex);
                owner.flags & AddressOwner::LEARNED != 0
                    && interface.is_some_and(|interface| interface.given.contains(address))
            }
            (None, None) => true,
        }
    }
}

//! From conversations to networks and rules that let them pass, and little else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    Host,
    seen::{Conversation, Peer, Seen, net},
};
use crate::policy::{Policy, prefix::Prefix, service::Service};
use crate::render::count;

/// Whoever uses so many services of another does not use a service, he belongs to him.
const MANY_SERVICES: usize = 5;

/// Whoever uses more ports than this of a protocol gets the protocol.
const MANY_PORTS: usize = 8;

/// A policy in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub networks: Vec<Network>,
    pub rules: Vec<Rule>,
    /// What was seen and is not in it, for people.
    pub left_out: Vec<String>,
}

/// Workloads that talk as equals.
#[derive(Debug)]
pub(super) struct Network {
    pub name: String,
    pub members: BTreeSet<String>,
    pub prefixes: BTreeSet<IpNet>,
}

/// Workloads that use what another serves.
#[derive(Debug)]
pub(super) struct Rule {
    pub name: String,
    pub from: BTreeSet<String>,
    pub to: BTreeSet<String>,
    pub allow: BTreeSet<Service>,
    pub packets: u64,
    /// Names of both sides, as drops are told by.
    parties: (BTreeSet<String>, BTreeSet<String>),
}

impl Draft {
    /// Whether it lets something of this row pass.
    pub fn covers(&self, src: &str, dst: &str, service: &str) -> bool {
        let Ok(service) = service.parse::<Service>() else { return false };
        let points = service.points();
        let within = |allowed: &Service| {
            let ranges = allowed.points();
            points.iter().all(|point| {
                ranges.iter().any(|range| range.start() <= point.start() && point.end() <= range.end())
            })
        };
        let shared =
            self.networks.iter().any(|network| [src, dst].iter().all(|name| network.members.contains(*name)));
        shared
            || self.rules.iter().any(|rule| {
                rule.parties.0.contains(src) && rule.parties.1.contains(dst) && rule.allow.iter().any(within)
            })
    }
}

/// A draft, if anything was seen. Where a policy decides already it is an addition of rules.
pub(super) fn draft(seen: &Seen, host: &Host, has_policy: bool) -> Option<Draft> {
    let mut draft = Draft::default();
    // A rule that denies was written by somebody who meant it.
    let (denied, wanted): (Vec<_>, Vec<_>) =
        seen.conversations.iter().partition(|seen| seen.reason == "denied-by-rule");
    if !denied.is_empty() {
        draft.left_out.push(format!("{} that a rule denies", count(denied.len(), "conversation")));
    }
    if !has_policy {
        draft.networks = networks(&wanted, host);
    }
    let wanted = wanted.into_iter().filter(|seen| !shares(&draft.networks, seen));
    let (rules, left_out) = rules(wanted, &host.policy);
    (draft.rules, draft.left_out) = (rules, [draft.left_out, left_out].concat());
    (!draft.networks.is_empty() || !draft.rules.is_empty()).then_some(draft)
}

fn shares(networks: &[Network], seen: &Conversation) -> bool {
    let (Peer::Local(from), Peer::Local(to)) = (&seen.from, &seen.to) else { return false };
    networks.iter().any(|network| {
        let is_in = |address| network.prefixes.iter().any(|prefix| prefix.contains(&address));
        network.members.contains(from) && network.members.contains(to) && is_in(seen.src) && is_in(seen.dst)
    })
}

/// Connected components of workloads that open to each other, or that use each other for many things.
fn networks(seen: &[&Conversation], host: &Host) -> Vec<Network> {
    let mut used: BTreeMap<(&str, &str), BTreeSet<Service>> = BTreeMap::new();
    for seen in seen {
        if let (Peer::Local(from), Peer::Local(to)) = (&seen.from, &seen.to)
            && from != to
        {
            used.entry((from, to)).or_default().insert(seen.service);
        }
    }
    let equals = used.iter().filter(|((from, to), services)| {
        services.len() >= MANY_SERVICES
            // A ping in the other direction makes nobody an equal.
            || [services, used.get(&(*to, *from)).unwrap_or(&BTreeSet::new())]
                .iter()
                .all(|services| services.iter().any(|service| *service != Service::Ping))
    });
    let mut components: Vec<BTreeSet<String>> = Vec::new();
    for ((from, to), _) in equals {
        let touches = |component: &BTreeSet<String>| component.contains(*from) || component.contains(*to);
        let (joining, others): (Vec<_>, Vec<_>) = components.into_iter().partition(touches);
        let mut joined: BTreeSet<String> = joining.into_iter().flatten().collect();
        joined.extend([(*from).to_owned(), (*to).to_owned()]);
        components = others;
        components.push(joined);
    }
    components.sort();
    let named = components.into_iter().enumerate().map(|(at, members)| {
        let prefixes = prefixes(&members, host);
        Network { name: format!("network-{}", at + 1), members, prefixes }
    });
    named.filter(|network| !network.prefixes.is_empty()).collect()
}

/// The members' addresses; a subnet of the host for those in it, where nobody else was seen there.
fn prefixes(members: &BTreeSet<String>, host: &Host) -> BTreeSet<IpNet> {
    let owned = |is_member: bool| {
        let endpoints = host.endpoints.iter().filter(move |one| members.contains(&one.name) == is_member);
        endpoints.flat_map(|endpoint| endpoint.addresses.iter().filter_map(|text| net(text)))
    };
    let own: BTreeSet<IpNet> = owned(true).filter(|own| is_prefix(&own.to_string())).collect();
    let strangers = host.flows.iter().flat_map(|flow| {
        [(flow.src, &flow.endpoint_src), (flow.dst, &flow.endpoint_dst)]
            .into_iter()
            .filter(|(_, endpoint)| endpoint.is_none())
            .map(|(address, _)| IpNet::from(address))
    });
    let others: Vec<IpNet> = owned(false).chain(strangers.filter(|one| !own.contains(one))).collect();
    let fits = |subnet: &IpNet| {
        let overlaps = |other: &IpNet| subnet.contains(other) || other.contains(subnet);
        own.iter().filter(|own| subnet.contains(*own)).nth(1).is_some()
            && !others.iter().any(overlaps)
            && is_prefix(&subnet.to_string())
    };
    let subnets: Vec<IpNet> = host.subnets.iter().map(IpNet::trunc).filter(fits).collect();
    let alone = own.into_iter().filter(|own| !subnets.iter().any(|subnet| subnet.contains(own)));
    IpNet::aggregate(&alone.chain(subnets.iter().copied()).collect()).into_iter().collect()
}

/// Whether a network may consist of it.
fn is_prefix(text: &str) -> bool {
    text.parse::<Prefix>().is_ok()
}

/// What one party uses of another.
#[derive(Default)]
struct Use {
    from: BTreeSet<String>,
    to: BTreeSet<String>,
    services: BTreeSet<Service>,
    packets: u64,
    parties: (BTreeSet<String>, BTreeSet<String>),
}

impl Use {
    fn join(&mut self, other: Self) {
        self.from.extend(other.from);
        self.to.extend(other.to);
        self.packets += other.packets;
        self.parties.0.extend(other.parties.0);
        self.parties.1.extend(other.parties.1);
    }
}

/// Who serves what to whom: one rule for all that use the same of the same. And how many conversations no rule can
/// name.
fn rules<'s>(seen: impl Iterator<Item = &'s Conversation>, policy: &Policy) -> (Vec<Rule>, Vec<String>) {
    let mut uses: BTreeMap<[String; 2], Use> = BTreeMap::new();
    let mut unsaid = 0;
    for seen in seen {
        let (from, to) = (end(&seen.from, seen.src, policy), end(&seen.to, seen.dst, policy));
        let (Some(from), Some(to)) = (from, to) else {
            unsaid += 1;
            continue;
        };
        let entry = uses.entry([called(&seen.from, &from), called(&seen.to, &to)]).or_default();
        entry.from.insert(from);
        entry.to.insert(to);
        entry.services.insert(seen.service);
        entry.packets += seen.packets;
        entry.parties.0.insert(seen.from.told(seen.src));
        entry.parties.1.insert(seen.to.told(seen.dst));
    }
    let mut merged: BTreeMap<(String, BTreeSet<Service>), (Vec<String>, Use)> = BTreeMap::new();
    for ([from, to], used) in uses {
        let (clients, all) = merged.entry((to, widened(&used.services))).or_default();
        clients.push(from);
        all.join(used);
    }
    let mut taken: BTreeSet<String> = policy.rules.keys().map(ToString::to_string).collect();
    let rules =
        merged.into_iter().map(|((to, allow), (clients, Use { from, to: ends, packets, parties, .. }))| {
            Rule { name: unique(&name(&clients, &to), &mut taken), from, to: ends, allow, packets, parties }
        });
    let rules = rules.collect();
    let unsaid = (unsaid > 0)
        .then(|| format!("{} with an address that no rule can name", count(unsaid, "conversation")));
    (rules, unsaid.into_iter().collect())
}

/// What a rule calls a party; all of the world is one.
fn called(peer: &Peer, end: &str) -> String {
    match peer {
        Peer::Local(name) => name.chars().filter(|c| !c.is_control()).collect(),
        Peer::Host | Peer::Remote => end.to_owned(),
    }
}

/// An end of a rule: whoever is beyond an uplink is of the world, unless it has an address of its own kind or the
/// policy knows it.
fn end(peer: &Peer, address: IpAddr, policy: &Policy) -> Option<String> {
    let single = IpNet::from(address).to_string();
    match peer {
        Peer::Host => Some("host".to_owned()),
        Peer::Remote if is_prefix(&single) && !is_known(policy, address) => Some("world".to_owned()),
        Peer::Remote | Peer::Local(_) => Prefix::in_rule(&single).ok().map(|prefix| prefix.to_string()),
    }
}

fn is_known(policy: &Policy, address: IpAddr) -> bool {
    policy.networks.values().chain(policy.groups.values()).any(|set| set.covers(address))
}

/// The services, or whole protocols where there are many.
fn widened(services: &BTreeSet<Service>) -> BTreeSet<Service> {
    let protocol_of = |service: &Service| match service {
        Service::Ports { protocol, .. } => Some(*protocol),
        _ => None,
    };
    let widen = |service: &Service| {
        let protocol = protocol_of(service)?;
        let ports = services.iter().filter(|other| protocol_of(other) == Some(protocol)).count();
        (ports > MANY_PORTS).then_some(Service::Protocol(protocol))
    };
    services.iter().map(|service| widen(service).unwrap_or(*service)).collect()
}

fn name(clients: &[String], to: &str) -> String {
    match clients {
        [first, rest @ ..] if rest.len() > 1 => format!("{first} and {} others to {to}", rest.len()),
        few => format!("{} to {to}", few.join(" and ")),
    }
}

/// The name with a number behind it, where somebody has it already.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).expect("numbers do not end");
    taken.insert(free.clone());
    free
}

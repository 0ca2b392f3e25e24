//! The kernel's ruling over compiled tables against the meaning of rules, word by word: random policies,
//! random packets.

use std::{collections::BTreeSet, net::IpAddr};

use enforcer_common::{
    address::{Address, Scope},
    flow::{FlowKey, protocol},
    policy::{self, Party, Point, RuleWord, Rules, Ruling},
};
use proptest::{prelude::*, sample::Index};

use super::{
    tests::{any_network, any_prefix, edges, ip},
    *,
};
use crate::policy::{
    AddressSet, Mode, Prefix, Source,
    rule::{Action, End, Side},
    service::Service,
};

#[path = "edit_tests.rs"]
mod edits;

/// Everything that the kernel knows of one end of a packet.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: IpAddr,
    owner: Owner,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Nobody,
    Endpoint,
    Host,
}

/// Whether a rule matches a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Match {
    Surely,
    Perhaps,
    No,
}

fn is_link_local(address: IpAddr) -> bool {
    Prefix::LINK_LOCAL.iter().any(|range| range.contains(address))
}

/// Whether a prefix of `set` covers the address, and no exception does.
fn is_member(set: &AddressSet, address: IpAddr) -> bool {
    let covers = |prefixes: &BTreeSet<Prefix>| prefixes.iter().any(|prefix| prefix.contains(address));
    !is_link_local(address) && covers(set.prefixes()) && !covers(set.except())
}

fn names(policy: &Policy, end: &End, peer: Peer) -> bool {
    let (address, host) = (peer.address, peer.owner == Owner::Host);
    let mut sets = policy.networks.iter().chain(&policy.groups);
    match end {
        End::Host => host,
        _ if host => false,
        End::Any => true,
        End::Named(named) => sets.any(|(name, set)| name == named && is_member(set, address)),
        End::Glob(glob) => sets.any(|(name, set)| glob.matches(name) && is_member(set, address)),
        End::Prefix(prefix) if is_link_local(address) => {
            prefix.contains(address) && Prefix::LINK_LOCAL.iter().any(|range| range.encloses(prefix))
        }
        End::Prefix(prefix) => prefix.contains(address),
        End::World => {
            let covered = sets.any(|(_, set)| set.prefixes().iter().any(|prefix| prefix.contains(address)));
            peer.owner == Owner::Nobody && !covered && !is_link_local(address)
        }
    }
}

fn matches_side(policy: &Policy, side: &Side, peer: Peer) -> bool {
    side.ends.iter().any(|end| names(policy, end, peer))
        && !side.except.iter().any(|end| names(policy, end, peer))
}

/// Whether a service is about a packet whose ports are known.
fn is_about(service: Service, key: &FlowKey) -> bool {
    match service {
        Service::Any => true,
        Service::Ping => matches!((key.protocol, key.icmp_type), (1, 8) | (58, 128)),
        Service::Protocol(number) => key.protocol == number,
        Service::Ports { protocol, first, last } => {
            key.protocol == protocol && (first..=last).contains(&u16::from_be(key.dst_port))
        }
        Service::Icmp { protocol, kind } => key.protocol == protocol && key.icmp_type == kind,
    }
}

/// What the packet of a later fragment could be: every end of every range in [`SERVICES`] is among it.
fn possible(key: &FlowKey) -> Vec<FlowKey> {
    let known = FlowKey { flags: 0, ..*key };
    match key.protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            (0..=255).map(|icmp_type| FlowKey { icmp_type, ..known }).collect()
        }
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            PORTS.iter().map(|port| FlowKey { dst_port: port.to_be(), ..known }).collect()
        }
        _ => vec![known],
    }
}

fn matches_services(rule: &Rule, key: &FlowKey) -> Match {
    let is_about = |key: &FlowKey| rule.services().iter().any(|&service| is_about(service, key));
    let sure = |surely, perhaps| match (surely, perhaps) {
        (true, _) => Match::Surely,
        (_, true) => Match::Perhaps,
        _ => Match::No,
    };
    if key.has_ports() {
        sure(is_about(key), false)
    } else if protocol::is_extension(key.protocol) {
        sure(rule.services().contains(&Service::Any), true)
    } else {
        let possible = possible(key);
        sure(possible.iter().all(is_about), possible.iter().any(is_about))
    }
}

/// The rule with the lowest id of those of an action and a mode that match a packet so.
fn lowest(
    policy: &Policy,
    ids: &Ids,
    [src, dst]: [Peer; 2],
    key: &FlowKey,
    (action, mode, how): (Action, Mode, Match),
) -> Option<u32> {
    let rules = policy.rules.iter().filter(|(_, rule)| {
        (rule.action(), rule.mode()) == (action, mode)
            && matches_side(policy, rule.from(), src)
            && matches_side(policy, rule.to(), dst)
            && matches_services(rule, key) == how
    });
    rules.map(|(name, _)| ids.rules.id(name).unwrap()).min()
}

/// What the policy means.
fn meaning(policy: &Policy, ids: &Ids, src: Peer, dst: Peer, key: &FlowKey) -> Ruling {
    let lowest = |action, how| lowest(policy, ids, [src, dst], key, (action, Mode::Enforce, how));
    let member = |set: &AddressSet, peer: Peer| peer.owner != Owner::Host && is_member(set, peer.address);
    let shared = policy.networks.iter().filter(|(_, set)| member(set, src) && member(set, dst));
    if let Some(rule) = lowest(Action::Deny, Match::Surely) {
        Ruling::Denied(rule)
    } else if lowest(Action::Deny, Match::Perhaps).is_some() {
        Ruling::Unsure
    } else if let Some(network) = shared.map(|(name, _)| ids.networks.id(name).unwrap()).min() {
        Ruling::Shared(network)
    } else if let Some(rule) = lowest(Action::Allow, Match::Surely) {
        Ruling::Allowed(rule)
    } else if lowest(Action::Allow, Match::Perhaps).is_some() {
        Ruling::Unsure
    } else {
        Ruling::Silent
    }
}

/// What the kernel does, and the rules that it found for that.
fn ruled(tables: &Tables, src: Peer, dst: Peer, key: &FlowKey) -> (Ruling, Rules) {
    let mut rules = Rules::default();
    let [src, dst] = [src, dst].map(|peer| party(tables, peer));
    (policy::ruling(&src, &dst, Point::of(key), tables, &mut rules), rules)
}

fn party(tables: &Tables, peer: Peer) -> Party {
    match peer.owner {
        Owner::Host => Party { membership: tables.host, local: true },
        owner => Party { membership: tables.membership(peer.address), local: owner == Owner::Endpoint },
    }
}

/// Whether somebody's network is in `audit` mode, and nobody's enforces.
fn is_audited(policy: &Policy, peers: [Peer; 2]) -> bool {
    let of = |mode| {
        let mut networks = policy.networks.values().filter(|network| network.mode() == mode);
        networks.any(|network| {
            peers.iter().any(|peer| peer.owner != Owner::Host && is_member(network, peer.address))
        })
    };
    of(Mode::Audit) && !of(Mode::Enforce)
}

const SETS: [&str; 7] = ["n0", "n1", "n2", "n3", "g0", "g1", "g2"];

const SERVICES: [&str; 20] = [
    "any",
    "any",
    "ping",
    "tcp",
    "udp",
    "tcp/80",
    "tcp/0-79",
    "tcp/81-65535",
    "tcp/80-90",
    "tcp/1-65535",
    "udp/53",
    "udp/0-52",
    "udp/54-65535",
    "sctp/9",
    "icmp",
    "icmp/3",
    "icmp6/128",
    "proto/47",
    "proto/43",
    "proto/255",
];

/// Both ends of every range of ports above, and their neighbours.
const PORTS: [u16; 14] = [0, 1, 8, 9, 10, 52, 53, 54, 79, 80, 81, 90, 91, u16::MAX];

const AROUND_LINK_LOCAL: [&str; 8] = [
    "169.254.0.0/16",
    "169.254.169.254/32",
    "169.254.0.0/17",
    "169.0.0.0/8",
    "fe80::/10",
    "fe80::/64",
    "fe80::1/128",
    "fe00::/8",
];

fn any_exception() -> impl Strategy<Value = End> {
    let parsed = |texts: &'static [&'static str]| {
        prop::sample::select(texts).prop_map(|text: &str| text.parse::<End>().unwrap())
    };
    prop_oneof![
        4 => parsed(&SETS),
        1 => parsed(&["n*", "g?", "*1", "?2", "*"]),
        1 => parsed(&AROUND_LINK_LOCAL),
        2 => any_prefix().prop_map(End::Prefix),
    ]
}

fn any_side() -> impl Strategy<Value = Side> {
    let special = prop::sample::select(vec![End::World, End::Host, End::Any]);
    let end = prop_oneof![2 => any_exception(), 1 => special];
    let ends = prop::collection::btree_set(end, 1..4);
    (ends, prop::collection::btree_set(any_exception(), 0..3)).prop_map(|(ends, mut except)| {
        if ends.iter().all(|end| *end == End::Host) {
            except.clear();
        }
        Side { ends, except }
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let service = prop::sample::select(SERVICES.as_slice()).prop_map(|text| text.parse().unwrap());
    let services = prop::collection::btree_set(service, 1..4);
    let actions = vec![
        (Action::Allow, Mode::Enforce),
        (Action::Allow, Mode::Enforce),
        (Action::Deny, Mode::Enforce),
        (Action::Deny, Mode::Audit),
    ];
    (any_side(), any_side(), prop::sample::select(actions), services).prop_map(
        |(from, to, (action, mode), services)| {
            Rule::new(from, to, action, services).unwrap().in_mode(mode).unwrap()
        },
    )
}

/// A policy, and ids in another order than the names'.
fn any_policy() -> impl Strategy<Value = (Policy, Ids)> {
    let mode = prop::sample::select(vec![Mode::Enforce, Mode::Audit]);
    let network = (any_network(), mode).prop_map(|(network, mode)| network.in_mode(mode));
    let sets = prop::collection::vec(network, SETS.len());
    let rules = prop::collection::vec((any_rule(), any::<bool>()), 0..6);
    (sets, rules).prop_map(|(sets, rules)| {
        let mut sets: Vec<_> = SETS.iter().map(|name| name.parse().unwrap()).zip(sets).collect();
        let groups = sets.split_off(4).into_iter();
        let groups = groups.map(|(name, group)| (name, group.in_mode(Mode::Enforce)));
        let early: Vec<bool> = rules.iter().map(|(_, early)| *early).collect();
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(i, (rule, _))| (format!("rule {i}").parse().unwrap(), rule)).collect();
        let policy = Policy::new(sets.into_iter().collect(), groups.collect(), rules).unwrap();
        let mut first = policy.clone();
        let mut keep = early.into_iter();
        first.rules.retain(|_, _| keep.next() == Some(true));
        first.networks.pop_first();
        let ids = Ids::default().assign(&first).unwrap().assign(&policy).unwrap();
        (policy, ids)
    })
}

/// Addresses that packets have, at and around both ends of every prefix that is written anywhere.
fn addresses(policy: &Policy) -> Vec<IpAddr> {
    let inline = policy.rules.values().flat_map(Rule::ends).filter_map(|end| match end {
        End::Prefix(prefix) => Some(*prefix),
        _ => None,
    });
    let around = |prefix: Prefix| {
        let ends = [prefix.start(), prefix.end()].into_iter();
        ends.flat_map(|end| [end.wrapping_sub(1), end, end.wrapping_add(1)]).map(ip)
    };
    let sets = Policy { networks: policy.groups.clone(), ..Policy::default() };
    let all: BTreeSet<IpAddr> = edges(policy)
        .into_iter()
        .chain(edges(&sets))
        .chain(inline.chain(Prefix::LINK_LOCAL).flat_map(around))
        .collect();
    let judged =
        |address: &IpAddr| matches!(Address::from(*address).scope(), Scope::Global | Scope::LinkLocal);
    all.into_iter().filter(judged).collect()
}

fn any_owner() -> impl Strategy<Value = Owner> {
    prop::sample::select(vec![Owner::Nobody, Owner::Nobody, Owner::Endpoint, Owner::Endpoint, Owner::Host])
}

fn any_key() -> impl Strategy<Value = FlowKey> {
    let protocols = prop::sample::select(vec![6, 6, 6, 17, 17, 132, 1, 58, 47, 43, 0, 255]);
    let ports = prop::sample::select(PORTS.as_slice());
    let kinds = prop::sample::select(vec![0, 3, 8, 128, 129]);
    (protocols, ports, kinds, prop::bool::weighted(0.3)).prop_map(|(protocol, port, icmp_type, unknown)| {
        let icmp_type = if matches!(protocol, 1 | 58) { icmp_type } else { 0 };
        let key = FlowKey { protocol, dst_port: u16::to_be(port), icmp_type, ..FlowKey::default() };
        if unknown { FlowKey { protocol, flags: FlowKey::NO_PORTS, ..FlowKey::default() } } else { key }
    })
}

fn any_packet() -> impl Strategy<Value = ([(Index, Owner); 2], FlowKey)> {
    let peer = || (any::<Index>(), any_owner());
    ((peer(), peer()), any_key()).prop_map(|((src, dst), key)| ([src, dst], key))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tables_say_what_the_policy_means(
        (policy, ids) in any_policy(),
        packets in prop::collection::vec(any_packet(), 64),
    ) {
        let tables = compile(&policy, &ids, Capacity::default()).unwrap();
        let addresses = addresses(&policy);
        for (peers, key) in packets {
            let [src, dst] = peers.map(|(index, owner)| Peer { address: *index.get(&addresses), owner });
            let expected = meaning(&policy, &ids, src, dst, &key);
            let (seen, rules) = ruled(&tables, src, dst, &key);
            prop_assert_eq!(seen, expected, "{:?} to {:?}: {:?}", src, dst, key);
            let audit = rules.first(RuleWord::deny(0).audited());
            let audit = (audit != RuleWord::NONE && !audit.is_unsure()).then_some(audit.id());
            let surely = (Action::Deny, Mode::Audit, Match::Surely);
            let expected = lowest(&policy, &ids, [src, dst], &key, surely);
            prop_assert_eq!(audit, expected, "audited: {:?} to {:?}: {:?}", src, dst, key);
            let [a, b] = [src, dst].map(|peer| party(&tables, peer).membership);
            prop_assert_eq!(a.audits(&b), is_audited(&policy, [src, dst]), "{:?} to {:?}", src, dst);
        }
    }

    #[test]
    fn the_order_of_files_and_tables_does_not_matter((policy, ids) in any_policy(), seed in any::<Index>()) {
        let mut sources = texts(&policy, seed);
        let middle = seed.index(sources.len());
        sources.rotate_left(middle);
        let written = Policy::parse(&sources);
        prop_assume!(written.is_ok(), "sides of different families");
        let written = written.unwrap();
        prop_assert_eq!(&written, &policy);
        let tables = |policy| compile(policy, &ids, Capacity::default()).unwrap();
        prop_assert_eq!(tables(&written), tables(&policy));
    }
}

/// Each table in a file of its own, with its lists turned by some places.
fn texts(policy: &Policy, turn: Index) -> Vec<Source> {
    let list = |items: Vec<String>| {
        let mut quoted: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
        let middle = turn.index(quoted.len() + 1);
        quoted.rotate_left(middle);
        format!("[{}]", quoted.join(","))
    };
    let prefixes = |set: &BTreeSet<Prefix>| list(set.iter().map(ToString::to_string).collect());
    let ends = |set: &BTreeSet<End>| list(set.iter().map(ToString::to_string).collect());
    let kinds = [("network", &policy.networks), ("group", &policy.groups)].into_iter();
    let sets = kinds.flat_map(|(kind, sets)| sets.iter().map(move |set| (kind, set)));
    let sets = sets.map(|(kind, (name, set))| {
        let (prefixes, except) = (prefixes(set.prefixes()), prefixes(set.except()));
        let mode = if set.mode() == Mode::Audit { "mode = 'audit'\n" } else { "" };
        format!("[{kind}.{name}]\n{mode}prefixes = {prefixes}\nexcept = {except}\n")
    });
    let rules = policy.rules.iter().map(|(name, rule)| {
        let (from, to) = (rule.from(), rule.to());
        let services = list(rule.services().iter().map(ToString::to_string).collect());
        let mode = if rule.mode() == Mode::Audit { "mode = 'audit'\n" } else { "" };
        format!(
            "[[rule]]\nname = '{name}'\n{mode}{} = {services}\nfrom = {}\nto = {}\nexcept_from = {}\nexcept_to = {}\n",
            rule.action().word(), ends(&from.ends), ends(&to.ends), ends(&from.except), ends(&to.except)
        )
    });
    let texts = sets.chain(rules).map(|text| format!("version = 1\n{text}"));
    texts.map(|text| Source { name: "p".into(), text }).collect()
}

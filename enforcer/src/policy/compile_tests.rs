//! The tables against the model: examples to read, and random policies at all their edges.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use enforcer_common::policy::{Membership, shared_network};
use proptest::prelude::*;
use rstest::rstest;

use super::{capacity::grouped, *};
use crate::policy::{AddressSet, AddressSetError, Name, Prefix, TableEntry};

type Lists<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

fn policy(networks: &[Lists]) -> Policy {
    let set = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let networks = networks.iter().map(|(name, prefixes, except)| {
        (name.parse().unwrap(), AddressSet::new(set(prefixes), set(except)).unwrap())
    });
    Policy { networks: networks.collect(), ..Policy::default() }
}

fn ids(policy: &Policy) -> Ids {
    Ids::default().assign(policy).unwrap()
}

fn compiled(policy: &Policy) -> Tables {
    compile(policy, &ids(policy), Capacity::default()).unwrap()
}

/// `10.1.0.0/120 -> 1`: one line per entry, with the bits of the kernel's trie.
fn text(tables: &Tables) -> String {
    let line = |entry: &TableEntry| {
        let networks = tables.networks_of(entry.membership);
        format!("{}/{} -> set {} {networks:?}", entry.address, entry.bits, entry.membership.set)
    };
    tables.prefixes.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn nested_and_equal_prefixes_are_united() {
    let tables = compiled(&policy(&[
        ("a", &["10.1.0.0/16", "2001:db8:1::/48"], &[]),
        ("b", &["10.1.0.0/16", "10.2.0.0/16"], &[]),
        ("c", &["10.0.0.0/8"], &[]),
    ]));
    insta::assert_snapshot!(text(&tables), @r"
    10.0.0.0/104 -> set 1 [3]
    10.1.0.0/112 -> set 2 [1, 2, 3]
    10.2.0.0/112 -> set 3 [2, 3]
    2001:db8:1::/48 -> set 4 [1]
    ");
    assert_eq!((tables.networks, tables.sets), (3, 4));
    assert_eq!(tables.list, [3, 1, 2, 3, 2, 3, 1]);
}

#[test]
fn an_entry_that_changes_nothing_is_left_out() {
    let tables = compiled(&policy(&[("a", &["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24"], &[])]));
    insta::assert_snapshot!(text(&tables), @"10.0.0.0/104 -> set 1 [1]");
}

#[test]
fn an_exception_wins_whatever_the_lengths() {
    let tables = compiled(&policy(&[
        ("a", &["10.0.0.0/8", "10.1.1.0/24"], &["10.1.0.0/16"]),
        ("b", &["10.1.0.0/17"], &[]),
    ]));
    insta::assert_snapshot!(text(&tables), @r"
    10.0.0.0/104 -> set 1 [1]
    10.1.0.0/112 -> set 0 []
    10.1.0.0/113 -> set 2 [2]
    ");
}

#[test]
fn a_v6_prefix_around_the_mapped_range_does_not_cover_ipv4() {
    let tables = compiled(&policy(&[("a", &["::/0"], &["::/64"]), ("b", &["10.0.0.0/8"], &[])]));
    insta::assert_snapshot!(text(&tables), @r"
    ::/0 -> set 1 [1]
    ::/64 -> set 0 []
    10.0.0.0/104 -> set 2 [2]
    fe80::/10 -> set 0 []
    ");
    let tables = compiled(&policy(&[("a", &["::/0"], &[]), ("b", &["0.0.0.0/0"], &[])]));
    insta::assert_snapshot!(text(&tables), @r"
    ::/0 -> set 1 [1]
    0.0.0.0/96 -> set 2 [2]
    169.254.0.0/112 -> set 0 []
    fe80::/10 -> set 0 []
    ");
    let tables = compiled(&policy(&[("a", &["::/0", "0.0.0.0/0"], &[])]));
    insta::assert_snapshot!(text(&tables), @r"
    ::/0 -> set 1 [1]
    169.254.0.0/112 -> set 0 []
    fe80::/10 -> set 0 []
    ");
}

#[test]
fn an_empty_policy_has_empty_tables() {
    assert_eq!(compiled(&Policy::default()), Tables::default());
}

#[rstest]
#[case(
    Capacity { networks_per_address: 3, ..Capacity::default() },
    "10.0.0.0/24 is in 4 networks (a, b, c, …), an address may be in 3"
)]
#[case(Capacity { prefixes: 1, ..Capacity::default() }, "policy needs 2 prefix entries, the table holds 1")]
#[case(Capacity { set_members: 5, ..Capacity::default() }, "policy needs 6 membership entries, the table holds 5")]
fn a_full_table_is_refused_with_the_numbers(#[case] capacity: Capacity, #[case] message: &str) {
    let inner: &[&str] = &["10.0.0.0/24"];
    let policy = policy(&[
        ("a", &["10.0.0.0/8"], &[]),
        ("b", &["10.0.0.0/8"], &[]),
        ("c", inner, &[]),
        ("d", inner, &[]),
    ]);
    let error = compile(&policy, &ids(&policy), capacity).unwrap_err();
    assert_eq!(error.to_string(), message);
    let exact = Capacity { networks_per_address: 4, prefixes: 2, set_members: 6, ..Capacity::default() };
    assert!(compile(&policy, &ids(&policy), exact).is_ok());
}

#[test]
fn big_numbers_are_grouped() {
    let numbers = [0, 999, 1_000, 1_048_576].map(grouped);
    assert_eq!(numbers, ["0", "999", "1,000", "1,048,576"]);
}

#[test]
fn a_network_without_an_id_is_refused() {
    let error = compile(&policy(&[("a", &["10.0.0.0/8"], &[])]), &Ids::default(), Capacity::default());
    assert_eq!(error.unwrap_err().to_string(), "network a has no id");
}

/// Prefixes that lie close together, so that they nest, repeat and touch, in and around the range where
/// IPv4 lies in the trie.
pub(super) fn any_prefix() -> impl Strategy<Value = Prefix> {
    const V4: u128 = 0xffff_0000_0000;
    let bases = prop::sample::select(vec![
        0,
        0xfffe_0000_0000,
        V4,
        V4 + 0x0a00_0000,
        V4 + 0x0a00_0000,
        0x2001_0db8 << 96,
    ]);
    let lengths =
        prop::sample::select(vec![0, 1, 15, 64, 79, 80, 94, 95, 96, 97, 104, 120, 124, 126, 127, 128]);
    (bases, 0..16_u128, lengths).prop_filter_map("not a prefix of a policy", |(base, low, bits)| {
        let start = (base | low) & u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        let text = match ip(start) {
            IpAddr::V4(v4) if bits >= 96 => format!("{v4}/{}", bits - 96),
            _ => format!("{}/{bits}", Ipv6Addr::from_bits(start)),
        };
        text.parse().ok()
    })
}

pub(super) fn any_network() -> impl Strategy<Value = AddressSet> {
    let set = |count| prop::collection::btree_set(any_prefix(), count);
    (set(1..8), set(0..5)).prop_map(|(prefixes, except)| {
        match AddressSet::new(prefixes.clone(), except.clone()) {
            Ok(network) => network,
            Err(AddressSetError::StrayExcepts(stray)) => {
                let except = except.into_iter().filter(|prefix| !stray.contains(prefix)).collect();
                AddressSet::new(prefixes, except).unwrap()
            }
            Err(AddressSetError::Empty) => unreachable!("at least one prefix"),
        }
    })
}

/// A policy, and ids in another order than the names'.
fn any_policy() -> impl Strategy<Value = (Policy, Ids)> {
    prop::collection::vec((any_network(), any::<bool>()), 0..6).prop_map(|networks| {
        let mut policy = Policy::default();
        let mut early = Policy::default();
        for (i, (network, is_early)) in networks.into_iter().enumerate() {
            let name: Name = format!("n{i}").parse().unwrap();
            if is_early {
                early.networks.insert(name.clone(), network.clone());
            }
            policy.networks.insert(name, network);
        }
        let ids = ids(&early).assign(&policy).unwrap();
        (policy, ids)
    })
}

pub(super) fn ip(number: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical()
}

/// Both ends of every prefix, and their neighbours.
pub(super) fn edges(policy: &Policy) -> BTreeSet<IpAddr> {
    let lists =
        policy.networks.values().flat_map(|network| network.prefixes().iter().chain(network.except()));
    let ends = lists.flat_map(|prefix| [prefix.start(), prefix.end()]);
    let mapped = [Prefix::ALL_V4.start(), Prefix::ALL_V4.end()];
    ends.chain(mapped).flat_map(|end| [end.wrapping_sub(1), end, end.wrapping_add(1)]).map(ip).collect()
}

fn expected(policy: &Policy, ids: &Ids, address: IpAddr) -> BTreeSet<u32> {
    policy.memberships(address).into_iter().map(|name| ids.networks.id(name).unwrap()).collect()
}

/// What the kernel's trie does: the longest of all entries that cover the address, by a plain scan.
fn longest_match(tables: &Tables, address: IpAddr) -> Membership {
    let covering = tables.prefixes.iter().filter(|entry| {
        let entry_number = crate::policy::prefix::number(entry.address.into());
        let differing = entry_number ^ crate::policy::prefix::number(address);
        differing.leading_zeros() >= u32::from(entry.bits)
    });
    covering.max_by_key(|entry| entry.bits).map(|entry| entry.membership).unwrap_or_default()
}

proptest! {
    #[test]
    fn the_longest_match_is_the_models_membership((policy, ids) in any_policy(), random in any::<u128>()) {
        let tables = compile(&policy, &ids, Capacity::default()).unwrap();
        for address in edges(&policy).into_iter().chain([ip(random)]) {
            let membership = longest_match(&tables, address);
            let networks: BTreeSet<u32> = tables.networks_of(membership).iter().copied().collect();
            prop_assert_eq!(networks, expected(&policy, &ids, address), "{}", address);
            prop_assert_eq!(tables.membership(address), membership, "{}", address);
        }
    }

    #[test]
    fn the_decision_is_the_lowest_common_network((policy, ids) in any_policy()) {
        let tables = compile(&policy, &ids, Capacity::default()).unwrap();
        let edges = edges(&policy);
        for (src, dst) in edges.iter().zip(edges.iter().rev()).chain(edges.iter().zip(edges.iter().skip(1))) {
            let (a, b) = (expected(&policy, &ids, *src), expected(&policy, &ids, *dst));
            let decided = shared_network(&tables.membership(*src), &tables.membership(*dst), &tables);
            prop_assert_eq!(decided, a.intersection(&b).next().copied(), "{} {}", src, dst);
        }
    }

    #[test]
    fn the_tables_are_minimal_sorted_and_interned((policy, ids) in any_policy()) {
        let tables = compile(&policy, &ids, Capacity::default()).unwrap();
        for (i, entry) in tables.prefixes.iter().enumerate() {
            let mut without = tables.clone();
            without.prefixes.retain(|other| other == entry || other.bits < entry.bits);
            without.prefixes.retain(|other| other != entry);
            prop_assert_ne!(longest_match(&without, entry.address.into()), entry.membership, "entry {}", i);
        }
        prop_assert!(tables.members.is_sorted());
        let sets: BTreeSet<Vec<u32>> =
            tables.members.chunk_by(|a, b| a.set == b.set).map(|set| set.iter().map(|m| m.network).collect()).collect();
        prop_assert_eq!(sets.len(), tables.sets as usize);
        let listed: Vec<u32> = tables.members.iter().map(|member| member.network).collect();
        prop_assert_eq!(&listed, &tables.list);
        let used: BTreeSet<u32> = tables.prefixes.iter().map(|e| e.membership.set).filter(|&set| set > 0).collect();
        prop_assert!(used.into_iter().eq(1..=tables.sets));
    }

    #[test]
    fn the_order_of_the_text_does_not_matter(
        (policy, ids) in any_policy(),
        seed in any::<prop::sample::Index>(),
    ) {
        let table = |(name, network): (&Name, &AddressSet)| {
            let list = |prefixes: &BTreeSet<Prefix>| {
                let mut quoted: Vec<String> = prefixes.iter().map(|prefix| format!("'{prefix}'")).collect();
                let middle = seed.index(quoted.len() + 1);
                quoted.rotate_left(middle);
                quoted.join(",")
            };
            let (prefixes, except) = (list(network.prefixes()), list(network.except()));
            format!("version = 1\n[network.{name}]\nexcept = [{except}]\nprefixes = [{prefixes}]\n")
        };
        let mut sources: Vec<_> = policy.networks.iter().map(table).map(|text| super::super::Source { name: "p".into(), text }).collect();
        let middle = seed.index(sources.len() + 1);
        sources.rotate_left(middle);
        let written = Policy::parse(&sources).unwrap();
        prop_assert_eq!(written.digest(), policy.digest());
        let tables = |policy| compile(policy, &ids, Capacity::default());
        prop_assert_eq!(tables(&written), tables(&policy));
    }
}

//! Who is of the world, and who a change of the policy makes so.
//!
//! Beside the policy's way: a question to two models. An address is of the world while no prefix of any
//! network or group covers it, so a prefix that leaves the policy leaves its addresses open to every rule
//! that names `world`.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    model::{AddressSet, Policy},
    name::RuleName,
    prefix::number,
    rule::End,
};

/// Addresses that a change moves over the border of the world: as few prefixes as possible, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WorldMoves {
    /// Covered before, not any more.
    pub into: Vec<IpNet>,
    /// Not covered before.
    pub out_of: Vec<IpNet>,
}

/// A change that opens addresses to rules that were not written for them.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "error: rule `{rule}` names world, and this policy moves addresses into it: {}\n  \
     help: keep them in a network or a group, or apply with --force",
    listed(.into)
)]
pub struct IntoWorld {
    /// The first rule that names it.
    pub rule: RuleName,
    /// The addresses.
    pub into: Vec<IpNet>,
}

/// Ranges that a message names before it says how many more there are.
const NAMED: usize = 10;

/// Ranges as people list them.
pub fn listed(ranges: &[IpNet]) -> String {
    let shown: Vec<String> = ranges.iter().take(NAMED).map(ToString::to_string).collect();
    match ranges.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What becomes part of the world, and what leaves it, from `old` to `new`.
pub fn moves(old: &Policy, new: &Policy) -> WorldMoves {
    let (before, after) = (Covered::by(old), Covered::by(new));
    WorldMoves { into: before.without(&after), out_of: after.without(&before) }
}

/// Refuses a change after which a rule that names the world means addresses that were covered before.
pub fn check(old: &Policy, new: &Policy) -> Result<(), IntoWorld> {
    let names_world = new.rules.iter().find(|(_, rule)| {
        let mut ends = rule.from().ends.iter().chain(&rule.to().ends);
        ends.any(|end| *end == End::World)
    });
    let Some((rule, _)) = names_world else { return Ok(()) };
    match moves(old, new).into {
        into if into.is_empty() => Ok(()),
        into => Err(IntoWorld { rule: rule.clone(), into }),
    }
}

/// What is never of the world, whatever covers it: every [`enforcer_common::address::Scope`] but the global
/// one (RFC 6890, RFC 4291 §2.7), and IPv6 addresses that mean IPv4.
const NEVER: [&str; 8] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    "::/127",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
];

/// The addresses that a policy covers, by family: as numbers, a short IPv6 prefix holds all of IPv4.
struct Covered {
    v4: Ranges,
    v6: Ranges,
}

impl Covered {
    fn by(policy: &Policy) -> Self {
        let sets = policy.networks.values().chain(policy.groups.values());
        let prefixes: Vec<IpNet> = sets.flat_map(AddressSet::prefixes).map(|&prefix| prefix.into()).collect();
        Self::of(&prefixes)
    }

    fn of(prefixes: &[IpNet]) -> Self {
        let family = |v4: bool| {
            let prefixes = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4() == v4);
            Ranges::new(prefixes.map(|prefix| (number(prefix.network()), number(prefix.broadcast()))))
        };
        Self { v4: family(true), v6: family(false) }
    }

    /// What this covers, `other` does not, and may be of the world.
    fn without(&self, other: &Self) -> Vec<IpNet> {
        let never = Self::of(&NEVER.map(|text| text.parse().expect("the ranges are prefixes")));
        let v4 = self.v4.without(&other.v4).without(&never.v4);
        let v6 = self.v6.without(&other.v6).without(&never.v6);
        let v4 = v4.0.into_iter().map(|(first, last)| {
            let [first, last] = [first, last].map(|number| Ipv4Addr::from_bits(number as u32));
            IpSubnets::V4(Ipv4Subnets::new(first, last, 0))
        });
        let v6 = v6.0.into_iter().map(|(first, last)| {
            let [first, last] = [first, last].map(Ipv6Addr::from_bits);
            IpSubnets::V6(Ipv6Subnets::new(first, last, 0))
        });
        v4.chain(v6).flatten().collect()
    }
}

/// Numbers from the first to the last of each pair; in order, and never two that touch.
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    fn new(ranges: impl Iterator<Item = (u128, u128)>) -> Self {
        let mut sorted: Vec<(u128, u128)> = ranges.collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// One walk through both.
    fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for &(first, last) in &self.0 {
            while holes.next_if(|(_, end)| *end < first).is_some() {}
            let mut next = Some(first);
            // The last hole may reach into the next range, too: all of them stay.
            for &(start, end) in holes.clone().take_while(|(start, _)| *start <= last) {
                let Some(from) = next else { break };
                if start > from {
                    left.push((from, start - 1));
                }
                next = end.checked_add(1).filter(|behind| *behind <= last);
            }
            left.extend(next.map(|from| (from, last)));
        }
        Self(left)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use enforcer_common::address::{Address, Scope};
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::policy::Prefix;

    fn policy(networks: &[&str], groups: &[&str]) -> Policy {
        let set = |prefix: &&str| {
            let prefixes: BTreeSet<Prefix> = [prefix.parse().unwrap()].into();
            AddressSet::new(prefixes, BTreeSet::new()).unwrap()
        };
        let named = |prefixes: &[&str], kind: &str| {
            let sets = prefixes.iter().enumerate();
            sets.map(|(index, prefix)| (format!("{kind}{index}").parse().unwrap(), set(prefix))).collect()
        };
        Policy { networks: named(networks, "n"), groups: named(groups, "g"), ..Policy::default() }
    }

    fn texts(ranges: &[IpNet]) -> Vec<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    #[rstest]
    #[case::gone(&["10.1.0.0/24"], &[], &["10.1.0.0/24"])]
    #[case::narrower(&["10.1.0.0/24"], &["10.1.0.0/26"], &["10.1.0.64/26", "10.1.0.128/25"])]
    #[case::hole(&["10.1.0.0/30"], &["10.1.0.1/32"], &["10.1.0.0/32", "10.1.0.2/31"])]
    #[case::still_covered(&["10.1.0.0/24", "10.0.0.0/8"], &["10.0.0.0/8"], &[])]
    #[case::joined(&["10.1.0.0/25", "10.1.0.128/25"], &[], &["10.1.0.0/24"])]
    #[case::v6(&["2001:db8::/32"], &["2001:db8::/33"], &["2001:db8:8000::/33"])]
    #[case::families_are_apart(&["10.1.0.0/24"], &["::/0"], &["10.1.0.0/24"])]
    #[case::never_of_the_world(&["126.0.0.0/7"], &[], &["126.0.0.0/8"])]
    fn addresses_without_a_prefix_move_into_the_world(
        #[case] old: &[&str],
        #[case] new: &[&str],
        #[case] expected: &[&str],
    ) {
        let moves = moves(&policy(old, &[]), &policy(new, &[]));
        assert_eq!(texts(&moves.into), expected);
    }

    #[test]
    fn what_is_no_global_unicast_address_is_never_of_the_world() {
        let into = moves(&policy(&["::/0", "0.0.0.0/0"], &[]), &Policy::default()).into;
        for address in
            ["::1", "::ffff:10.1.0.5", "fe80::1", "ff02::1", "127.0.0.1", "169.254.0.1", "240.0.0.1"]
        {
            let address: IpAddr = address.parse().unwrap();
            assert!(!into.iter().any(|range| range.contains(&address)), "{address}");
        }
        for address in ["::2", "fec0::1", "1.0.0.0", "223.255.255.255"] {
            let address: IpAddr = address.parse().unwrap();
            assert!(into.iter().any(|range| range.contains(&address)), "{address}");
        }
    }

    #[test]
    fn the_way_back_moves_them_out() {
        let (old, new) = (policy(&["10.1.0.0/24"], &[]), policy(&["10.1.0.0/26"], &[]));
        let (there, back) = (moves(&old, &new), moves(&new, &old));
        assert_eq!((there.into, there.out_of), (back.out_of, back.into));
    }

    #[test]
    fn groups_and_excepted_addresses_are_covered() {
        let old = policy(&["10.1.0.0/24"], &[]);
        assert_eq!(moves(&old, &policy(&[], &["10.1.0.0/24"])), WorldMoves::default());
        let excepted = r#"{"networks":{"n0":{"prefixes":["10.1.0.0/24"],"except":["10.1.0.0/25"]}}}"#;
        assert_eq!(moves(&old, &serde_json::from_str(excepted).unwrap()), WorldMoves::default());
    }

    fn with_rule(policy: Policy, to: &str, except: &str) -> Policy {
        let rule = format!(
            r#"{{"from": {{"ends": ["any"]}}, "to": {{"ends": ["{to}"], "except": [{except}]}},
                "action": "allow", "services": ["tcp/443"]}}"#
        );
        let rules = [("the web".parse().unwrap(), serde_json::from_str(&rule).unwrap())].into();
        Policy { rules, ..policy }
    }

    #[test]
    fn only_a_rule_that_names_the_world_makes_it_dangerous() {
        let (old, new) = (policy(&["10.1.0.0/24"], &[]), policy(&["10.1.0.0/25"], &[]));
        assert_eq!(check(&old, &new), Ok(()));
        assert_eq!(check(&old, &with_rule(new.clone(), "10.0.0.0/8", "")), Ok(()));
        assert_eq!(check(&old, &with_rule(old.clone(), "world", "")), Ok(()));
        let refused = check(&old, &with_rule(new, "world", "\"10.9.0.0/24\"")).unwrap_err();
        insta::assert_snapshot!(refused, @r"
        error: rule `the web` names world, and this policy moves addresses into it: 10.1.0.128/25
          help: keep them in a network or a group, or apply with --force
        ");
    }

    #[test]
    fn many_ranges_are_counted_not_named() {
        let ranges: Vec<IpNet> = (0..13).map(|n| format!("10.{n}.0.0/24").parse().unwrap()).collect();
        assert!(listed(&ranges).ends_with("10.9.0.0/24 and 3 more"));
    }

    #[test]
    fn a_hundred_thousand_prefixes_are_one_walk() {
        let many = |odd: u32| {
            let prefixes = (0..100_000).map(|n: u32| Ipv4Addr::from_bits(0x0a00_0000 + 4 * n + odd));
            let prefixes = prefixes.map(|address| format!("{address}/32").parse().unwrap()).collect();
            let set = AddressSet::new(prefixes, BTreeSet::new()).unwrap();
            Policy { networks: [("blue".parse().unwrap(), set)].into(), ..Policy::default() }
        };
        let moves = moves(&many(0), &many(2));
        assert_eq!((moves.into.len(), moves.out_of.len()), (100_000, 100_000));
    }

    /// A prefix of the two small spaces that the property looks at: `10.0.0.0/26` and the same of IPv6.
    fn small_prefix() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), 0_u8..64, 26_u8..=32).prop_map(|(v4, last, bits)| {
            let net: IpNet = if v4 {
                format!("10.0.0.{last}/{bits}").parse().unwrap()
            } else {
                format!("2001:db8::{last:x}/{}", 96 + bits).parse().unwrap()
            };
            net.trunc().to_string().parse().unwrap()
        })
    }

    fn small_policy() -> impl Strategy<Value = Policy> {
        let sets = prop::collection::vec(prop::collection::btree_set(small_prefix(), 1..5), 0..4);
        sets.prop_map(|sets| {
            let named = sets.into_iter().enumerate().map(|(index, prefixes)| {
                (format!("n{index}").parse().unwrap(), AddressSet::new(prefixes, BTreeSet::new()).unwrap())
            });
            let (networks, groups) = named.partition(|(name, _)| *name != "n0".parse().unwrap());
            Policy { networks, groups, ..Policy::default() }
        })
    }

    fn of_world(policy: &Policy, address: IpAddr) -> bool {
        let mut sets = policy.networks.values().chain(policy.groups.values());
        Address::from(address).scope() == Scope::Global && !sets.any(|set| set.covers(address))
    }

    proptest! {
        #[test]
        fn every_address_moves_as_it_is_asked(old in small_policy(), new in small_policy()) {
            let moves = moves(&old, &new);
            let moved = |ranges: &[IpNet], address| ranges.iter().any(|range| range.contains(&address));
            for last in 0..=64_u8 {
                for address in [format!("10.0.0.{last}"), format!("2001:db8::{last:x}")] {
                    let address: IpAddr = address.parse().unwrap();
                    let (before, after) = (of_world(&old, address), of_world(&new, address));
                    prop_assert_eq!(moved(&moves.into, address), !before && after, "into: {}", address);
                    prop_assert_eq!(moved(&moves.out_of, address), before && !after, "out of: {}", address);
                }
            }
            for ranges in [&moves.into, &moves.out_of] {
                let mut fewest = IpNet::aggregate(ranges);
                fewest.sort_by_key(|range| number(range.network()));
                let mut ranges = ranges.clone();
                ranges.sort_by_key(|range| number(range.network()));
                prop_assert_eq!(ranges, fewest);
            }
        }
    }
}

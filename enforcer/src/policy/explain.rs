//! Why two addresses may talk to each other, or what is missing.
//!
//! On the policy's way: a question to the model, answered from text alone; no daemon, no kernel.

use std::{fmt, net::IpAddr};

use serde::Serialize;

use super::{
    model::{AddressSet, Policy},
    name::Name,
    prefix::Prefix,
};

/// The answer to *may SRC talk to DST?*
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Who would send.
    pub src: Party,
    /// Who would receive.
    pub dst: Party,
    /// The networks of both, in name order.
    pub common: Vec<Name>,
    /// The first of them; none means denied.
    pub shared: Option<Name>,
    /// What a denial lacks.
    pub nearest_miss: Option<Miss>,
}

/// One end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Party {
    /// Its address.
    pub address: IpAddr,
    /// What it is a member of, in name order.
    pub networks: Vec<Name>,
}

/// What came closest to allowing it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Miss {
    /// A network covers the address but excepts it.
    Excepted {
        /// The end that is excepted.
        address: IpAddr,
        /// The network it would be in.
        network: Name,
        /// The exception.
        except: Prefix,
    },
    /// The address is in no network.
    Outside {
        /// The end that nothing covers.
        address: IpAddr,
        /// The prefix with most leading bits in common.
        prefix: Prefix,
        /// Its network.
        network: Name,
    },
    /// The address is in no network, and no network has a prefix of its family.
    NoPrefixes {
        /// The end that nothing covers.
        address: IpAddr,
    },
    /// Both are in networks, but not in the same.
    Disjoint,
}

/// Whether `policy` lets `src` talk to `dst`, and why.
pub fn explain(policy: &Policy, src: IpAddr, dst: IpAddr) -> Explanation {
    let party = |address: IpAddr| Party {
        address,
        networks: policy.memberships(address).into_iter().cloned().collect(),
    };
    let (src, dst) = (party(src), party(dst));
    let common: Vec<Name> = src.networks.iter().filter(|name| dst.networks.contains(name)).cloned().collect();
    let shared = common.first().cloned();
    let nearest_miss = shared.is_none().then(|| miss(policy, &src, &dst));
    Explanation { src, dst, common, shared, nearest_miss }
}

/// The nearest: one exception away, else one prefix away, else a network away.
fn miss(policy: &Policy, src: &Party, dst: &Party) -> Miss {
    let excepted_from_peers = || {
        let ends = [(src, dst), (dst, src)];
        ends.into_iter()
            .find_map(|(end, peer)| excepted(policy, end.address, |name| peer.networks.contains(name)))
    };
    let homeless = || {
        let end = [src, dst].into_iter().find(|end| end.networks.is_empty())?;
        Some(excepted(policy, end.address, |_| true).unwrap_or_else(|| outside(policy, end.address)))
    };
    excepted_from_peers().or_else(homeless).unwrap_or(Miss::Disjoint)
}

/// The first eligible network that covers `address` and excepts it.
fn excepted(policy: &Policy, address: IpAddr, eligible: impl Fn(&Name) -> bool) -> Option<Miss> {
    let covering = policy.networks.iter().filter(|(name, network)| eligible(name) && network.covers(address));
    covering
        .filter_map(|(name, network)| Some((name, network.exception(address)?)))
        .map(|(name, except)| Miss::Excepted { address, network: name.clone(), except })
        .next()
}

fn outside(policy: &Policy, address: IpAddr) -> Miss {
    let prefixes = policy
        .networks
        .iter()
        .flat_map(|(name, network): (_, &AddressSet)| {
            network.prefixes().iter().map(move |prefix| (prefix, name))
        })
        .filter(|(prefix, _)| prefix.is_v4() == address.to_canonical().is_ipv4());
    // Of equally near prefixes the first by name; `max_by_key` alone would take the last.
    let nearest = prefixes.rev().max_by_key(|(prefix, _)| prefix.common_bits(address));
    match nearest {
        Some((&prefix, network)) => Miss::Outside { address, prefix, network: network.clone() },
        None => Miss::NoPrefixes { address },
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.networks.iter().map(Name::as_str).collect();
        write!(f, "{} ∈ {{{}}}", self.address, names.join(", "))
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excepted { address, network, except } => {
                write!(f, "{address} is excepted from {network} by {except}")
            }
            Self::Outside { address, prefix, network } => {
                write!(f, "{address} is in no network; nearest is {prefix} of {network}")
            }
            Self::NoPrefixes { address } => {
                let family = if address.to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
                write!(f, "{address} is in no network; none has an {family} prefix")
            }
            Self::Disjoint => f.write_str("no common network"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: ", self.src, self.dst)?;
        match (&self.shared, &self.nearest_miss) {
            (Some(shared), _) => write!(f, "both are in {shared}"),
            (None, Some(miss)) => miss.fmt(f),
            (None, None) => Miss::Disjoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::policy::Source;

    const POLICY: &str = "version = 1
        [network.blue]
        prefixes = ['10.1.0.0/24', '2001:db8:1::/64']
        except = ['10.1.0.13/32']
        [network.db]
        prefixes = ['10.9.0.0/24', '10.1.0.200/32']
        [network.green]
        prefixes = ['10.1.0.13/32', '10.1.0.200/32', '10.5.0.0/16']
        [network.ops]
        prefixes = ['10.9.0.0/24']";

    fn answer(text: &str, src: &str, dst: &str) -> Explanation {
        let policy = Policy::parse(&[Source { name: "p".into(), text: text.into() }]).unwrap();
        explain(&policy, src.parse().unwrap(), dst.parse().unwrap())
    }

    #[rstest]
    #[case::shared("10.1.0.5", "10.1.0.6", "10.1.0.5 ∈ {blue}, 10.1.0.6 ∈ {blue}: both are in blue")]
    #[case::several("10.9.0.1", "10.9.0.2", "10.9.0.1 ∈ {db, ops}, 10.9.0.2 ∈ {db, ops}: both are in db")]
    #[case::disjoint("10.1.0.5", "10.9.0.7", "10.1.0.5 ∈ {blue}, 10.9.0.7 ∈ {db, ops}: no common network")]
    #[case::excepted(
        "10.1.0.13",
        "10.1.0.5",
        "10.1.0.13 ∈ {green}, 10.1.0.5 ∈ {blue}: 10.1.0.13 is excepted from blue by 10.1.0.13/32"
    )]
    #[case::excepted_dst(
        "10.1.0.5",
        "10.1.0.13",
        "10.1.0.5 ∈ {blue}, 10.1.0.13 ∈ {green}: 10.1.0.13 is excepted from blue by 10.1.0.13/32"
    )]
    #[case::excepted_elsewhere(
        "10.1.0.13",
        "10.9.0.7",
        "10.1.0.13 ∈ {green}, 10.9.0.7 ∈ {db, ops}: no common network"
    )]
    #[case::outside(
        "10.8.0.7",
        "10.1.0.5",
        "10.8.0.7 ∈ {}, 10.1.0.5 ∈ {blue}: 10.8.0.7 is in no network; nearest is 10.9.0.0/24 of db"
    )]
    #[case::outside_dst(
        "10.1.0.5",
        "10.8.0.7",
        "10.1.0.5 ∈ {blue}, 10.8.0.7 ∈ {}: 10.8.0.7 is in no network; nearest is 10.9.0.0/24 of db"
    )]
    #[case::outside_v6(
        "2001:db8:1::5",
        "2001:db8:2::5",
        "2001:db8:1::5 ∈ {blue}, 2001:db8:2::5 ∈ {}: 2001:db8:2::5 is in no network; nearest is 2001:db8:1::/64 of blue"
    )]
    fn every_answer_says_why(#[case] src: &str, #[case] dst: &str, #[case] expected: &str) {
        assert_eq!(answer(POLICY, src, dst).to_string(), expected);
    }

    #[rstest]
    #[case("10.0.0.1", "10.0.0.1 ∈ {}, 10.0.0.1 ∈ {}: 10.0.0.1 is in no network; none has an IPv4 prefix")]
    #[case(
        "2001:db8::1",
        "2001:db8::1 ∈ {}, 2001:db8::1 ∈ {}: 2001:db8::1 is in no network; none has an IPv6 prefix"
    )]
    fn an_empty_policy_denies_everything(#[case] address: &str, #[case] expected: &str) {
        assert_eq!(answer("version = 1", address, address).to_string(), expected);
    }

    #[test]
    fn a_prefix_of_the_other_family_is_never_near() {
        // As a number, `::/64` has 64 leading bits in common with every IPv4 address.
        let text = "version = 1\n[network.six]\nprefixes = ['::/64']";
        let denied = answer(text, "10.0.0.1", "::5");
        assert_eq!(denied.nearest_miss, Some(Miss::NoPrefixes { address: "10.0.0.1".parse().unwrap() }));
    }

    #[test]
    fn an_address_that_everything_excepts_says_so() {
        let text = "version = 1\n[network.blue]\nprefixes = ['10.1.0.0/24']\nexcept = ['10.1.0.13/32']";
        let expected = "10.1.0.13 ∈ {}, 10.9.0.1 ∈ {}: 10.1.0.13 is excepted from blue by 10.1.0.13/32";
        assert_eq!(answer(text, "10.1.0.13", "10.9.0.1").to_string(), expected);
    }

    #[test]
    fn the_json_names_are_stable() {
        let json = |src, dst| serde_json::to_string(&answer(POLICY, src, dst)).unwrap();
        insta::assert_snapshot!(json("10.1.0.5", "10.1.0.6"), @r#"{"src":{"address":"10.1.0.5","networks":["blue"]},"dst":{"address":"10.1.0.6","networks":["blue"]},"common":["blue"],"shared":"blue","nearest_miss":null}"#);
        insta::assert_snapshot!(json("10.1.0.13", "10.1.0.5"), @r#"{"src":{"address":"10.1.0.13","networks":["green"]},"dst":{"address":"10.1.0.5","networks":["blue"]},"common":[],"shared":null,"nearest_miss":{"kind":"excepted","address":"10.1.0.13","network":"blue","except":"10.1.0.13/32"}}"#);
        insta::assert_snapshot!(json("10.8.0.7", "10.1.0.5"), @r#"{"src":{"address":"10.8.0.7","networks":[]},"dst":{"address":"10.1.0.5","networks":["blue"]},"common":[],"shared":null,"nearest_miss":{"kind":"outside","address":"10.8.0.7","prefix":"10.9.0.0/24","network":"db"}}"#);
        insta::assert_snapshot!(json("10.1.0.5", "10.9.0.7"), @r#"{"src":{"address":"10.1.0.5","networks":["blue"]},"dst":{"address":"10.9.0.7","networks":["db","ops"]},"common":[],"shared":null,"nearest_miss":{"kind":"disjoint"}}"#);
    }
}

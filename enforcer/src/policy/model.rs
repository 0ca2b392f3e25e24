//! The validated policy: what everything behind the parser works on.
//!
//! On the policy's way: between spec and tables. Any value of these types is a policy that can be
//! enforced; the checks live in the constructors, so a policy read back from disk passes them too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    name::{Name, RuleName},
    prefix::Prefix,
    rule::Rule,
};

/// Who may talk to whom. Without any network it denies everything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The logical networks: sharing one admits.
    pub networks: BTreeMap<Name, AddressSet>,
    /// Sets that rules name; sharing one admits nothing. No name is both a network's and a group's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<Name, AddressSet>,
    /// What is allowed between networks, and what is denied everywhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<RuleName, Rule>,
}

/// A set of addresses that may talk to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "AddressSetParts")]
pub struct AddressSet {
    prefixes: BTreeSet<Prefix>,
    // Absent when empty, so that a later optional key leaves the digest of older policies alone.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    except: BTreeSet<Prefix>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressSetParts {
    prefixes: BTreeSet<Prefix>,
    #[serde(default)]
    except: BTreeSet<Prefix>,
}

/// Why prefixes do not make a network.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressSetError {
    /// Nobody could be a member.
    #[error("no prefixes")]
    Empty,
    /// Exceptions from nothing: most likely a typo, and dangerous when they were meant to exclude.
    #[error("except {} outside of every prefix", .0[0])]
    StrayExcepts(Vec<Prefix>),
}

impl AddressSet {
    /// A network of `prefixes` without the addresses of `except`.
    pub fn new(prefixes: BTreeSet<Prefix>, except: BTreeSet<Prefix>) -> Result<Self, AddressSetError> {
        if prefixes.is_empty() {
            return Err(AddressSetError::Empty);
        }
        let stray: Vec<Prefix> =
            except.iter().copied().filter(|&except| !overlaps(&prefixes, except)).collect();
        if stray.is_empty() {
            Ok(Self { prefixes, except })
        } else {
            Err(AddressSetError::StrayExcepts(stray))
        }
    }

    /// What it consists of; never empty.
    pub fn prefixes(&self) -> &BTreeSet<Prefix> {
        &self.prefixes
    }

    /// What is taken out of it again, whatever the lengths.
    pub fn except(&self) -> &BTreeSet<Prefix> {
        &self.except
    }

    /// Whether `address` is a member.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.covers(address) && self.exception(address).is_none()
    }

    /// Whether one of the prefixes covers `address`, excepted or not.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(address))
    }

    /// The first exception that covers `address`.
    pub fn exception(&self, address: IpAddr) -> Option<Prefix> {
        self.except.iter().copied().find(|prefix| prefix.contains(address))
    }
}

/// Whether a prefix of the set shares addresses with `other`; not a scan, because both lists may be
/// long.
fn overlaps(prefixes: &BTreeSet<Prefix>, other: Prefix) -> bool {
    // In the trie a short IPv6 prefix encloses the whole of IPv4, which is none of its business.
    let mut behind = prefixes.range(other..).filter(|prefix| prefix.is_v4() == other.is_v4());
    behind.next().is_some_and(|prefix| prefix.end() <= other.end())
        || other.enclosing().any(|enclosing| prefixes.contains(&enclosing))
}

impl TryFrom<AddressSetParts> for AddressSet {
    type Error = AddressSetError;

    fn try_from(parts: AddressSetParts) -> Result<Self, AddressSetError> {
        Self::new(parts.prefixes, parts.except)
    }
}

impl Policy {
    /// The networks that `address` is a member of, in name order. Deliberately naive: what the
    /// compiled tables are tested against.
    pub fn memberships(&self, address: IpAddr) -> Vec<&Name> {
        let members = self.networks.iter().filter(|(_, network)| network.contains(address));
        members.map(|(name, _)| name).collect()
    }

    /// SHA-256 of the canonical JSON: equal exactly for equal policies, however they were written.
    pub fn digest(&self) -> [u8; 32] {
        let json = serde_json::to_vec(self).expect("maps with text keys always serialize");
        Sha256::digest(json).into()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn stray(texts: &[&str]) -> Result<AddressSet, AddressSetError> {
        Err(AddressSetError::StrayExcepts(set(texts).into_iter().collect()))
    }

    #[test]
    fn a_network_has_prefixes_and_excepts_only_from_them() {
        let new = |prefixes, except| AddressSet::new(set(prefixes), set(except));
        assert_eq!(new(&[], &[]), Err(AddressSetError::Empty));
        assert!(new(&["10.1.0.0/24"], &["10.1.0.13/32", "10.1.0.0/24", "10.0.0.0/8"]).is_ok());
        assert_eq!(new(&["10.1.0.0/24"], &["10.1.1.0/24"]), stray(&["10.1.1.0/24"]));
        assert_eq!(new(&["10.1.0.0/24"], &["10.0.0.0/24", "10.1.0.9/32"]), stray(&["10.0.0.0/24"]));
        // The families are apart, although one trie holds them both.
        assert_eq!(new(&["::/0"], &["10.1.0.0/24"]), stray(&["10.1.0.0/24"]));
        assert_eq!(new(&["10.1.0.0/24"], &["::/0"]), stray(&["::/0"]));
    }

    #[rstest]
    #[case("10.1.0.5", &["all", "blue"])]
    #[case("10.1.0.13", &["all"])]
    #[case("10.1.1.1", &["all"])]
    #[case("11.0.0.1", &[])]
    #[case("2001:db8::1", &["six"])]
    fn membership_is_a_set(#[case] address: &str, #[case] expected: &[&str]) {
        let policy = example();
        let names: Vec<&str> =
            policy.memberships(address.parse().unwrap()).into_iter().map(Name::as_str).collect();
        assert_eq!(names, expected);
    }

    fn example() -> Policy {
        let network = |name: &str, prefixes, except| {
            (name.parse().unwrap(), AddressSet::new(set(prefixes), set(except)).unwrap())
        };
        Policy {
            networks: [
                network("blue", &["10.1.0.0/24"], &["10.1.0.13/32"]),
                network("all", &["10.0.0.0/8"], &[]),
                network("six", &["::/0"], &[]),
            ]
            .into(),
            ..Policy::default()
        }
    }

    #[test]
    fn the_canonical_form_round_trips() {
        let json = serde_json::to_string(&example()).unwrap();
        insta::assert_snapshot!(json, @r#"{"networks":{"all":{"prefixes":["10.0.0.0/8"]},"blue":{"prefixes":["10.1.0.0/24"],"except":["10.1.0.13/32"]},"six":{"prefixes":["::/0"]}}}"#);
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), example());
    }

    #[rstest]
    #[case::empty_network(r#"{"networks":{"blue":{"prefixes":[]}}}"#)]
    #[case::stray_except(r#"{"networks":{"blue":{"prefixes":["10.0.0.0/8"],"except":["11.0.0.0/8"]}}}"#)]
    #[case::bad_prefix(r#"{"networks":{"blue":{"prefixes":["10.0.0.1/8"]}}}"#)]
    #[case::bad_name(r#"{"networks":{"any":{"prefixes":["10.0.0.0/8"]}}}"#)]
    #[case::newer(r#"{"networks":{},"rules":[]}"#)]
    fn what_is_read_back_is_checked_again(#[case] json: &str) {
        assert!(serde_json::from_str::<Policy>(json).is_err());
    }

    #[test]
    fn the_digest_tells_policies_apart() {
        let mut other = example();
        assert_eq!(example().digest(), other.digest());
        other.networks.pop_last();
        assert_ne!(example().digest(), other.digest());
        assert_ne!(Policy::default().digest(), other.digest());
    }
}

//! The validated policy: what everything behind the parser works on.
//!
//! On the policy's way: between spec and tables. Any value of these types is a policy that can be
//! enforced; the checks live in the constructors, so a policy read back from disk passes them too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_common::address::{Address, Scope};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    mode::Mode,
    name::{Name, RuleName},
    prefix::Prefix,
    rule::{End, Glob, Rule},
    selector::Selector,
};

/// Who may talk to whom. Without any network it denies everything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "PolicyParts")]
pub struct Policy {
    /// The logical networks: sharing one admits.
    pub networks: BTreeMap<Name, AddressSet>,
    /// Sets that rules name; sharing one admits nothing. No name is both a network's and a group's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<Name, AddressSet>,
    /// What is allowed between networks, and what is denied everywhere; they name what there is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<RuleName, Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyParts {
    networks: BTreeMap<Name, AddressSet>,
    #[serde(default)]
    groups: BTreeMap<Name, AddressSet>,
    #[serde(default)]
    rules: BTreeMap<RuleName, Rule>,
}

/// Why networks, groups and rules do not make a policy.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PolicyError {
    /// A rule that names it would mean either.
    #[error("`{name}` is both a network and a group")]
    NetworkAndGroup { name: Name },
    /// A rule about nobody: most likely a typo.
    #[error("rule `{rule}` names `{name}`, which is no network or group")]
    UnknownName { rule: RuleName, name: Name },
    /// The same.
    #[error("rule `{rule}` names `{glob}`, which matches no network or group")]
    UnmatchedGlob { rule: RuleName, glob: Glob },
    /// A group admits nothing, so it stops nothing either.
    #[error("group `{name}` has a mode; only networks and rules have one")]
    GroupMode { name: Name },
}

/// A set of addresses that may talk to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "AddressSetParts")]
pub struct AddressSet {
    prefixes: BTreeSet<Prefix>,
    // Absent when empty, so that a later optional key leaves the digest of older policies alone.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    except: BTreeSet<Prefix>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    members: BTreeSet<Selector>,
    #[serde(skip_serializing_if = "Mode::is_enforce")]
    mode: Mode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressSetParts {
    prefixes: BTreeSet<Prefix>,
    #[serde(default)]
    except: BTreeSet<Prefix>,
    #[serde(default)]
    members: BTreeSet<Selector>,
    #[serde(default)]
    mode: Mode,
}

/// Why prefixes do not make a network.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressSetError {
    /// Nobody could be a member.
    #[error("neither prefixes nor members")]
    Empty,
    /// Exceptions from nothing: most likely a typo, and dangerous when they were meant to exclude.
    #[error("except {} outside of every prefix", .0[0])]
    StrayExcepts(Vec<Prefix>),
}

impl AddressSet {
    /// A network of `prefixes` without the addresses of `except`.
    pub fn new(prefixes: BTreeSet<Prefix>, except: BTreeSet<Prefix>) -> Result<Self, AddressSetError> {
        Self::with_members(prefixes, except, BTreeSet::new())
    }

    /// The same with the addresses of `members`, which nobody knows before the policy is on a host.
    pub fn with_members(
        prefixes: BTreeSet<Prefix>,
        except: BTreeSet<Prefix>,
        members: BTreeSet<Selector>,
    ) -> Result<Self, AddressSetError> {
        if prefixes.is_empty() && members.is_empty() {
            return Err(AddressSetError::Empty);
        }
        // A member may have any address.
        let is_stray = |&except: &Prefix| members.is_empty() && !overlaps(&prefixes, except);
        let stray: Vec<Prefix> = except.iter().copied().filter(is_stray).collect();
        if stray.is_empty() {
            Ok(Self { prefixes, except, members, mode: Mode::Enforce })
        } else {
            Err(AddressSetError::StrayExcepts(stray))
        }
    }

    /// The same in another mode, which only a network may have.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// What becomes of what a network does not admit, as long as nobody's network enforces.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What it consists of; empty only where it has [`AddressSet::members`].
    pub fn prefixes(&self) -> &BTreeSet<Prefix> {
        &self.prefixes
    }

    /// Whose addresses are part of it, too; see [`Policy::resolve`].
    pub fn members(&self) -> &BTreeSet<Selector> {
        &self.members
    }

    /// Adds what its members own.
    pub(super) fn admit(&mut self, prefixes: BTreeSet<Prefix>) {
        self.prefixes.extend(prefixes);
    }

    /// What is taken out of it again, whatever the lengths.
    pub fn except(&self) -> &BTreeSet<Prefix> {
        &self.except
    }

    /// Whether `address` is a member.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.covers(address) && self.exception(address).is_none()
    }

    /// Whether one of the prefixes covers `address`, excepted or not. None covers a link-local one, which
    /// means another machine on every link.
    pub fn covers(&self, address: IpAddr) -> bool {
        let link_local = Address::from(address).scope() == Scope::LinkLocal;
        !link_local && self.prefixes.iter().any(|prefix| prefix.contains(address))
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
        Ok(Self::with_members(parts.prefixes, parts.except, parts.members)?.in_mode(parts.mode))
    }
}

impl TryFrom<PolicyParts> for Policy {
    type Error = PolicyError;

    fn try_from(parts: PolicyParts) -> Result<Self, PolicyError> {
        Self::new(parts.networks, parts.groups, parts.rules)
    }
}

impl Policy {
    /// A policy, if the rules name what there is.
    pub fn new(
        networks: BTreeMap<Name, AddressSet>,
        groups: BTreeMap<Name, AddressSet>,
        rules: BTreeMap<RuleName, Rule>,
    ) -> Result<Self, PolicyError> {
        let policy = Self { networks, groups, rules };
        if let Some(name) = policy.groups.keys().find(|name| policy.networks.contains_key(*name)) {
            return Err(PolicyError::NetworkAndGroup { name: name.clone() });
        }
        if let Some((name, _)) = policy.groups.iter().find(|(_, group)| group.mode != Mode::Enforce) {
            return Err(PolicyError::GroupMode { name: name.clone() });
        }
        // Few globs are written often.
        let mut matched = BTreeSet::new();
        for (rule, end) in
            policy.rules.iter().flat_map(|(name, rule)| rule.ends().map(move |end| (name, end)))
        {
            match end {
                End::Named(name) if policy.set(name).is_none() => {
                    return Err(PolicyError::UnknownName { rule: rule.clone(), name: name.clone() });
                }
                End::Glob(glob) if matched.insert(glob) && !policy.names().any(|name| glob.matches(name)) => {
                    return Err(PolicyError::UnmatchedGlob { rule: rule.clone(), glob: glob.clone() });
                }
                _ => {}
            }
        }
        Ok(policy)
    }

    /// The network or group of a name.
    pub fn set(&self, name: &Name) -> Option<&AddressSet> {
        self.networks.get(name).or_else(|| self.groups.get(name))
    }

    /// The names of all networks, then of all groups.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.networks.keys().chain(self.groups.keys())
    }

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

    #[test]
    fn only_audit_is_part_of_the_canonical_form() {
        let mut policy = example();
        let blue = policy.networks.remove(&"blue".parse::<Name>().unwrap()).unwrap();
        let with = |mode| {
            let networks = [("blue".parse().unwrap(), blue.clone().in_mode(mode))].into();
            Policy { networks, ..Policy::default() }
        };
        let json = serde_json::to_string(&with(Mode::Audit)).unwrap();
        insta::assert_snapshot!(json, @r#"{"networks":{"blue":{"prefixes":["10.1.0.0/24"],"except":["10.1.0.13/32"],"mode":"audit"}}}"#);
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), with(Mode::Audit));
        assert_ne!(with(Mode::Audit).digest(), with(Mode::Enforce).digest());
        let explicit = json.replace("audit", "enforce");
        assert_eq!(serde_json::from_str::<Policy>(&explicit).unwrap().digest(), with(Mode::Enforce).digest());
    }

    #[rstest]
    #[case::empty_network(r#"{"networks":{"blue":{"prefixes":[]}}}"#)]
    #[case::stray_except(r#"{"networks":{"blue":{"prefixes":["10.0.0.0/8"],"except":["11.0.0.0/8"]}}}"#)]
    #[case::bad_prefix(r#"{"networks":{"blue":{"prefixes":["10.0.0.1/8"]}}}"#)]
    #[case::bad_name(r#"{"networks":{"any":{"prefixes":["10.0.0.0/8"]}}}"#)]
    #[case::newer(r#"{"networks":{},"rules":[]}"#)]
    #[case::newer_still(r#"{"networks":{},"zones":{}}"#)]
    #[case::both(
        r#"{"networks":{"a":{"prefixes":["10.0.0.0/8"]}},"groups":{"a":{"prefixes":["11.0.0.0/8"]}}}"#
    )]
    #[case::group_in_a_mode(r#"{"networks":{},"groups":{"a":{"prefixes":["11.0.0.0/8"],"mode":"audit"}}}"#)]
    #[case::unknown_mode(r#"{"networks":{"a":{"prefixes":["11.0.0.0/8"],"mode":"observe"}}}"#)]
    #[case::audited_allow(r#"{"networks":{},"rules":{"r":{"from":{"ends":["any"]},"to":{"ends":["any"]},"action":"allow","services":["any"],"mode":"audit"}}}"#)]
    #[case::unknown_name(r#"{"networks":{},"rules":{"r":{"from":{"ends":["a"]},"to":{"ends":["any"]},"action":"deny","services":["any"]}}}"#)]
    #[case::unmatched_glob(r#"{"networks":{},"rules":{"r":{"from":{"ends":["any"]},"to":{"ends":["any"],"except":["a*"]},"action":"deny","services":["any"]}}}"#)]
    #[case::nobody(r#"{"networks":{},"rules":{"r":{"from":{"ends":[]},"to":{"ends":["any"]},"action":"deny","services":["any"]}}}"#)]
    fn what_is_read_back_is_checked_again(#[case] json: &str) {
        assert!(serde_json::from_str::<Policy>(json).is_err());
    }

    #[test]
    fn rules_name_what_there_is() {
        let text = r#"{"networks":{"a":{"prefixes":["10.0.0.0/8"]}},"groups":{"ab":{"prefixes":["11.0.0.0/8"]}},"rules":{"r":{"from":{"ends":["a","ab","169.254.169.254/32"]},"to":{"ends":["any","host","world"],"except":["a?"]},"action":"allow","services":["tcp/443"]}}}"#;
        let policy: Policy = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&serde_json::to_string(&policy).unwrap()).unwrap(), policy);
        let message =
            |networks, groups| Policy::new(networks, groups, policy.rules.clone()).unwrap_err().to_string();
        let (networks, groups) = (policy.networks.clone(), policy.groups.clone());
        assert_eq!(message([].into(), groups.clone()), "rule `r` names `a`, which is no network or group");
        assert_eq!(message(networks.clone(), [].into()), "rule `r` names `ab`, which is no network or group");
        assert_eq!(message(networks.clone(), networks), "`a` is both a network and a group");
    }

    #[test]
    fn a_link_local_address_is_a_member_of_nothing() {
        let all = AddressSet::new(set(&["0.0.0.0/0", "::/0"]), [].into()).unwrap();
        for (address, member) in
            [("169.253.0.1", true), ("169.254.0.1", false), ("fe80::1", false), ("fec0::1", true)]
        {
            assert_eq!(all.contains(address.parse().unwrap()), member, "{address}");
        }
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

//! What is right as it is written, and hardly ever meant.
//!
//! Beside the policy's way: questions to a model.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use thiserror::Error;

use super::{
    model::{AddressSet, Policy},
    name::Name,
};

/// A policy that says nothing, where the one in force says something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "error: this policy has no network, no group and no rule: it denies everything\n  \
     help: look which files were meant, or apply with --force"
)]
pub struct Emptied;

/// Refuses a policy that says nothing, unless that is what decides already.
pub fn check(active: Option<&Policy>, new: &Policy) -> Result<(), Emptied> {
    if is_empty(new) && active.is_none_or(|active| !is_empty(active)) { Err(Emptied) } else { Ok(()) }
}

/// What somebody should look at, a line each.
pub fn warnings(policy: &Policy) -> Vec<String> {
    let nobody = |kind, sets: &BTreeMap<Name, AddressSet>| -> Vec<String> {
        let excepted = sets.iter().filter(|(_, set)| is_excepted(set));
        excepted
            .map(|(name, _)| format!("{kind} `{name}` has no member: `except` covers all of it"))
            .collect()
    };
    let mut warnings = nobody("network", &policy.networks);
    warnings.extend(nobody("group", &policy.groups));
    if is_empty(policy) {
        warnings.push(
            "no network, no group and no rule: this policy denies everything, and `apply` wants --force for it"
                .to_owned(),
        );
    }
    warnings
}

fn is_empty(policy: &Policy) -> bool {
    policy.networks.is_empty() && policy.groups.is_empty() && policy.rules.is_empty()
}

/// Whether exceptions leave nobody. Of members by container nobody knows before the policy is on a host.
fn is_excepted(set: &AddressSet) -> bool {
    let excepts: Vec<IpNet> = set.except().iter().map(|&prefix| prefix.into()).collect();
    // Joined, they cover a prefix together only where one of them does.
    let joined: BTreeSet<IpNet> = IpNet::aggregate(&excepts).into_iter().collect();
    let is_covered = |net: IpNet| {
        let mut around = std::iter::successors(Some(net), IpNet::supernet);
        around.any(|net| joined.contains(&net))
    };
    set.members().is_empty() && set.prefixes().iter().all(|&prefix| is_covered(prefix.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_policy_that_says_nothing_is_refused_unless_it_decides_already() {
        let (empty, blue) =
            (Policy::default(), policy(r#"{"networks":{"blue":{"prefixes":["10.1.0.0/24"]}}}"#));
        assert_eq!(check(Some(&blue), &empty), Err(Emptied));
        assert_eq!(check(None, &empty), Err(Emptied));
        assert_eq!(check(Some(&empty), &empty), Ok(()), "a reload says so again");
        assert_eq!(check(Some(&empty), &blue), Ok(()));
        insta::assert_snapshot!(Emptied, @r"
        error: this policy has no network, no group and no rule: it denies everything
          help: look which files were meant, or apply with --force
        ");
    }

    #[test]
    fn a_network_that_is_excepted_as_a_whole_is_told() {
        let told = policy(
            r#"{"networks":{
                "gone":{"prefixes":["10.1.0.0/24","10.2.0.0/25"],
                        "except":["10.1.0.0/25","10.1.0.128/25","10.2.0.0/24"]},
                "most":{"prefixes":["10.1.0.0/24"],"except":["10.1.0.0/25"]},
                "six":{"prefixes":["::/0"],"except":["2001:db8::/32"]},
                "found":{"prefixes":["10.3.0.0/24"],"except":["10.3.0.0/24"],"members":["docker:name:web"]}},
               "groups":{"nobody":{"prefixes":["2001:db8::/64"],"except":["2001:db8::/48"]}}}"#,
        );
        assert_eq!(
            warnings(&told),
            [
                "network `gone` has no member: `except` covers all of it",
                "group `nobody` has no member: `except` covers all of it"
            ]
        );
        assert!(warnings(&Policy::default())[0].contains("denies everything"));
    }
}

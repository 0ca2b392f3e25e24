//! Why two addresses may talk to each other, or what is missing.
//!
//! On the policy's way: a question to the model, answered from text alone; no daemon, no kernel. Lists
//! and loops over the policy as it is written, none of the tables.

use serde::Serialize;

use super::{
    mode::Mode,
    model::{AddressSet, Policy},
    name::Name,
    rule::Action,
    service::Service,
};

mod miss;
mod party;
mod ruling;
mod words;

pub use miss::Miss;
pub use party::{Owner, Party};
pub use ruling::{Cause, Finding, Match};

use miss::Denial;

/// The answer to *may SRC open SERVICE to DST?*
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Who would send.
    pub src: Party,
    /// Who would receive.
    pub dst: Party,
    /// The networks of both, in name order.
    pub common: Vec<Name>,
    /// The first of them.
    pub shared: Option<Name>,
    /// The rules that are about both and about something that is asked, in name order.
    pub rules: Vec<Match>,
    /// What decides about everything that is asked, piece by piece; never empty.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    /// What a denial lacks.
    pub nearest_miss: Option<Miss>,
    /// The destination may open something of what is asked to the source, and answers to that pass.
    pub answers: bool,
    /// The network in `audit` mode by which packets go on, counted, that nothing admits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audited: Option<Name>,
}

/// How much of what is asked passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// All of it.
    Everything,
    /// Some services of it.
    Something,
    /// None.
    Nothing,
}

/// Whether `policy` lets `src` open what is `asked` to `dst`, and why.
pub fn explain(policy: &Policy, src: &Party, dst: &Party, asked: Service) -> Explanation {
    let common: Vec<Name> = src.networks.iter().filter(|name| dst.networks.contains(name)).cloned().collect();
    let rules = ruling::matches(policy, src, dst, asked);
    let findings = ruling::findings(&rules, (src, dst), common.first(), asked);
    let back = ruling::matches(policy, dst, src, asked);
    let back = ruling::findings(&back, (dst, src), common.first(), asked);
    // What a common network admits is not remembered, so nothing answers it.
    let answers =
        back.iter().any(|finding| finding.cause.passes() && !matches!(finding.cause, Cause::Shared(_)));
    let denied = findings.iter().all(|finding| !finding.cause.passes());
    let silent = findings.iter().any(|finding| finding.cause == Cause::Silent);
    let nearest_miss =
        (denied && silent).then(|| Denial { policy, src, dst, asked }.nearest_miss()).flatten();
    let shared = common.first().cloned();
    let audited = silent.then(|| audited(policy, src, dst)).flatten();
    Explanation {
        src: src.clone(),
        dst: dst.clone(),
        common,
        shared,
        rules,
        findings,
        nearest_miss,
        answers,
        audited,
    }
}

/// A network of either that is in `audit` mode, if none of both enforces.
fn audited(policy: &Policy, src: &Party, dst: &Party) -> Option<Name> {
    let mode = |name: &&Name| policy.networks.get(*name).map_or(Mode::Enforce, AddressSet::mode);
    let names = || src.networks.iter().chain(&dst.networks);
    names().all(|name| mode(&name) == Mode::Audit).then(|| names().min().cloned()).flatten()
}

impl Explanation {
    /// What decides: about everything that is asked if all of it passes, else about what does not pass; an
    /// unsaid no is the broader one.
    pub fn cause(&self) -> &Cause {
        let causes = || self.findings.iter().map(|finding| &finding.cause);
        let denied = || causes().find(|cause| !cause.passes());
        causes().find(|cause| **cause == Cause::Silent).or_else(denied).unwrap_or(&self.findings[0].cause)
    }

    /// How much of what is asked passes.
    pub fn reach(&self) -> Reach {
        let passing = self.findings.iter().filter(|finding| finding.cause.passes()).count();
        match passing {
            0 => Reach::Nothing,
            all if all == self.findings.len() => Reach::Everything,
            _ => Reach::Something,
        }
    }

    /// Those of a rule's services that the rule decides about somewhere: all that it denies, and what it
    /// allows unless everything of it is denied.
    fn effective(&self, found: &Match) -> Vec<Service> {
        let allowed = |finding: &&Finding| matches!(finding.cause, Cause::Allowed(_));
        let reached = |service: &&Service| {
            let points = ruling::points(**service, &self.src);
            let mut allowed = self.findings.iter().filter(allowed).map(|finding| &finding.points);
            allowed.any(|piece| {
                points.iter().any(|range| range.start() <= piece.end() && piece.start() <= range.end())
            })
        };
        match found.action {
            Action::Deny => found.services.clone(),
            Action::Allow => found.services.iter().filter(reached).copied().collect(),
        }
    }
}

#[cfg(test)]
mod rule_tests;

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
        let party = |address: &str| Party::new(&policy, address.parse().unwrap(), Owner::Nobody);
        explain(&policy, &party(src), &party(dst), Service::Any)
    }

    #[rstest]
    #[case::shared("10.1.0.5", "10.1.0.6", "both are members of blue")]
    #[case::several("10.9.0.1", "10.9.0.2", "both are members of db")]
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
        insta::assert_snapshot!(json("10.1.0.5", "10.1.0.6"), @r#"{"src":{"address":"10.1.0.5","networks":["blue"],"groups":[],"world":false},"dst":{"address":"10.1.0.6","networks":["blue"],"groups":[],"world":false},"common":["blue"],"shared":"blue","rules":[],"nearest_miss":null,"answers":false}"#);
        insta::assert_snapshot!(json("10.1.0.13", "10.1.0.5"), @r#"{"src":{"address":"10.1.0.13","networks":["green"],"groups":[],"world":false},"dst":{"address":"10.1.0.5","networks":["blue"],"groups":[],"world":false},"common":[],"shared":null,"rules":[],"nearest_miss":{"kind":"excepted","address":"10.1.0.13","network":"blue","except":"10.1.0.13/32"},"answers":false}"#);
        insta::assert_snapshot!(json("10.8.0.7", "10.1.0.5"), @r#"{"src":{"address":"10.8.0.7","networks":[],"groups":[],"world":true},"dst":{"address":"10.1.0.5","networks":["blue"],"groups":[],"world":false},"common":[],"shared":null,"rules":[],"nearest_miss":{"kind":"outside","address":"10.8.0.7","prefix":"10.9.0.0/24","network":"db"},"answers":false}"#);
        insta::assert_snapshot!(json("10.1.0.5", "10.9.0.7"), @r#"{"src":{"address":"10.1.0.5","networks":["blue"],"groups":[],"world":false},"dst":{"address":"10.9.0.7","networks":["db","ops"],"groups":[],"world":false},"common":[],"shared":null,"rules":[],"nearest_miss":{"kind":"disjoint"},"answers":false}"#);
    }
}

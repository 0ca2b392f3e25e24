//! What the policy says about every packet that is asked about: pieces of the space of services, each with
//! its cause.

use std::{
    collections::BTreeSet,
    ops::{Bound, RangeInclusive},
};

use enforcer_common::{
    flow::protocol,
    host::HOST_ALLOW,
    verdict::{DropReason, PassReason, Verdict},
};
use serde::Serialize;

use super::party::Party;
use crate::policy::{
    mode::Mode,
    model::Policy,
    name::{Name, RuleName},
    rule::Action,
    service::Service,
};

/// Services that differ in their cause from those before and behind them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Numbers of [`enforcer_common::policy::Point`]s.
    pub points: RangeInclusive<u32>,
    /// What decides there.
    pub cause: Cause,
}

/// What decides about a packet that opens something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A rule denies it.
    Denied(RuleName),
    /// The host speaks.
    HostOpen,
    /// Both are members.
    Shared(Name),
    /// A rule allows it.
    Allowed(RuleName),
    /// It is on the list of what a host allows its workloads.
    HostAllowed,
    /// Nothing.
    Silent,
}

/// A rule that is about both ends, and about something that is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Match {
    /// Its name.
    pub rule: RuleName,
    /// What it does.
    pub action: Action,
    /// Whether it does it, or only counts what it would do.
    #[serde(skip_serializing_if = "Mode::is_enforce")]
    pub mode: Mode,
    /// Those of its services that are asked about.
    pub services: Vec<Service>,
}

impl Cause {
    /// What becomes of the packet.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Denied(_) => Verdict::Drop(DropReason::DeniedByRule),
            Self::HostOpen => Verdict::Pass(PassReason::HostOpen),
            Self::Shared(_) => Verdict::Pass(PassReason::SharedNetwork),
            Self::Allowed(_) => Verdict::Pass(PassReason::AllowedByRule),
            Self::HostAllowed => Verdict::Pass(PassReason::HostAllowed),
            Self::Silent => Verdict::Drop(DropReason::DefaultDeny),
        }
    }

    /// Whether the packet passes.
    pub fn passes(&self) -> bool {
        self.verdict().is_pass()
    }
}

/// The rules of `policy` that are about packets from `src` to `dst`, in name order.
pub(super) fn matches(policy: &Policy, src: &Party, dst: &Party, asked: Service) -> Vec<Match> {
    let rules = policy.rules.iter().filter(|(_, rule)| src.matches(rule.from()) && dst.matches(rule.to()));
    let matches = rules.map(|(name, rule)| Match {
        rule: name.clone(),
        action: rule.action(),
        mode: rule.mode(),
        services: overlapping(rule.services(), asked, src),
    });
    matches.filter(|found| !found.services.is_empty()).collect()
}

/// Those of `services` that cover something of what is asked.
pub(super) fn overlapping<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    asked: Service,
    family: &Party,
) -> Vec<Service> {
    let asked = points(asked, family);
    let overlaps = |service: &&Service| {
        let points = points(**service, family);
        points.iter().any(|a| asked.iter().any(|b| a.start() <= b.end() && b.start() <= a.end()))
    };
    services.into_iter().filter(overlaps).copied().collect()
}

/// The points of a service in one family: ICMP and `ICMPv6` have different types.
pub(super) fn points(service: Service, family: &Party) -> Vec<RangeInclusive<u32>> {
    let foreign = if family.address.is_ipv4() { protocol::ICMPV6 } else { protocol::ICMP };
    let is_foreign = |point: &u32| point >> 16 == u32::from(foreign);
    let points = service.points().into_iter().map(|range| range.start().0..=range.end().0);
    points.filter(|range| !is_foreign(range.start()) || !is_foreign(range.end())).collect()
}

/// What decides about everything that is asked, in order; `common` is a network of both.
pub(super) fn findings(
    matches: &[Match],
    (src, dst): (&Party, &Party),
    common: Option<&Name>,
    asked: Service,
) -> Vec<Finding> {
    let host_list = if dst.is_host() { host_services() } else { Vec::new() };
    let covers = |services: &[Service], point: u32| {
        services.iter().any(|&service| points(service, src).iter().any(|range| range.contains(&point)))
    };
    let rule_at = |action: Action, point: u32| {
        let mut deciding =
            matches.iter().filter(|found| found.action == action && found.mode == Mode::Enforce);
        let found = deciding.find(|found| covers(&found.services, point));
        found.map(|found| found.rule.clone())
    };
    let cause = |point: u32| match (rule_at(Action::Deny, point), common) {
        (Some(rule), _) => Cause::Denied(rule),
        (None, _) if src.is_host() => Cause::HostOpen,
        (None, Some(network)) => Cause::Shared(network.clone()),
        (None, None) => match rule_at(Action::Allow, point) {
            Some(rule) => Cause::Allowed(rule),
            None if covers(&host_list, point) => Cause::HostAllowed,
            None => Cause::Silent,
        },
    };
    let services = matches.iter().flat_map(|found| &found.services).chain(&host_list);
    let cuts: BTreeSet<u32> = services
        .flat_map(|&service| points(service, src))
        .flat_map(|range| [*range.start(), range.end() + 1])
        .collect();
    let mut findings: Vec<Finding> = Vec::new();
    for range in points(asked, src) {
        let inner = cuts.range((Bound::Excluded(*range.start()), Bound::Included(*range.end()))).copied();
        let starts: Vec<u32> = std::iter::once(*range.start()).chain(inner).collect();
        let ends = starts[1..].iter().map(|start| start - 1).chain([*range.end()]);
        findings.extend(
            starts.iter().zip(ends).map(|(&start, end)| Finding { points: start..=end, cause: cause(start) }),
        );
    }
    findings
}

/// What a host allows its workloads, as services.
fn host_services() -> Vec<Service> {
    HOST_ALLOW.split(", ").map(|text| text.parse().expect("the list is written in services")).collect()
}

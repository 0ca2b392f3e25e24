//! What the policy says about a packet that opens something: denials, shared networks, permissions.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    super::{
        AddressSet, Mode, Name, Policy, RuleName,
        rule::{Action, End, Side},
    },
    Owner, World,
    flow::Flow,
    scope::Scope,
    services::{Cover, cover},
};

/// What the policy says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ruling<'w> {
    /// This rule denies it.
    Denied(&'w RuleName),
    /// Both are members of this network.
    Shared(&'w Name),
    /// This rule allows it.
    Allowed(&'w RuleName),
    /// It depends on ports that nobody knows.
    Unsure,
    Silent,
}

impl Ruling<'_> {
    pub(super) const fn passes(&self) -> bool {
        matches!(self, Self::Shared(_) | Self::Allowed(_))
    }

    pub(super) const fn denies(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}

impl World {
    /// What the policy says about packets of `flow`; without a policy nothing.
    pub(super) fn ruling(&self, flow: Flow) -> Ruling<'_> {
        let Some(policy) = &self.policy else { return Ruling::Silent };
        let perhaps = |action| self.first(policy, flow, (action, Mode::Enforce), Cover::Perhaps).is_some();
        if let Some(rule) = self.surely(flow, Action::Deny, Mode::Enforce) {
            Ruling::Denied(rule)
        } else if perhaps(Action::Deny) {
            Ruling::Unsure
        } else if let Some(network) = self.shared_network(policy, flow.src, flow.dst) {
            Ruling::Shared(network)
        } else if let Some(rule) = self.surely(flow, Action::Allow, Mode::Enforce) {
            Ruling::Allowed(rule)
        } else if perhaps(Action::Allow) {
            Ruling::Unsure
        } else {
            Ruling::Silent
        }
    }

    /// The first rule of this kind that is about packets of `flow`, whatever ports they have.
    pub(super) fn surely(&self, flow: Flow, action: Action, mode: Mode) -> Option<&RuleName> {
        self.first(self.policy.as_ref()?, flow, (action, mode), Cover::Surely)
    }

    fn first(
        &self,
        policy: &Policy,
        flow: Flow,
        (action, mode): (Action, Mode),
        sureness: Cover,
    ) -> Option<&RuleName> {
        self.rules.iter().find(|name| {
            policy.rules.get(*name).is_some_and(|rule| {
                rule.action() == action
                    && rule.mode() == mode
                    && self.matches(policy, rule.from(), flow.src)
                    && self.matches(policy, rule.to(), flow.dst)
                    && cover(rule.services(), &flow) == sureness
            })
        })
    }

    /// Whether the policy lets `src` open a TCP connection to a port of `dst`; for tests without frames.
    #[cfg(test)]
    pub(crate) fn lets_open(&self, src: IpAddr, dst: IpAddr, port: u16) -> bool {
        let ports = Some((40_000, port));
        self.ruling(Flow { src, dst, protocol: super::flow::TCP, ports, icmp: None }).passes()
    }

    /// The first network that has both as members. The host is in none.
    fn shared_network(&self, policy: &Policy, src: IpAddr, dst: IpAddr) -> Option<&Name> {
        self.networks.iter().find(|name| {
            let network = policy.networks.get(*name);
            network.is_some_and(|network| [src, dst].iter().all(|&end| self.is_member_of(network, end)))
        })
    }

    /// Whether a network has `address` as a member.
    pub(super) fn is_member_of(&self, network: &AddressSet, address: IpAddr) -> bool {
        !matches!(self.owner(address), Owner::Host) && is_member(network, address)
    }

    /// Whether `side` of a rule means `address`.
    fn matches(&self, policy: &Policy, side: &Side, address: IpAddr) -> bool {
        if matches!(self.owner(address), Owner::Host) {
            return side.ends.contains(&End::Host);
        }
        let means = |end: &End| self.means(policy, end, address);
        side.ends.iter().any(means) && !side.except.iter().any(means)
    }

    /// Whether `end` means `address`, which is not the host's.
    fn means(&self, policy: &Policy, end: &End, address: IpAddr) -> bool {
        let mut sets = policy.networks.iter().chain(&policy.groups);
        match end {
            End::Named(name) => sets.any(|(other, set)| other == name && is_member(set, address)),
            End::Glob(glob) => {
                let pattern = glob.to_string();
                sets.any(|(name, set)| {
                    globs(pattern.as_bytes(), name.as_str().as_bytes()) && is_member(set, address)
                })
            }
            End::Prefix(prefix) => names(IpNet::from(*prefix), address),
            End::World => {
                Scope::of(address) == Scope::Global
                    && matches!(self.owner(address), Owner::Nobody)
                    && !sets.any(|(_, set)| is_covered(set, address))
            }
            End::Host => false,
            End::Any => true,
        }
    }
}

/// Link-local addresses mean somebody else on every link: only who names their range means them.
fn names(prefix: IpNet, address: IpAddr) -> bool {
    match Scope::of(address) {
        Scope::Global => prefix.contains(&address),
        Scope::LinkLocal => {
            let ends = [prefix.network(), prefix.broadcast()];
            prefix.contains(&address) && ends.iter().all(|&end| Scope::of(end) == Scope::LinkLocal)
        }
        _ => false,
    }
}

fn is_member(set: &AddressSet, address: IpAddr) -> bool {
    let excepted = set.except().iter().any(|&prefix| IpNet::from(prefix).contains(&address));
    Scope::of(address) == Scope::Global && is_covered(set, address) && !excepted
}

fn is_covered(set: &AddressSet, address: IpAddr) -> bool {
    set.prefixes().iter().any(|&prefix| IpNet::from(prefix).contains(&address))
}

/// Whether a pattern matches a whole name: `*` any text, `?` any character.
pub(super) fn globs(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => globs(rest, name) || (!name.is_empty() && globs(pattern, &name[1..])),
        ([first, rest @ ..], [next, behind @ ..]) if *first == b'?' || first == next => globs(rest, behind),
        _ => false,
    }
}

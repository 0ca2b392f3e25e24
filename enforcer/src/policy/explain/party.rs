//! One end of a question, and which sides of rules it matches.

use std::{fmt, net::IpAddr};

use enforcer_common::address::{Address, Scope};
use ipnet::IpNet;
use serde::Serialize;

use crate::policy::{
    model::{AddressSet, Policy},
    name::Name,
    prefix::Prefix,
    rule::{End, Side},
};

/// Who has an address on the host that is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owner {
    /// Nobody there.
    #[default]
    Nobody,
    /// A local workload.
    Endpoint,
    /// The host.
    Host,
}

/// One end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Party {
    /// Its address.
    pub address: IpAddr,
    /// Whose address that is.
    #[serde(skip)]
    pub owner: Owner,
    /// What it is a member of, in name order.
    pub networks: Vec<Name>,
    /// The groups that it is a member of, in name order.
    pub groups: Vec<Name>,
    /// Whether it is of the world: nobody's here, and no network or group covers it.
    pub world: bool,
}

impl Party {
    /// What `policy` makes of an address.
    pub fn new(policy: &Policy, address: IpAddr, owner: Owner) -> Self {
        let address = address.to_canonical();
        let able = owner != Owner::Host && scope(address) == Scope::Global;
        let member = |(_, set): &(&Name, &AddressSet)| able && set.contains(address);
        let names = |sets| Iterator::map(Iterator::filter(sets, member), |(name, _)| Name::clone(name));
        let mut sets = policy.networks.values().chain(policy.groups.values());
        Self {
            address,
            owner,
            networks: names(policy.networks.iter()).collect(),
            groups: names(policy.groups.iter()).collect(),
            world: able && owner == Owner::Nobody && !sets.any(|set| set.covers(address)),
        }
    }

    /// Whether this is the host.
    pub fn is_host(&self) -> bool {
        self.owner == Owner::Host
    }

    /// Whether a rule is about it, on that side.
    pub(super) fn matches(&self, side: &Side) -> bool {
        self.is_among(&side.ends) && !self.is_among(&side.except)
    }

    /// Whether one of the ends is about it.
    pub(super) fn is_among<'a>(&self, ends: impl IntoIterator<Item = &'a End>) -> bool {
        ends.into_iter().any(|end| self.is(end))
    }

    pub(super) fn is(&self, end: &End) -> bool {
        let mut names = self.networks.iter().chain(&self.groups);
        match end {
            End::Host => self.is_host(),
            _ if self.is_host() => false,
            End::Any => true,
            End::World => self.world,
            End::Prefix(prefix) => self.is_in(*prefix),
            End::Named(name) => names.any(|other| other == name),
            End::Glob(glob) => names.any(|name| glob.matches(name)),
        }
    }

    /// Link-local addresses are in no prefix that was written with others in mind.
    fn is_in(&self, prefix: Prefix) -> bool {
        let link_local = |address| scope(address) == Scope::LinkLocal;
        let net = IpNet::from(prefix);
        let written_for_it = || link_local(net.network()) && link_local(net.broadcast());
        prefix.contains(self.address) && (!link_local(self.address) || written_for_it())
    }
}

fn scope(address: IpAddr) -> Scope {
    Address::from(address).scope()
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self { owner: Owner::Host, .. } => write!(f, "{} is the host", self.address),
            Self { groups, .. } if groups.is_empty() => {
                write!(f, "{} ∈ {{{}}}", self.address, list(&self.networks))
            }
            _ => write!(
                f,
                "{} ∈ {{{}}}, groups {{{}}}",
                self.address,
                list(&self.networks),
                list(&self.groups)
            ),
        }
    }
}

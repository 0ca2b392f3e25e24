//! Which addresses a workload has a right to.

use std::{collections::BTreeMap, net::IpAddr};

use enforcer_common::{
    address::{Address, Scope},
    endpoint::AddressOwner,
};

use super::{op::Owned, step::Veth};
use crate::config::Config;

/// Addresses that one endpoint may have learned at a time: room for a day's temporary IPv6 addresses
/// (RFC 8981), not for a workload that fills the table.
pub const MAX_LEARNED: usize = 64;

/// Why an endpoint owns a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// The host file says so.
    Declared,
    /// The host routes it to this veth.
    Routed,
    /// The workload configured it, within the subnets of its veth. Stays until the veth goes.
    Learned,
}

impl Origin {
    /// What the kernel keeps of it, for the next daemon.
    pub const fn flags(self) -> u32 {
        if matches!(self, Self::Learned) { AddressOwner::LEARNED } else { 0 }
    }

    /// What an earlier daemon wrote: only what was learned sticks, the rest has to be found again.
    pub const fn of(owner: &AddressOwner) -> Self {
        if owner.flags & AddressOwner::LEARNED != 0 { Self::Learned } else { Self::Routed }
    }
}

/// What a veth's workload has a right to, per family: declared, else routed, else what it configured
/// itself within the subnets of its veth.
pub fn claims(config: &Config, veth: &Veth) -> BTreeMap<Owned, Origin> {
    let declared: Vec<Owned> = config.declared(&veth.name).map(Owned::from).collect();
    let routed: Vec<Owned> = veth.routed.iter().copied().map(Owned::from).collect();
    let within = |address: &IpAddr| veth.subnets.iter().any(|subnet| subnet.contains(address));
    let learned = veth.inside.iter().filter(|address| is_global(address) && within(address));
    let learned: Vec<Owned> = learned.copied().map(Owned::from).take(MAX_LEARNED).collect();
    let sources = [(declared, Origin::Declared), (routed, Origin::Routed), (learned, Origin::Learned)];
    let mut claims = BTreeMap::new();
    for v4 in [true, false] {
        let family = |networks: &[Owned]| -> Vec<Owned> {
            networks.iter().copied().filter(|network| network.address.is_v4() == v4).collect()
        };
        let best = sources.iter().map(|(networks, origin)| (family(networks), *origin));
        if let Some((networks, origin)) = best.into_iter().find(|(networks, _)| !networks.is_empty()) {
            claims.extend(networks.into_iter().map(|network| (network, origin)));
        }
    }
    claims
}

/// Link-local addresses belong to their link, not to an endpoint.
fn is_global(address: &IpAddr) -> bool {
    Address::from(*address).scope() == Scope::Global
}

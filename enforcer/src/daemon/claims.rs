//! Which addresses a workload has a right to.

use std::{collections::BTreeMap, net::IpAddr};

use enforcer_common::{
    address::{Address, Scope},
    endpoint::AddressOwner,
};

use super::{event::Veth, op::Owned};
use crate::config::{Config, Subject};

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
pub fn claims(config: &Config, veth: &Veth, subject: Subject<'_>) -> BTreeMap<Owned, Origin> {
    let declared: Vec<Owned> = config.declared(subject).map(Owned::from).collect();
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

/// Every veth's claims, by interface.
pub type Claims = BTreeMap<u32, BTreeMap<Owned, Origin>>;

/// All claims of one look, compared.
#[derive(Debug, Default)]
pub struct Contest {
    best: BTreeMap<Owned, (Origin, u32)>,
    declared: Vec<(Owned, u32)>,
}

impl Contest {
    /// Finds the best claim to each prefix; the lower interface's where two are as good.
    pub fn of(claims: &Claims) -> Self {
        let mut contest = Self::default();
        for (ifindex, claims) in claims {
            for (network, origin) in claims {
                let best = contest.best.entry(*network).or_insert((*origin, *ifindex));
                *best = (*best).min((*origin, *ifindex));
                if *origin == Origin::Declared {
                    contest.declared.push((*network, *ifindex));
                }
            }
        }
        contest
    }

    /// Whether anybody claims the prefix.
    pub fn is_claimed(&self, network: &Owned) -> bool {
        self.best.contains_key(network)
    }

    /// Whether nobody has a better claim to the prefix than `origin` is.
    pub fn allows(&self, network: &Owned, origin: Origin) -> bool {
        self.best.get(network).is_none_or(|(best, _)| origin <= *best)
    }

    /// Whether a learned address goes too far: into what the host file gives to another endpoint, or beyond
    /// what the workload had at first (`owned`). Its first addresses say where it belongs; others would let
    /// it join networks by itself. IPv6 gets further addresses within the /64 of one it has: so SLAAC works
    /// (RFC 4862, RFC 8981).
    pub fn refuses(&self, network: &Owned, ifindex: u32, owned: &BTreeMap<Owned, Origin>) -> bool {
        if owned.contains_key(network) {
            return false;
        }
        let mut elsewhere = self.declared.iter().filter(|(_, of)| *of != ifindex);
        if elsewhere.any(|(declared, _)| declared.covers(network)) {
            return true;
        }
        let mut family = owned.keys().filter(|other| other.is_family_of(network)).peekable();
        let same_link =
            |other: &Owned| !network.address.is_v4() && Owned { bits: 64, ..*other }.covers(network);
        family.peek().is_some() && !family.any(same_link)
    }
}

/// Link-local addresses belong to their link, not to an endpoint.
fn is_global(address: &IpAddr) -> bool {
    Address::from(*address).scope() == Scope::Global
}

//! ARP, neighbour discovery and multicast listener reports: no policy applies to them, but nobody may
//! speak for an address of somebody else.

use enforcer_common::{
    address::{Address, Scope},
    endpoint::{Endpoint, EndpointId},
    event::Hook,
    verdict::{DropReason, PassReason},
};

use crate::{
    endpoint,
    packet::Skb,
    parse::{Kind, Packet},
};

#[inline(always)]
pub fn judge(skb: Skb, hook: Hook, endpoint: &Endpoint, packet: &Packet) -> Result<PassReason, DropReason> {
    match (hook, packet.kind) {
        (Hook::FromEndpoint, Kind::Router) => Err(DropReason::RouterAdvertisement),
        (Hook::FromEndpoint, _) => from_endpoint(endpoint, packet),
        (Hook::ToEndpoint, _) => to_endpoint(skb, packet),
    }
}

#[inline(always)]
fn from_endpoint(endpoint: &Endpoint, packet: &Packet) -> Result<PassReason, DropReason> {
    for address in [packet.key.src, packet.claim] {
        if !claims_nothing(address) && !endpoint::may_use(endpoint, address) {
            return Err(DropReason::SpoofedNeighbor);
        }
    }
    Ok(PassReason::Neighbor)
}

/// A local endpoint's address may only be spoken for by a packet that entered through its veth.
#[inline(always)]
fn to_endpoint(skb: Skb, packet: &Packet) -> Result<PassReason, DropReason> {
    let owner = endpoint::owner(packet.claim);
    match owner.endpoint {
        EndpointId::REMOTE => Ok(PassReason::Neighbor),
        // The host's stamp is none.
        _ if skb.stamp() == owner.stamp => Ok(PassReason::Neighbor),
        _ => Err(DropReason::SpoofedNeighbor),
    }
}

/// An ARP probe (RFC 5227 §2.1.1) and a duplicate address probe (RFC 4862 §5.4.2) have no source yet:
/// they ask, and no neighbour learns anything from them.
#[inline(always)]
fn claims_nothing(address: Address) -> bool {
    address.scope() == Scope::Unspecified
}

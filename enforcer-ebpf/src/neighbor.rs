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
    journey::Judgement,
    packet::Skb,
    parse::{Kind, Packet},
};

#[inline(always)]
pub fn judge(skb: Skb, hook: Hook, endpoint: &Endpoint, packet: &Packet) -> Judgement {
    let honest = match (hook, packet.kind) {
        (Hook::FromEndpoint, Kind::Router) => return Judgement::dropped(DropReason::RouterAdvertisement),
        (Hook::FromEndpoint, _) => from_endpoint(endpoint, packet),
        (Hook::ToEndpoint, _) => to_endpoint(skb, packet),
    };
    if honest {
        Judgement::passed(PassReason::Neighbor)
    } else {
        Judgement::dropped(DropReason::SpoofedNeighbor)
    }
}

#[inline(always)]
fn from_endpoint(endpoint: &Endpoint, packet: &Packet) -> bool {
    let may_speak_for = |address| claims_nothing(address) || endpoint::may_use(endpoint, address);
    may_speak_for(packet.key.src) && (packet.claim == packet.key.src || may_speak_for(packet.claim))
}

/// A local endpoint's address may only be spoken for by a packet that entered through its veth.
#[inline(always)]
fn to_endpoint(skb: Skb, packet: &Packet) -> bool {
    let owner = endpoint::owner(packet.claim);
    match owner.endpoint {
        EndpointId::REMOTE => true,
        EndpointId::HOST => skb.is_locally_generated(),
        _ => skb.stamp() == owner.stamp,
    }
}

/// An ARP probe (RFC 5227 §2.1.1) and a duplicate address probe (RFC 4862 §5.4.2) have no source yet:
/// they ask, and no neighbour learns anything from them.
#[inline(always)]
fn claims_nothing(address: Address) -> bool {
    address.scope() == Scope::Unspecified
}

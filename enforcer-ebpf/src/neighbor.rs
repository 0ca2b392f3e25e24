//! ARP, neighbour discovery and multicast listener reports: no policy applies to them, but nobody may
//! speak for an address of somebody else, and none of it leaves its link.

use enforcer_common::{
    address::{Address, Scope},
    endpoint::{Endpoint, EndpointId, doubtful_stamp},
    verdict::{DropReason, PassReason},
};

use crate::{
    config,
    datapath::Role,
    endpoint,
    journey::Judgement,
    packet::Origin,
    parse::{Kind, Packet},
};

/// The judgement; `None` for what only looks like neighbour discovery, and is judged like anything else.
#[inline(always)]
pub fn judge(role: Role, origin: Origin, endpoint: &Endpoint, packet: &Packet) -> Option<Judgement> {
    let honest = match (role, packet.kind) {
        (_, Kind::Plain | Kind::Error) => return None,
        (Role::Sender, Kind::Router) if endpoint.flags & Endpoint::ROUTER == 0 => {
            return Some(Judgement::dropped(DropReason::RouterAdvertisement));
        }
        // An IPv4 redirect is an ordinary packet; the link does not need it.
        (_, Kind::Router) if packet.key.src.is_v4() => return None,
        (Role::Sender, _) if leaves_link(packet.key.dst) => return None,
        (Role::Sender, _) => from_endpoint(endpoint, packet),
        (Role::Receiver, _) => to_endpoint(origin, packet),
    };
    Some(if honest {
        Judgement::passed(PassReason::Neighbor)
    } else {
        Judgement::dropped(DropReason::SpoofedNeighbor)
    })
}

/// The host would forward a unicast packet to anywhere else, whatever its hop limit proves about its past.
#[inline(always)]
fn leaves_link(dst: Address) -> bool {
    match dst.scope() {
        _ if dst.is_v4() => false,
        Scope::LinkLocal => false,
        Scope::Multicast => !dst.is_link_scope_multicast(),
        _ => endpoint::owner(dst).endpoint == EndpointId::REMOTE,
    }
}

#[inline(always)]
fn from_endpoint(endpoint: &Endpoint, packet: &Packet) -> bool {
    if packet.claimed_mac != packet.mac {
        return false;
    }
    if claims_nothing(packet.key.src) {
        // The target of ARP is its destination; it claims nothing of it where it is delivered.
        return probes_for_free(endpoint, if packet.key.src.is_v4() { packet.key.dst } else { packet.claim });
    }
    endpoint::may_use(endpoint, packet.key.src)
        && (packet.claim == packet.key.src || endpoint::may_use(endpoint, packet.claim))
}

/// Who asks whether an address is taken must not ask for one that is: the answer would be believed.
#[inline(always)]
fn probes_for_free(endpoint: &Endpoint, address: Address) -> bool {
    let owner = endpoint::owner(address).endpoint;
    let free = owner == EndpointId::REMOTE
        && (address.scope() != Scope::LinkLocal || endpoint::fits_mac(endpoint, address));
    free || owner == endpoint.id
}

/// A local endpoint's address may only be spoken for by a packet that entered through its veth, the host's
/// only by the host, and nobody's by what should not have entered at all.
#[inline(always)]
fn to_endpoint(origin: Origin, packet: &Packet) -> bool {
    let owner = endpoint::owner(packet.claim);
    match owner.endpoint {
        EndpointId::REMOTE => origin.stamp != doubtful_stamp(config::mark_mask()),
        EndpointId::HOST => origin.from_host,
        _ => origin.stamp == owner.stamp,
    }
}

/// An ARP probe (RFC 5227 §2.1.1) and a duplicate address probe (RFC 4862 §5.4.2) have no source yet.
#[inline(always)]
fn claims_nothing(address: Address) -> bool {
    address.scope() == Scope::Unspecified
}

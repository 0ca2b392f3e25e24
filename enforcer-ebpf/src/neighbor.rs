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
    journey::{Journey, Judgement},
    packet::Origin,
    parse::{Kind, Packet},
};

/// Leaves the judgement in the journey; false for what only looks like neighbour discovery, and is judged like
/// anything else. `ifindex` is the endpoint's.
#[inline(always)]
pub fn judge(role: Role, origin: Origin, ifindex: u32, packet: &Packet) -> bool {
    let sends = u32::from(role == Role::Sender);
    let is_neighbors = !matches!(packet.kind, Kind::Plain | Kind::Error);
    is_neighbors && judge_neighbor(ifindex, sends, origin.stamp, u32::from(origin.from_host)) != 0
}

/// A station of its own, for the hook's stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_neighbor(ifindex: u32, sends: u32, stamp: u32, from_host: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some(endpoint) = endpoint::behind(ifindex) else { return 0 };
    let origin = Origin { stamp, from_host: from_host != 0 };
    let judgement =
        if sends != 0 { sent(endpoint, &journey.packet) } else { delivered(origin, &journey.packet) };
    match judgement {
        Some(judgement) => {
            journey.judgement = judgement;
            1
        }
        None => 0,
    }
}

#[inline(always)]
fn sent(endpoint: &Endpoint, packet: &Packet) -> Option<Judgement> {
    if packet.kind == Kind::Router && endpoint.flags & Endpoint::ROUTER == 0 {
        return Some(Judgement::dropped(DropReason::RouterAdvertisement));
    }
    if is_plain(packet) || leaves_link(packet.key.dst) {
        return None;
    }
    Some(if_honest(from_endpoint(endpoint, packet)))
}

#[inline(always)]
fn delivered(origin: Origin, packet: &Packet) -> Option<Judgement> {
    (!is_plain(packet)).then(|| if_honest(to_endpoint(origin, packet)))
}

/// An IPv4 redirect is an ordinary packet; the link does not need it.
#[inline(always)]
fn is_plain(packet: &Packet) -> bool {
    packet.kind == Kind::Router && packet.key.src.is_v4()
}

#[inline(always)]
const fn if_honest(honest: bool) -> Judgement {
    if honest {
        Judgement::passed(PassReason::Neighbor)
    } else {
        Judgement::dropped(DropReason::SpoofedNeighbor)
    }
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
    if packet.claims_other_mac.get() != 0 {
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

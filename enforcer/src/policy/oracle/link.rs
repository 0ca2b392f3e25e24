//! What makes a link work, and needs no policy: ARP, neighbour discovery, multicast listeners.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_common::{
    event::Hook,
    verdict::{DropReason, PassReason},
};

use super::{
    Answer, Arrival, Endpoint, Owner, Stamp, World,
    datagram::{Datagram, Discovery},
    drop,
    flow::ICMP,
    frame::{Content, Frame},
    pass,
    scope::Scope,
};

/// Type of an ICMP redirect.
const REDIRECT: u8 = 5;

/// A packet of the link, and for whose address it speaks.
#[derive(Clone, Copy)]
pub(super) struct Speech {
    src: IpAddr,
    dst: IpAddr,
    pub(super) claim: IpAddr,
    /// What ARP says about its sender's MAC is what the frame says.
    honest_mac: bool,
}

/// The answer; `None` for what is judged like anything else.
pub(super) fn judge(world: &World, arrival: &Arrival, endpoint: &Endpoint, frame: &Frame) -> Option<Answer> {
    let sends = arrival.hook != Hook::ToEndpoint;
    if sends && !endpoint.router && routes(frame) {
        return Some(drop(DropReason::RouterAdvertisement));
    }
    let speech = speech(frame)?;
    if sends && leaves_link(world, speech.dst) {
        return None;
    }
    let honest = if sends {
        speech.honest_mac && may_say(world, endpoint, &speech)
    } else {
        may_be_heard(world, arrival, speech.claim)
    };
    Some(if honest { pass(PassReason::Neighbor) } else { drop(DropReason::SpoofedNeighbor) })
}

/// What only routers say, in either family; of IPv4 it is no more than that, and judged like anything else.
pub(super) fn routes(frame: &Frame) -> bool {
    let Content::Ip(packet) = &frame.content else { return false };
    let redirects =
        packet.flow.protocol == ICMP && packet.flow.icmp.is_some_and(|(kind, _)| kind == REDIRECT);
    redirects || packet.discovery == Some(Discovery::Routing)
}

/// What makes the link work; `None` for everything else.
pub(super) fn speech(frame: &Frame) -> Option<Speech> {
    match &frame.content {
        &Content::Arp { mac, sender, target } => {
            let (src, dst) = (sender.into(), target.into());
            Some(Speech { src, dst, claim: src, honest_mac: mac == frame.mac })
        }
        Content::Ip(packet) => {
            let (src, dst) = (packet.flow.src, packet.flow.dst);
            Some(Speech { src, dst, claim: claim(packet)?, honest_mac: true })
        }
    }
}

fn claim(packet: &Datagram) -> Option<IpAddr> {
    let src = packet.flow.src;
    Some(match packet.discovery? {
        // Who has no address yet asks for the one that it wants.
        Discovery::Solicitation(target) if Scope::of(src) == Scope::Unspecified => target.into(),
        Discovery::Advertisement(target) => target.into(),
        Discovery::Solicitation(_) | Discovery::Asking | Discovery::Routing => src,
    })
}

/// Whether the host would forward it.
fn leaves_link(world: &World, dst: IpAddr) -> bool {
    let IpAddr::V6(v6) = dst else { return false };
    match Scope::of(dst) {
        Scope::LinkLocal => false,
        Scope::Many => !is_of_link(v6),
        _ => matches!(world.owner(dst), Owner::Nobody),
    }
}

/// Multicast that no router forwards.
pub(super) const fn is_of_link(group: Ipv6Addr) -> bool {
    group.segments()[0] == 0xff02
}

/// A workload speaks for itself. One without an address may ask for any that nobody else has.
fn may_say(world: &World, endpoint: &Endpoint, speech: &Speech) -> bool {
    if Scope::of(speech.src) != Scope::Unspecified {
        return world.may_speak_as(endpoint, speech.src) && world.may_speak_as(endpoint, speech.claim);
    }
    // ARP asks for its target, whatever it claims.
    let wanted = if speech.src.is_ipv4() { speech.dst } else { speech.claim };
    match world.owner(wanted) {
        Owner::Nobody => endpoint.may_derive(wanted),
        Owner::Host => false,
        Owner::Endpoint(owner) => owner.name == endpoint.name,
    }
}

/// Who is local proves it; of strangers nobody knows better, unless it should not have come so far.
fn may_be_heard(world: &World, arrival: &Arrival, claim: IpAddr) -> bool {
    match world.owner(claim) {
        Owner::Nobody => arrival.stamp != Stamp::Doubtful,
        Owner::Host => arrival.locally_generated,
        Owner::Endpoint(owner) => arrival.stamp == Stamp::Of(&owner.name),
    }
}

//! What makes a link work, and needs no policy: ARP, neighbour discovery, multicast listeners.

use std::net::{IpAddr, Ipv6Addr};

use enforcer_common::{
    event::Hook,
    verdict::{DropReason, PassReason},
};

use super::{
    Answer, Arrival, Endpoint, Owner, World, drop,
    frame::{Content, Discovery, Frame},
    scope::Scope,
};

/// A packet of the link, and for whose address it speaks.
struct Speech {
    src: IpAddr,
    dst: IpAddr,
    claim: IpAddr,
    /// What ARP says about its sender's MAC is what the frame says.
    honest_mac: bool,
    router: bool,
}

/// The answer; `None` for what is judged like anything else.
pub(super) fn judge(world: &World, arrival: &Arrival, endpoint: &Endpoint, frame: &Frame) -> Option<Answer> {
    let speech = speech(frame)?;
    let honest = match arrival.hook {
        Hook::FromEndpoint | Hook::Guard if speech.router => {
            return Some(drop(DropReason::RouterAdvertisement));
        }
        Hook::FromEndpoint | Hook::Guard if leaves_link(world, speech.dst) => return None,
        Hook::FromEndpoint | Hook::Guard => speech.honest_mac && may_say(world, endpoint, &speech),
        Hook::ToEndpoint => may_be_heard(world, arrival, speech.claim),
    };
    Some(if honest { Answer::Pass(PassReason::Neighbor) } else { drop(DropReason::SpoofedNeighbor) })
}

fn speech(frame: &Frame) -> Option<Speech> {
    let packet = match &frame.content {
        &Content::Arp { mac, sender, target } => {
            let (src, dst) = (sender.into(), target.into());
            return Some(Speech { src, dst, claim: src, honest_mac: mac == frame.mac, router: false });
        }
        Content::Ip(packet) => packet,
    };
    let quiet =
        Speech { src: packet.src, dst: packet.dst, claim: packet.src, honest_mac: true, router: false };
    Some(match packet.discovery? {
        // Who has no address yet asks for the one that it wants.
        Discovery::Solicitation(target) if Scope::of(packet.src) == Scope::Unspecified => {
            Speech { claim: target.into(), ..quiet }
        }
        Discovery::Advertisement(target) => Speech { claim: target.into(), ..quiet },
        Discovery::Solicitation(_) | Discovery::Asking => quiet,
        Discovery::Routing => Speech { router: true, ..quiet },
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
    if Scope::of(speech.src) == Scope::Unspecified {
        return match world.owner(speech.claim) {
            Owner::Nobody => true,
            Owner::Host => false,
            Owner::Endpoint(owner) => owner.name == endpoint.name,
        };
    }
    world.may_use(endpoint, speech.src) && world.may_use(endpoint, speech.claim)
}

/// Who is local proves it; of strangers nobody knows better.
fn may_be_heard(world: &World, arrival: &Arrival, claim: IpAddr) -> bool {
    match world.owner(claim) {
        Owner::Nobody => true,
        Owner::Host => arrival.locally_generated,
        Owner::Endpoint(owner) => arrival.stamp == Some(&owner.name),
    }
}

//! What arrives from outside: nobody there has an address of this host, and where nobody is a member of
//! anything, no member's either. The guard also judges what is for a workload, as its veth would; everything
//! else is the host's own business.

use std::net::IpAddr;

use enforcer_common::{
    event::Hook,
    verdict::{DropReason, PassReason},
};

use super::{
    Answer, Arrival, Owner, Stamp, Uplink, World, at_endpoint, drop,
    frame::{self, Content, Frame},
    link,
    memory::Memory,
    pass,
    scope::Scope,
};

/// What becomes of a frame that comes in from an uplink. What bears a stamp entered through a workload's veth,
/// and was unpacked here.
pub(super) fn receive(world: &World, uplink: &Uplink, arrival: &Arrival) -> Answer {
    let refused = arrival.stamp != Stamp::None || world.is_spoofed(uplink, arrival.frame);
    let answer = if refused { drop(DropReason::SpoofedOutside) } else { pass(PassReason::Uplink) };
    answer.in_mode(world.mode)
}

/// What becomes of a frame at an uplink's guard.
pub(super) fn guard(world: &World, memory: &mut Memory, uplink: &Uplink, arrival: &Arrival) -> Answer {
    let pass = pass(PassReason::Uplink);
    let receiver = addresses(arrival.frame).and_then(|(_, dst)| match world.owner(dst) {
        Owner::Endpoint(receiver) => Some(receiver),
        Owner::Host | Owner::Nobody => None,
    });
    if world.is_spoofed(uplink, arrival.frame) {
        return drop(DropReason::SpoofedOutside).in_mode(world.mode);
    }
    if let Err(why) = frame::read(arrival.frame) {
        return receiver.map_or(pass, |receiver| Answer::refused(why).in_mode(world.mode_of(receiver)));
    }
    let Some(receiver) = receiver else { return pass };
    let delivery = Arrival {
        hook: Hook::ToEndpoint,
        endpoint: &receiver.name,
        stamp: Stamp::None,
        locally_generated: false,
        ..*arrival
    };
    at_endpoint(world, memory, &delivery)
}

impl World {
    /// Whether nobody behind the uplink can have sent it. Of what cannot be read the source alone is asked about.
    fn is_spoofed(&self, uplink: &Uplink, frame: &[u8]) -> bool {
        match frame::read(frame) {
            Ok(frame) => self.speaks_for_others(uplink, &frame),
            Err(_) => addresses(frame)
                .is_some_and(|(src, _)| self.is_here(src) || (uplink.external && self.is_member(src))),
        }
    }

    fn speaks_for_others(&self, uplink: &Uplink, frame: &Frame) -> bool {
        let speech = link::speech(frame);
        let src = match &frame.content {
            Content::Arp { sender, .. } => (*sender).into(),
            Content::Ip(packet) => packet.flow.src,
        };
        // Who only asks whether an address is free speaks for nobody yet.
        let claim = speech.filter(|_| Scope::of(src) != Scope::Unspecified).map(|speech| speech.claim);
        if self.is_here(src) || claim.is_some_and(|claim| self.is_here(claim)) {
            return true;
        }
        // What makes the link work may come from anybody; routers speak from link-local addresses (RFC 4861 §4.2).
        let Content::Ip(packet) = &frame.content else { return false };
        let of_link = speech.is_some() && !link::routes(frame);
        let stays_open = matches!(self.owner(packet.flow.dst), Owner::Host) && self.stays_open(packet.flow);
        uplink.external && !of_link && !stays_open && self.is_member(src)
    }

    /// Every link has its own link-local addresses.
    fn is_here(&self, address: IpAddr) -> bool {
        !matches!(self.owner(address), Owner::Nobody) && Scope::of(address) != Scope::LinkLocal
    }

    fn is_member(&self, address: IpAddr) -> bool {
        let networks = self.policy.iter().flat_map(|policy| policy.networks.values());
        networks.into_iter().any(|network| self.is_member_of(network, address))
    }
}

/// Source and destination of what says that it is an IP packet, if its network header is there at all.
fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let behind = frame.get(14..)?;
    match frame[12..14] {
        [0x08, 0x00] => {
            let header = behind.first_chunk::<20>()?;
            Some((v4(header[12..16].try_into().ok()?), v4(header[16..20].try_into().ok()?)))
        }
        [0x86, 0xdd] => {
            let header = behind.first_chunk::<40>()?;
            Some((v6(header[8..24].try_into().ok()?), v6(header[24..40].try_into().ok()?)))
        }
        _ => None,
    }
}

fn v4(octets: [u8; 4]) -> IpAddr {
    octets.into()
}

/// One with an IPv4 address in it means that (RFC 4291 §2.5.5.2).
fn v6(octets: [u8; 16]) -> IpAddr {
    IpAddr::from(octets).to_canonical()
}

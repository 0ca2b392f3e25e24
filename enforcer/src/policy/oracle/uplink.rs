//! What arrives from outside: what is for a workload meets its veth's rules early, everything else is the
//! host's own business.

use std::net::IpAddr;

use enforcer_common::{
    event::Hook,
    verdict::{DropReason, PassReason},
};

use super::{
    Answer, Arrival, Owner, Stamp, World, at_endpoint, drop, frame, memory::Memory, pass, scope::Scope,
};

/// What becomes of a frame at an uplink's guard.
pub(super) fn judge(world: &World, memory: &mut Memory, arrival: &Arrival) -> Answer {
    let pass = pass(PassReason::Uplink);
    let Some((src, dst)) = addresses(arrival.frame) else { return pass };
    let receiver = match world.owner(dst) {
        Owner::Endpoint(receiver) => Some(receiver),
        Owner::Host | Owner::Nobody => None,
    };
    if let Err(why) = frame::read(arrival.frame) {
        return receiver.map_or(pass, |receiver| Answer::refused(why).in_mode(world.mode_of(receiver)));
    }
    // Every link has its link-local addresses.
    let local = !matches!(world.owner(src), Owner::Nobody) && Scope::of(src) != Scope::LinkLocal;
    if local {
        return drop(DropReason::SpoofedOutside).in_mode(world.mode);
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

fn v6(octets: [u8; 16]) -> IpAddr {
    octets.into()
}

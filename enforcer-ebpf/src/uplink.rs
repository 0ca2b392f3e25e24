//! What arrives from outside. Nobody there has an address of this host, and whoever is behind an uplink that is
//! not trusted is a member of nothing. Everything else is the host's own business; the early guard also judges
//! what is for a local endpoint.

use enforcer_common::{
    address::{Address, Scope},
    endpoint::{Endpoint, EndpointId},
    verdict::{DropReason, PassReason},
};

use crate::{
    account::FlowRecord,
    datapath::{Role, judge_parsed},
    endpoint, host,
    journey::{Journey, Judgement, question},
    packet::{Frame, Origin},
    parse::Kind,
    policy,
};

/// Leaves the judgement in the journey, as what the host receives.
#[inline(always)]
pub fn receive(frame: impl Frame, parsed: bool, journey: &Journey) {
    let flags = endpoint::seated(journey, frame.ifindex()).map_or(0, |uplink| uplink.flags);
    let stamped = frame.origin().stamp != 0;
    judge_outside(flags, u32::from(parsed) | u32::from(stamped) << 1);
}

/// Leaves the judgement in the journey, as a delivery to the endpoint that the packet is for. `flags` are the uplink's.
#[inline(always)]
pub fn judge(
    frame: impl Frame,
    parsed: Result<(), u8>,
    flags: u32,
    journey: &mut Journey,
) -> (Role, FlowRecord) {
    judge_outside(flags, u32::from(parsed.is_ok()));
    let receiver = receiving_interface();
    if !journey.judgement.is_pass() || receiver == 0 {
        return (Role::Receiver, FlowRecord::NONE);
    }
    let Some(endpoint) = endpoint::behind(receiver) else { return (Role::Receiver, FlowRecord::NONE) };
    (journey.endpoint, journey.stamp) = (endpoint.id, endpoint.stamp);
    let record = match parsed {
        Ok(()) => {
            let ifindexes = [frame.ifindex(), receiver];
            judge_parsed(Role::Receiver, endpoint, ifindexes, Origin::default(), journey)
        }
        Err(reason) => {
            journey.judgement = Judgement { verdict: reason, ..Judgement::default() };
            FlowRecord::NONE
        }
    };
    (Role::Receiver, record)
}

/// A station of its own, for the guard's stack has no room for a key: the interface of the local endpoint that
/// the packet is for, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn receiving_interface() -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let key = &journey.packet.key;
    let is_ip = journey.packet.kind != Kind::Neighbor || !key.src.is_v4();
    // The key of a frame that is not IP, or was not read so far, is nobody's.
    if is_ip { endpoint::owner(key.dst).ifindex } else { 0 }
}

/// The packet's headers were understood.
const PARSED: u32 = 1;
/// It bears somebody's stamp.
const STAMPED: u32 = 2;

/// A station of its own: whether the packet can come from outside. `flags` are the uplink's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_outside(flags: u32, packet: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let parsed = packet & PARSED != 0;
    // A stamped one entered through a workload, and was unpacked on this host from what that sent.
    let refused = packet & STAMPED != 0
        || claims_to_be_here(journey, parsed)
        || (flags & Endpoint::EXTERNAL != 0 && claims_membership(journey, parsed));
    journey.judgement = if refused {
        Judgement::dropped(DropReason::SpoofedOutside)
    } else {
        Judgement::passed(PassReason::Uplink)
    };
    0
}

/// Whether the packet speaks for an address of this host or of a local endpoint. Who only asks whether an
/// address is free speaks for nobody. Of what was not understood the source is known if there was one: the
/// host's own stack may understand it better.
#[inline(always)]
fn claims_to_be_here(journey: &Journey, parsed: bool) -> bool {
    let packet = &journey.packet;
    let asks = packet.key.src.scope() == Scope::Unspecified;
    is_here(packet.key.src) || (parsed && packet.kind == Kind::Neighbor && !asks && is_here(packet.claim))
}

/// Every link has its link-local addresses, and the one outside has them, too.
#[inline(always)]
fn is_here(address: Address) -> bool {
    endpoint::owner(address).endpoint != EndpointId::REMOTE && address.scope() != Scope::LinkLocal
}

/// Whether the packet's source is a member of a network. What the link needs may come from anywhere, and so
/// may what stays open to the host's admins.
#[inline(always)]
fn claims_membership(journey: &Journey, parsed: bool) -> bool {
    let packet = &journey.packet;
    !(parsed && packet.kind == Kind::Neighbor)
        && policy::is_member(journey, packet.key.src)
        && !(parsed
            && endpoint::owner(packet.key.dst).endpoint == EndpointId::HOST
            && host::stays_open(question::PACKET))
}

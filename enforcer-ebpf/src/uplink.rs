//! What arrives from outside: the guard of an uplink judges only what is for a local endpoint or claims to
//! be from here. Everything else is the host's own business.

use enforcer_common::{
    address::Scope,
    endpoint::EndpointId,
    verdict::{DropReason, PassReason},
};

use crate::{
    account::FlowRecord,
    datapath::{Role, judge_parsed},
    endpoint,
    journey::{Journey, Judgement},
    packet::{Frame, Origin},
    parse::{self, Kind},
};

/// Leaves the judgement in the journey, as a delivery to the endpoint that the packet is for.
#[inline(always)]
pub fn judge(frame: impl Frame, journey: &mut Journey) -> (Role, FlowRecord) {
    let parsed = parse::read(frame);
    let key = &journey.packet.key;
    let is_ip = journey.packet.kind != Kind::Neighbor || !key.src.is_v4();
    // The key of a frame that is not IP, or was not read so far, is nobody's.
    let owner = endpoint::owner(key.dst);
    journey.judgement = match (parsed, endpoint::owner(key.src).endpoint) {
        // Every link has its link-local addresses, and the one outside has them, too.
        (Ok(()), source) if is_ip && source != EndpointId::REMOTE && key.src.scope() != Scope::LinkLocal => {
            Judgement::dropped(DropReason::SpoofedOutside)
        }
        _ => Judgement::passed(PassReason::Uplink),
    };
    if !journey.judgement.is_pass() || !is_ip || owner.ifindex == 0 {
        return (Role::Receiver, FlowRecord::None);
    }
    let Some(endpoint) = endpoint::behind(owner.ifindex) else { return (Role::Receiver, FlowRecord::None) };
    (journey.endpoint, journey.stamp) = (endpoint.id, endpoint.stamp);
    let record = match parsed {
        Ok(()) => {
            let ifindexes = [frame.ifindex(), owner.ifindex];
            judge_parsed(Role::Receiver, endpoint, ifindexes, Origin::default(), journey)
        }
        Err(reason) => {
            journey.judgement = Judgement { verdict: reason, ..Judgement::default() };
            FlowRecord::None
        }
    };
    (Role::Receiver, record)
}

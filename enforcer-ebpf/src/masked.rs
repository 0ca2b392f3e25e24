//! Who is behind an address of the host: NAT put it in the place of a workload's own, but the stamp still says
//! whose veth the packet entered through. It is judged by that.

use enforcer_common::{
    address::{self, Address, Scope},
    endpoint::{EndpointId, MaskedSender},
    flow::FlowEntry,
    policy::{Point, Ruling},
    verdict::{DropReason, PassReason},
};

use crate::{
    endpoint,
    journey::{Journey, Judgement, question},
    judge, maps,
    parse::Kind,
    policy, state,
};

/// What is delivered to an endpoint with an address of the host as its source and somebody's stamp; without
/// the stamp's sender the judgement stays as it is. A station of its own. Nothing of it is cached: it depends
/// on the stamp.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_masked(receiver: u32, stamp: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let (src, dst) = (journey.packet.key.src, journey.packet.key.dst);
    // An error quotes what NAT has rewritten.
    let is_readable = journey.packet.kind != Kind::Error && address::forbidden(src, dst).is_none();
    if !is_readable || endpoint::owner(src).endpoint != EndpointId::HOST {
        return 0;
    }
    let Some((sender, address)) = sender(stamp, src) else { return 0 };
    let receiver = EndpointId(receiver);
    journey.packet.key.src = address;
    policy::introduce(question::PACKET, [sender, receiver]);
    journey.packet.key.src = src;
    let judgement = judge(journey, sender, receiver);
    judge::leave(journey, Judgement { src: sender, dst: receiver, stamp, ..judgement });
    1
}

/// The endpoint, and the address by which the policy knows it.
#[inline(always)]
fn sender(stamp: u32, masked: Address) -> Option<(EndpointId, Address)> {
    // SAFETY: the daemon replaces records whole; a freed one stays readable until this program ends.
    let MaskedSender { v4, v6, endpoint, .. } = unsafe { maps::SENDERS.get(stamp) }?;
    let address = if masked.is_v4() { *v4 } else { *v6 };
    let is_known = address.scope() != Scope::Unspecified;
    (is_known && endpoint::owner(address).endpoint == *endpoint).then_some((*endpoint, address))
}

#[inline(always)]
fn judge(journey: &mut Journey, sender: EndpointId, receiver: EndpointId) -> Judgement {
    if journey.control.active.generation() == 0 {
        return Judgement::dropped(DropReason::NoPolicy);
    }
    let ruling = policy::consult(false);
    let auditing = policy::auditing_rule(journey);
    let no = match ruling {
        Ruling::Shared(network) => {
            let pass = Judgement { network, ..Judgement::passed(PassReason::SharedNetwork) };
            return goes_on(journey, sender, auditing, pass);
        }
        Ruling::Allowed(rule) => {
            let pass = Judgement { rule, ..Judgement::passed(PassReason::AllowedByRule) };
            return goes_on(journey, sender, auditing, pass);
        }
        Ruling::Unsure => return Judgement::dropped(DropReason::Fragment),
        Ruling::Denied(rule) => {
            return Judgement { rule, ..Judgement::dropped(DropReason::DeniedByRule) };
        }
        Ruling::Silent => {
            let flags = if policy::audits_networks(journey) { FlowEntry::AUDITED } else { 0 };
            Judgement { flags, ..Judgement::dropped(DropReason::DefaultDeny) }
        }
    };
    // Perhaps the receiver asked the host, and NAT handed that on to the sender: to one that it may ask itself.
    // Which of the sender's ports that was, NAT does not tell.
    journey.points[1] = Point::no_ports(journey.packet.key.protocol);
    if let Ruling::Silent | Ruling::Denied(_) = policy::consult(true) {
        return no;
    }
    policy::introduce(question::PACKET, [EndpointId::HOST, receiver]);
    match policy::consult(true) {
        Ruling::Allowed(rule) if journey.packet.key.has_ports() && state::answers(journey) => {
            Judgement { rule, ..Judgement::passed(PassReason::Reply) }
        }
        _ => no,
    }
}

/// It may be answered from now on: at the address that NAT gave it.
#[inline(always)]
fn goes_on(journey: &Journey, sender: EndpointId, auditing: u32, pass: Judgement) -> Judgement {
    state::open_masked(journey, sender);
    if auditing == 0 || state::answers(journey) {
        return pass;
    }
    let would = Judgement::dropped(DropReason::DeniedByRule);
    Judgement { rule: auditing, flags: FlowEntry::AUDITED, ..would }
}

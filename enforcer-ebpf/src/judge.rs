//! The verdict over a packet whose flow is not known: addresses first, then what the policy says.

use enforcer_common::{
    address::{self, Scope},
    endpoint::{AddressOwner, Endpoint, EndpointId},
    flow::{FlowEntry, FlowKey},
    policy::Ruling,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    endpoint, flow, host,
    journey::{Journey, Judgement, question},
    packet::Origin,
    parse::{Kind, Packet},
    policy, quote, state,
};

/// Whether what an endpoint sends bears an address of somebody else; then that is the judgement. It is asked first, so that a
/// flood of forged packets costs little and leaves nothing behind.
#[inline(always)]
pub fn is_forged(journey: &mut Journey, endpoint: &Endpoint, ifindex: u32) -> bool {
    let forged =
        !endpoint::knows_source(journey, ifindex) && may_send(ifindex) == DropReason::SpoofedSource as u32;
    if forged {
        let refused = Judgement::dropped(DropReason::SpoofedSource);
        journey.judgement = Judgement { src: endpoint.id, stamp: endpoint.stamp, ..refused };
    }
    forged
}

/// What an endpoint sends. A station of its own, verified once; leaves the judgement in the journey.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_sent(ifindex: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some(endpoint) = endpoint::seated(journey, ifindex) else { return 0 };
    let (judgement, dst) = sent(journey, endpoint, ifindex);
    leave(journey, Judgement { src: endpoint.id, dst, stamp: endpoint.stamp, ..judgement });
    0
}

/// What is delivered to an endpoint. A station of its own, verified once; leaves the judgement in the
/// journey.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_delivered(ifindex: u32, stamp: u32, from_host: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some(endpoint) = endpoint::behind(ifindex) else { return 0 };
    let judgement = delivered(journey, endpoint, may_deliver(ifindex, stamp, from_host));
    leave(journey, Judgement { dst: endpoint.id, ..judgement });
    0
}

/// The verdict over an error depends on what it quotes, which its key does not tell.
#[inline(always)]
pub fn leave(journey: &mut Journey, judgement: Judgement) {
    let kept = if journey.packet.kind == Kind::Error { FlowEntry::AUDITED } else { u8::MAX };
    let FlowKey { src, dst, .. } = journey.packet.key;
    let global = if address::are_global(src, dst) { FlowEntry::GLOBAL } else { 0 };
    let flags = (judgement.flags | global) & kept;
    journey.judgement = Judgement { flags, ..judgement };
}

/// The judgement, and whom the packet is for.
#[inline(always)]
fn sent(journey: &mut Journey, endpoint: &Endpoint, ifindex: u32) -> (Judgement, EndpointId) {
    // Also of who was found to be who he says: what is remembered of that is a hint.
    match may_send(ifindex) {
        MAY_SEND => {}
        MAY_ASK => return (Judgement::cacheable(Verdict::Pass(PassReason::HostAllowed)), EndpointId::HOST),
        reason => {
            let refused = Judgement { verdict: reason as u8, ..Judgement::default() };
            return (Judgement { flags: FlowEntry::CACHED, ..refused }, EndpointId::REMOTE);
        }
    }
    let dst = endpoint::owner(journey.packet.key.dst).endpoint;
    if journey.packet.kind == Kind::Error
        && let Some(judgement) = quote::related(dst)
    {
        return (judgement, dst);
    }
    policy::introduce(question::PACKET, [endpoint.id, dst]);
    let judgement = if dst == EndpointId::HOST { to_host(journey) } else { between(journey, false) };
    (judgement, dst)
}

/// Nothing but the policy can be against it.
const MAY_SEND: u32 = 0;
/// It asks for an address, and may.
const MAY_ASK: u32 = 1 << 8;

/// A station of its own, for the stack of who asks: [`MAY_SEND`], [`MAY_ASK`], or the number of a drop reason.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn may_send(ifindex: u32) -> u32 {
    let Some(journey) = Journey::current() else { return DropReason::NoEndpoint as u32 };
    let Some(endpoint) = endpoint::seated(journey, ifindex) else { return DropReason::NoEndpoint as u32 };
    if asks_for_address(endpoint, &journey.packet.key) {
        return MAY_ASK;
    }
    match forbidden_at_source(endpoint, &journey.packet, &journey.quote) {
        Some(reason) => reason as u32,
        None => {
            endpoint::note_source(journey, ifindex);
            MAY_SEND
        }
    }
}

/// What no policy can allow an endpoint to send.
#[inline(always)]
fn forbidden_at_source(endpoint: &Endpoint, packet: &Packet, quote: &Packet) -> Option<DropReason> {
    let key = &packet.key;
    let scopes = address::forbidden(key.src, key.dst);
    let to_all = matches!(scopes, Some(DropReason::Multicast));
    // Who speaks to all is asked who it is, too: a mode may let it go on. Who has no address yet says so.
    if (scopes.is_some() && !to_all) || key.src.scope() == Scope::Unspecified {
        scopes
    } else if endpoint.flags & Endpoint::ADDRESSED == 0 {
        Some(DropReason::Quarantined)
    } else if !endpoint::may_use(endpoint, key.src) {
        Some(DropReason::SpoofedSource)
    } else if host::serves_addresses(key) && endpoint.flags & Endpoint::DHCP_SERVER == 0 {
        Some(DropReason::DhcpServer)
    } else if packet.kind == Kind::Error && !quote::is_for_sender(endpoint, packet, quote) {
        Some(DropReason::BadQuote)
    } else {
        scopes
    }
}

/// What is delivered by whom [`may_deliver`] found, or `refused`.
#[inline(always)]
fn delivered(journey: &mut Journey, endpoint: &Endpoint, refused: u32) -> Judgement {
    if refused != 0 {
        // Not cacheable: for the same key the host itself may speak.
        return Judgement { verdict: refused as u8, ..Judgement::default() };
    }
    let Judgement { src, stamp, .. } = journey.judgement;
    let judgement = match (src, address::forbidden(journey.packet.key.src, journey.packet.key.dst)) {
        (EndpointId::HOST, Some(DropReason::Multicast)) => by_host_to_all(&journey.packet.key),
        (EndpointId::HOST, None) => by_host(journey, endpoint),
        // Not cacheable: of a source of the host, whether it is believed depends on who sent it.
        (_, Some(reason)) => Judgement::dropped(reason),
        (_, None) => by_other(journey, endpoint, src, stamp),
    };
    Judgement { src, stamp, ..judgement }
}

/// A station of its own, for the stack of who asks. First whom it is for, then who sent it: the number of a drop
/// reason, or 0 and the sender in the journey's judgement, who is who it says it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn may_deliver(ifindex: u32, stamp: u32, from_host: u32) -> u32 {
    let Some(journey) = Journey::current() else { return DropReason::NoEndpoint as u32 };
    let Some(endpoint) = endpoint::behind(ifindex) else { return DropReason::NoEndpoint as u32 };
    match deliverer(&journey.packet.key, endpoint, Origin { stamp, from_host: from_host != 0 }) {
        Ok(sender) => {
            journey.judgement =
                Judgement { src: sender.endpoint, stamp: sender.stamp, ..Judgement::default() };
            0
        }
        Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn deliverer(key: &FlowKey, endpoint: &Endpoint, origin: Origin) -> Result<AddressOwner, DropReason> {
    let forbidden = address::forbidden(key.src, key.dst);
    if matches!(forbidden, Some(DropReason::Multicast)) && !origin.from_host {
        return Err(match endpoint::sender(origin, key.src) {
            Err(reason) if key.src.scope() != Scope::Unspecified => reason,
            _ => DropReason::Multicast,
        });
    }
    let offers_address = origin.from_host
        && host::is_dhcp_answer(key)
        && endpoint::owner(key.src).endpoint == EndpointId::HOST
        && endpoint::owner(key.dst).endpoint != EndpointId::HOST;
    if forbidden.is_none() && !endpoint::may_use(endpoint, key.dst) && !offers_address {
        return Err(DropReason::NotOwner);
    }
    endpoint::sender(origin, key.src)
}

/// Whoever sends to an endpoint and is not its host.
#[inline(always)]
fn by_other(journey: &mut Journey, endpoint: &Endpoint, src: EndpointId, stamp: u32) -> Judgement {
    if journey.packet.kind == Kind::Error {
        if journey.quote.key.src != journey.packet.key.dst {
            return Judgement::dropped(DropReason::BadQuote);
        }
        if let Some(judgement) = quote::related(endpoint.id) {
            let stranger = src == EndpointId::REMOTE && stamp == 0;
            let from_router = stranger && journey.quote.key.dst != journey.packet.key.src;
            return if from_router && !quote::affordable(journey) {
                Judgement::dropped(DropReason::IcmpErrorRate)
            } else {
                judgement
            };
        }
    }
    policy::introduce(question::PACKET, [src, endpoint.id]);
    between(journey, src == EndpointId::REMOTE)
}

/// A client that asks all for an address, with or without one of its own; the host's server hears it
/// (RFC 2131 §4.1).
#[inline(always)]
fn asks_for_address(endpoint: &Endpoint, key: &FlowKey) -> bool {
    host::is_dhcp_request(key)
        && key.dst.scope() == Scope::Broadcast
        && (key.src.scope() == Scope::Unspecified || endpoint::may_use(endpoint, key.src))
}

/// Host → workload: open, but for what a rule denies. Whether it is the host who speaks is not in the key.
#[inline(always)]
fn by_host(journey: &mut Journey, endpoint: &Endpoint) -> Judgement {
    policy::introduce(question::PACKET, [EndpointId::HOST, endpoint.id]);
    let ruling = policy::consult(false);
    let auditing = policy::auditing_rule(journey);
    match ruling {
        Ruling::Denied(rule) if !host_may_answer(journey) => {
            Judgement { rule, ..Judgement::dropped(DropReason::DeniedByRule) }
        }
        Ruling::Unsure => Judgement::dropped(DropReason::Fragment),
        _ => {
            let rule = if let Ruling::Allowed(rule) = ruling { rule } else { 0 };
            let by_rules = host::asks_by_rules();
            let answers = (auditing != 0 || (by_rules && rule == 0)) && host_may_answer(journey);
            if by_rules && rule == 0 && !answers {
                return uninvited(journey, endpoint);
            }
            if !host::allows(question::ANSWERED) {
                state::open_for_host(journey);
            }
            if auditing != 0 && !answers {
                return Judgement { flags: FlowEntry::AUDITED, ..audited(auditing, 0) };
            }
            if by_rules && rule != 0 {
                return Judgement { rule, ..Judgement::passed(PassReason::AllowedByRule) };
            }
            Judgement::passed(PassReason::HostOpen)
        }
    }
}

/// Where the host may open only what a rule allows: it still gives addresses away, and tells of errors.
#[inline(always)]
fn uninvited(journey: &Journey, endpoint: &Endpoint) -> Judgement {
    let Packet { key, kind, .. } = &journey.packet;
    if host::serves_addresses(key) {
        return Judgement::passed(PassReason::HostOpen);
    }
    if *kind == Kind::Error
        && journey.quote.key.src == key.dst
        && let Some(judgement) = quote::related(endpoint.id)
    {
        return judgement;
    }
    Judgement::dropped(DropReason::DefaultDeny)
}

/// The same for what no rule can be about.
#[inline(always)]
fn by_host_to_all(key: &FlowKey) -> Judgement {
    if host::asks_by_rules() && !host::serves_addresses(key) {
        Judgement::dropped(DropReason::Multicast)
    } else {
        Judgement::passed(PassReason::HostOpen)
    }
}

/// Whether what the host says was asked for.
#[inline(always)]
fn host_may_answer(journey: &Journey) -> bool {
    host::allows(question::ANSWERED) || state::answers(journey)
}

/// Workload → host: rules, the allow list, and answers to what the host asked.
#[inline(always)]
fn to_host(journey: &mut Journey) -> Judgement {
    let ruling = policy::consult(false);
    let auditing = policy::auditing_rule(journey);
    let key = &journey.packet.key;
    let denied = match ruling {
        Ruling::Allowed(rule) => return unless_audited(journey, auditing, true, allows(rule, false)),
        Ruling::Denied(rule) => rule,
        _ if !key.has_ports() => return Judgement::cacheable(Verdict::Drop(DropReason::Fragment)),
        _ if host::allows(question::PACKET) => {
            let pass = Judgement::cacheable(Verdict::Pass(PassReason::HostAllowed));
            return unless_audited(journey, auditing, true, pass);
        }
        _ => 0,
    };
    let no = if denied == 0 { not_admitted(journey) } else { denied_by(denied) };
    let may_ask = match policy::consult(true) {
        Ruling::Denied(_) => false,
        Ruling::Allowed(_) => true,
        _ => !host::asks_by_rules(),
    };
    match (journey.packet.key.has_ports(), may_ask) {
        (false, _) => no,
        (true, true) => unless_asked(journey, no, 0, 0),
        // Not cacheable: whether the host asked, or somebody whom NAT gives its address, is not in the key.
        (true, false) if state::answers_another(journey) => Judgement::passed(PassReason::Reply),
        (true, false) => Judgement { flags: no.flags & !FlowEntry::CACHED, ..no },
    }
}

/// Two who are not the host.
#[inline(always)]
fn between(journey: &mut Journey, outside: bool) -> Judgement {
    if journey.control.active.generation() == 0 {
        return Judgement::cacheable(Verdict::Drop(DropReason::NoPolicy));
    }
    let ruling = policy::consult(false);
    let auditing = policy::auditing_rule(journey);
    let no = match ruling {
        Ruling::Shared(network) => {
            let pass =
                Judgement { network, ..Judgement::cacheable(Verdict::Pass(PassReason::SharedNetwork)) };
            return unless_audited(journey, auditing, false, pass);
        }
        Ruling::Allowed(rule) => return unless_audited(journey, auditing, false, allows(rule, outside)),
        Ruling::Unsure => return Judgement::cacheable(Verdict::Drop(DropReason::Fragment)),
        Ruling::Denied(rule) => denied_by(rule),
        Ruling::Silent => not_admitted(journey),
    };
    match (policy::consult(true), journey.packet.key.has_ports()) {
        (Ruling::Allowed(_) | Ruling::Unsure, false) => {
            Judgement::cacheable(Verdict::Drop(DropReason::Fragment))
        }
        (Ruling::Allowed(rule), true) => unless_asked(journey, no, rule, 0),
        (Ruling::Shared(network), true) => unless_asked(journey, no, 0, network),
        _ => no,
    }
}

/// A rule denies it.
#[inline(always)]
const fn denied_by(rule: u32) -> Judgement {
    Judgement { rule, ..Judgement::cacheable(Verdict::Drop(DropReason::DeniedByRule)) }
}

/// Nothing admits it; perhaps networks are being audited.
#[inline(always)]
fn not_admitted(journey: &Journey) -> Judgement {
    let audited = if policy::audits_networks(journey) { FlowEntry::AUDITED } else { 0 };
    let no = Judgement::cacheable(Verdict::Drop(DropReason::DefaultDeny));
    Judgement { flags: no.flags | audited, ..no }
}

/// A rule in `audit` mode would deny what goes on as `flags` say.
#[inline(always)]
const fn audited(rule: u32, flags: u8) -> Judgement {
    Judgement { flags: flags | FlowEntry::AUDITED, ..denied_by(rule) }
}

/// The packet passes, and may be answered if a rule allows it. If a rule in `audit` mode would deny it, and it
/// is no answer, that is noted; it goes on nevertheless.
#[inline(always)]
fn unless_audited(journey: &Journey, auditing: u32, to_host: bool, pass: Judgement) -> Judgement {
    if pass.flags & FlowEntry::OPENS != 0 {
        state::open(journey, pass.flags & FlowEntry::OUTSIDE != 0);
    }
    if auditing == 0 {
        return pass;
    }
    let answers = answers_in_spite(u32::from(to_host));
    let flags = pass.flags | if answers == 0 { 0 } else { FlowEntry::ANSWERS };
    if answers > 1 { Judgement { flags, ..pass } } else { audited(auditing, flags) }
}

/// A station of its own: whether the packet would pass as an answer if a rule denied it. 0 for never, 1 if
/// somebody asked for it, 2 because somebody did.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answers_in_spite(to_host: u32) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let back = policy::consult(true);
    let admitted = if to_host & 1 != 0 { !matches!(back, Ruling::Denied(_)) } else { back.passes() };
    if admitted && journey.packet.key.has_ports() { 1 + u32::from(state::answers(journey)) } else { 0 }
}

/// A rule admits it: from now on it may be answered.
#[inline(always)]
const fn allows(rule: u32, outside: bool) -> Judgement {
    let flags = FlowEntry::CACHED | FlowEntry::OPENS | if outside { FlowEntry::OUTSIDE } else { 0 };
    Judgement { rule, flags, ..Judgement::passed(PassReason::AllowedByRule) }
}

/// No, unless somebody asked for it.
#[inline(always)]
fn unless_asked(journey: &Journey, no: Judgement, rule: u32, network: u32) -> Judgement {
    let flags = FlowEntry::CACHED | FlowEntry::ANSWERS;
    if state::answers(journey) {
        Judgement { rule, network, flags, ..Judgement::passed(PassReason::Reply) }
    } else {
        Judgement { flags: flags | no.flags, ..no }
    }
}

/// What the state table has to do with a packet of a known flow, which is recorded there; false when it changes the
/// judgement. To ask it costs more than all else.
#[inline(always)]
pub fn still_holds(journey: &Journey, record: *mut FlowEntry) -> bool {
    let judgement = &journey.judgement;
    let (opens, answers) =
        (judgement.flags & FlowEntry::OPENS != 0, judgement.flags & FlowEntry::ANSWERS != 0);
    if !opens && !answers {
        return true;
    }
    let freshness = flow::freshness(journey);
    // What is no answer yet is one from the moment on that somebody asks.
    let waits = answers && !judgement.is_pass();
    let only_goes_on = state::only_goes_on(&journey.packet);
    if only_goes_on && !waits && flow::is_fresh(record, journey, freshness) {
        return true;
    }
    if opens {
        state::open(journey, judgement.flags & FlowEntry::OUTSIDE != 0);
    }
    let holds = !answers || judgement.is_pass() == state::answers(journey);
    if holds && only_goes_on {
        flow::refresh(record, journey, freshness);
    }
    holds
}

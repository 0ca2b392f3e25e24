//! ICMP errors: judged by the packet that they quote. Otherwise two who may not talk would tunnel through
//! errors, and who may talk would never learn of a smaller path MTU.

use enforcer_common::{
    address,
    endpoint::{Endpoint, EndpointId},
    limits::ROUTER_ERRORS_PER_SECOND,
    policy::Ruling,
    verdict::PassReason,
};

use crate::{
    endpoint, host,
    journey::{Journey, Judgement, question},
    maps, packet,
    parse::Packet,
    policy, state,
};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Whether an endpoint can have received what it complains about, from whom it complains to. A router has
/// received what was for others.
#[inline(always)]
pub fn is_for_sender(endpoint: &Endpoint, packet: &Packet, quote: &Packet) -> bool {
    quote.key.src == packet.key.dst
        && (endpoint.flags & Endpoint::ROUTER != 0 || endpoint::may_use(endpoint, quote.key.dst))
}

/// The judgement over an error about a packet that was allowed; `None` for all others. `owner` is whose the
/// quoted packet's source is.
#[inline(always)]
pub fn related(owner: EndpointId) -> Option<Judgement> {
    let addressee = quote_addressee(owner.0);
    let admitted = addressee != UNLAWFUL && quote_admitted(owner.0, addressee as u32) != 0;
    admitted.then(|| Judgement::passed(PassReason::IcmpError))
}

/// Instead of an addressee: nobody was ever asked about such a packet.
const UNLAWFUL: u64 = u64::MAX;

/// A station of its own: whose the quoted packet's destination is, for [`quote_admitted`]. Both parties are
/// introduced.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn quote_addressee(owner: u32) -> u64 {
    let Some(journey) = Journey::current() else { return UNLAWFUL };
    let key = &journey.quote.key;
    let owners = [EndpointId(owner), endpoint::owner(key.dst).endpoint];
    // Only what the host says or hears needs no policy; and what is not from one to one was never asked about.
    let lawless = journey.control.active.generation() == 0 && !owners.contains(&EndpointId::HOST);
    if lawless || address::forbidden(key.src, key.dst).is_some() || owners == [EndpointId::HOST; 2] {
        return UNLAWFUL;
    }
    policy::introduce(question::QUOTE, owners);
    owners[1].0.into()
}

/// A station of its own, verified once for all who ask. What it keeps on its stack is kept below all that it
/// calls: kernels before 6.8 allow 512 bytes for that, and count each frame in steps of 32.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn quote_admitted(owner: u32, addressee: u32) -> u32 {
    is_admitted([EndpointId(owner), EndpointId(addressee)]).into()
}

#[inline(always)]
fn is_admitted(owners: [EndpointId; 2]) -> bool {
    let admitted = match admission(owners, false) {
        Admission::Always => true,
        Admission::Shared => true,
        Admission::Asked => state::knows(question::QUOTE),
        Admission::None => false,
    };
    admitted
        || match admission(owners, true) {
            Admission::Always => true,
            Admission::Shared | Admission::Asked => state::knows(question::ANSWERED_BY_QUOTE),
            Admission::None => false,
        }
}

/// How the quoted packet, or what it answered, was admitted.
enum Admission {
    /// By the host's allow list.
    Always,
    /// By a network.
    Shared,
    /// By a rule or the host: if it was sent at all, its state is there.
    Asked,
    None,
}

#[inline(always)]
fn admission(owners: [EndpointId; 2], back: bool) -> Admission {
    let (which, [src, dst]) =
        if back { (question::ANSWERED_BY_QUOTE, [owners[1], owners[0]]) } else { (question::QUOTE, owners) };
    let ruling = policy::consult(back);
    match ruling {
        Ruling::Denied(_) => Admission::None,
        _ if src == EndpointId::HOST => Admission::Asked,
        _ if dst == EndpointId::HOST && host::allows(which) => Admission::Always,
        Ruling::Shared(_) => Admission::Shared,
        Ruling::Allowed(_) => Admission::Asked,
        Ruling::Unsure | Ruling::Silent => Admission::None,
    }
}

/// Whether the endpoint may still be told of an error by a router that nobody here knows.
#[inline(always)]
pub fn affordable(journey: &Journey) -> bool {
    let Some(budget) = maps::ERROR_BUDGET.get_ptr_mut(journey.endpoint.0) else { return false };
    // SAFETY: this CPU's own slot, and the program is not preempted by itself.
    let budget = unsafe { &mut *budget };
    let second = packet::now() / NANOSECONDS_PER_SECOND;
    if budget.second != second {
        (budget.second, budget.spent) = (second, 0);
    }
    let affordable = budget.spent < u64::from(ROUTER_ERRORS_PER_SECOND);
    budget.spent += u64::from(affordable && !journey.looks_only);
    affordable
}

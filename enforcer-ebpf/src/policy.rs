//! The miss path: membership of both addresses, and whether they share a network.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::{Array, HashMap, LpmTrie, lpm_trie::Key},
};
use enforcer_common::{
    address::{self, Address, Scope},
    control::ControlWord,
    endpoint::{AddressOwner, Endpoint, EndpointId},
    flow::{FlowEntry, FlowKey},
    host,
    policy::{self, EndPair, Membership, Point, RuleWord, ServiceList, SetMember, Sets},
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    endpoint,
    journey::{Journey, Judgement},
    maps,
    packet::Skb,
    parse::{Kind, Packet},
    state,
};

/// What an endpoint sends. A station of its own, verified once; leaves the judgement in the journey.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_sent(context: *mut __sk_buff) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let Some(endpoint) = endpoint::behind(Skb::from_context(context).ifindex()) else { return 0 };
    let (judgement, dst) = from_endpoint(journey, endpoint);
    journey.judgement = Judgement { src: endpoint.id, dst, stamp: endpoint.stamp, ..judgement };
    0
}

/// What is delivered to an endpoint. A station of its own, verified once; leaves the judgement in the
/// journey.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_delivered(context: *mut __sk_buff) -> u32 {
    let Some(journey) = Journey::current() else { return 0 };
    let skb = Skb::from_context(context);
    let Some(endpoint) = endpoint::behind(skb.ifindex()) else { return 0 };
    journey.judgement = to_endpoint(skb, journey, endpoint);
    0
}

#[inline(always)]
const fn cacheable(verdict: Verdict) -> Judgement {
    Judgement { flags: FlowEntry::CACHED, ..Judgement::only_now(verdict) }
}

#[inline(always)]
const fn cacheable_drop(reason: DropReason) -> Judgement {
    cacheable(Verdict::Drop(reason))
}

/// The judgement, and whom the packet is for.
#[inline(always)]
fn from_endpoint(journey: &Journey, endpoint: &Endpoint) -> (Judgement, EndpointId) {
    let key = &journey.packet.key;
    if asks_for_address(endpoint, key) {
        return (cacheable(Verdict::Pass(PassReason::HostAllowed)), EndpointId::HOST);
    }
    if let Some(reason) = forbidden_at_source(endpoint, key) {
        return (cacheable_drop(reason), EndpointId::REMOTE);
    }
    match endpoint::owner(key.dst).endpoint {
        EndpointId::HOST => (to_host(&journey.packet), EndpointId::HOST),
        dst => (members(journey.control.active, key), dst),
    }
}

/// What no policy can allow an endpoint to send.
#[inline(always)]
fn forbidden_at_source(endpoint: &Endpoint, key: &FlowKey) -> Option<DropReason> {
    let scopes = address::forbidden(key.src, key.dst);
    if scopes.is_some() {
        scopes
    } else if endpoint.flags & Endpoint::ADDRESSED == 0 {
        Some(DropReason::Quarantined)
    } else if endpoint::may_use(endpoint, key.src) {
        None
    } else {
        Some(DropReason::SpoofedSource)
    }
}

/// First whom it is for, then who sent it, then what the policy says.
#[inline(always)]
fn to_endpoint(skb: Skb, journey: &Journey, endpoint: &Endpoint) -> Judgement {
    let key = &journey.packet.key;
    let forbidden = address::forbidden(key.src, key.dst);
    // Read once: for a second read LLVM would keep a pointer into the context, which the verifier refuses.
    let from_host = skb.is_locally_generated();
    let judgement = if matches!(forbidden, Some(DropReason::Multicast)) && !from_host {
        // Not cacheable, like the next: for the same key the host itself may speak.
        Judgement::dropped(DropReason::Multicast)
    } else if forbidden.is_none()
        && !endpoint::may_use(endpoint, key.dst)
        && !(from_host && host::is_dhcp_answer(key) && endpoint::owner(key.src).endpoint == EndpointId::HOST)
    {
        Judgement::dropped(DropReason::NotOwner)
    } else {
        match endpoint::sender(skb.stamp(), from_host, key.src) {
            Ok(sender) => delivered_by(sender, forbidden, journey),
            Err(reason) => Judgement::dropped(reason),
        }
    };
    Judgement { dst: endpoint.id, ..judgement }
}

/// The sender is who it says it is.
#[inline(always)]
fn delivered_by(sender: AddressOwner, forbidden: Option<DropReason>, journey: &Journey) -> Judgement {
    let key = &journey.packet.key;
    let judgement = match (sender.endpoint, forbidden) {
        (EndpointId::HOST, None | Some(DropReason::Multicast)) => {
            // A later fragment does not say which ports may answer; the first one did.
            if journey.packet.kind != Kind::LaterFragment {
                state::open(key);
            }
            Judgement::passed(PassReason::HostOpen)
        }
        // Not cacheable: of a source of the host, whether it is believed depends on who sent it.
        (_, Some(reason)) => Judgement::dropped(reason),
        (_, None) => members(journey.control.active, key),
    };
    Judgement { src: sender.endpoint, stamp: sender.stamp, ..judgement }
}

/// A client that asks all for an address, with or without one of its own; the host's server hears it
/// (RFC 2131 §4.1).
#[inline(always)]
fn asks_for_address(endpoint: &Endpoint, key: &FlowKey) -> bool {
    host::is_dhcp_request(key)
        && key.dst.scope() == Scope::Broadcast
        && (key.src.scope() == Scope::Unspecified || endpoint::may_use(endpoint, key.src))
}

/// Workload → host: the allow list, and answers to what the host asked. A denial is not cached, since
/// the host may open the conversation at any time.
#[inline(always)]
fn to_host(packet: &Packet) -> Judgement {
    if packet.kind == Kind::LaterFragment {
        Judgement::dropped(DropReason::Fragment)
    } else if host::allows(&packet.key) {
        cacheable(Verdict::Pass(PassReason::HostAllowed))
    } else if state::answers(&packet.key) {
        Judgement::passed(PassReason::Reply)
    } else {
        Judgement::dropped(DropReason::DefaultDeny)
    }
}

/// Two members of networks: do they share one?
#[inline(always)]
fn members(control: ControlWord, key: &FlowKey) -> Judgement {
    let Some(bank) = Bank::of(control) else {
        return cacheable_drop(DropReason::NoPolicy);
    };
    match policy::shared_network(bank.membership(key.src), bank.membership(key.dst), &bank) {
        Some(network) => Judgement { network, ..cacheable(Verdict::Pass(PassReason::SharedNetwork)) },
        None => cacheable_drop(DropReason::DefaultDeny),
    }
}

/// The tables of one generation: a complete, immutable copy.
struct Bank {
    memberships: &'static LpmTrie<Address, Membership, 1>,
    networks: &'static Array<u32, 1, { maps::INNER_MAP }>,
    set_members: &'static HashMap<SetMember, u32, 1>,
}

impl Bank {
    #[inline(always)]
    fn of(control: ControlWord) -> Option<Self> {
        if control.generation() == 0 {
            return None;
        }
        let bank = maps::GENERATIONS.get(control.slot())?.bank;
        Some(Self {
            memberships: maps::MEMBERSHIPS.get(bank)?,
            networks: maps::NETWORKS.get(bank)?,
            set_members: maps::SET_MEMBERS.get(bank)?,
        })
    }

    /// Link-local addresses mean somebody else on every link: they are members of nothing, however
    /// wide a prefix is.
    #[inline(always)]
    fn membership(&self, address: Address) -> Membership {
        if address.scope() != Scope::Global {
            return Membership::default();
        }
        self.memberships.get(&Key::new(128, address)).copied().unwrap_or_default()
    }
}

impl Sets for Bank {
    #[inline(always)]
    fn number_at(&self, index: u32) -> Option<u32> {
        self.networks.get(index).copied()
    }

    #[inline(always)]
    fn holds(&self, member: SetMember) -> bool {
        self.set_members.get_ptr(member).is_some()
    }

    fn services(&self, _: EndPair) -> Option<ServiceList> {
        None
    }

    fn rule_at(&self, _: ServiceList, _: Point) -> RuleWord {
        RuleWord::NONE
    }
}

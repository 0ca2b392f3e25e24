//! The miss path: membership of both addresses, and whether they share a network.

use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, lpm_trie::Key};
use enforcer_common::{
    address::{Address, Scope},
    control::ControlWord,
    endpoint::{Endpoint, EndpointId},
    flow::FlowKey,
    host,
    policy::{self, Membership, SetMember, Sets},
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    endpoint, maps,
    parse::{Kind, Packet},
    state,
};

/// A verdict and what it rests on.
#[derive(Clone, Copy)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The network that admits; 0 for none.
    pub network: u32,
    pub src: EndpointId,
    pub dst: EndpointId,
    /// What the sender's hook stamps on the packet; 0 where it has none.
    pub stamp: u32,
    /// The verdict depends on generation, facts and key alone.
    pub cacheable: bool,
}

impl Judgement {
    /// Before anything was known of the packet.
    #[inline(always)]
    pub const fn dropped(reason: DropReason) -> Self {
        Self::only_now(Verdict::Drop(reason))
    }

    /// Without any policy.
    #[inline(always)]
    pub const fn passed(reason: PassReason) -> Self {
        Self::only_now(Verdict::Pass(reason))
    }

    #[inline(always)]
    const fn cacheable(verdict: Verdict) -> Self {
        Self {
            verdict,
            network: 0,
            src: EndpointId::REMOTE,
            dst: EndpointId::REMOTE,
            stamp: 0,
            cacheable: true,
        }
    }

    #[inline(always)]
    const fn only_now(verdict: Verdict) -> Self {
        Self { cacheable: false, ..Self::cacheable(verdict) }
    }

    #[inline(always)]
    const fn between(self, src: EndpointId, dst: EndpointId) -> Self {
        Self { src, dst, ..self }
    }

    #[inline(always)]
    const fn stamped(self, stamp: u32) -> Self {
        Self { stamp, ..self }
    }
}

/// What an endpoint sends.
#[inline(always)]
pub fn from_endpoint(control: ControlWord, endpoint: &Endpoint, packet: &Packet) -> Judgement {
    let key = &packet.key;
    let (judgement, dst) = if asks_for_address(key) {
        (Judgement::cacheable(Verdict::Pass(PassReason::HostAllowed)), EndpointId::HOST)
    } else if let Some(reason) = forbidden_at_source(endpoint, key) {
        (Judgement::cacheable(Verdict::Drop(reason)), EndpointId::REMOTE)
    } else {
        match endpoint::owner(key.dst).endpoint {
            EndpointId::HOST => (to_host(packet), EndpointId::HOST),
            dst => (members(control, key), dst),
        }
    };
    judgement.between(endpoint.id, dst).stamped(endpoint.stamp)
}

/// What no policy can allow an endpoint to send.
#[inline(always)]
fn forbidden_at_source(endpoint: &Endpoint, key: &FlowKey) -> Option<DropReason> {
    let scopes = unicast_scopes(key);
    if scopes.is_some() || endpoint::may_use(endpoint, key.src) {
        return scopes;
    }
    let quarantined = endpoint.flags & Endpoint::ADDRESSED == 0;
    Some(if quarantined { DropReason::Quarantined } else { DropReason::SpoofedSource })
}

/// What is delivered to an endpoint, from a sender whose source address is proved.
#[inline(always)]
pub fn to_endpoint(
    control: ControlWord,
    endpoint: &Endpoint,
    packet: &Packet,
    sender: EndpointId,
) -> Judgement {
    let key = &packet.key;
    let scope = unicast_scopes(key);
    let for_all = matches!(scope, Some(DropReason::Multicast));
    if !for_all && !endpoint::may_use(endpoint, key.dst) {
        return Judgement::cacheable(Verdict::Drop(DropReason::NotOwner)).between(sender, EndpointId::REMOTE);
    }
    match (sender, scope) {
        (EndpointId::HOST, None | Some(DropReason::Multicast)) => {
            state::open(key);
            Judgement::only_now(Verdict::Pass(PassReason::HostOpen))
        }
        (_, Some(reason)) => Judgement::cacheable(Verdict::Drop(reason)),
        (_, None) => members(control, key),
    }
    .between(sender, endpoint.id)
}

/// What the kind of the addresses alone forbids; nothing between two unicast addresses.
#[inline(always)]
fn unicast_scopes(key: &FlowKey) -> Option<DropReason> {
    match (key.src.scope(), key.dst.scope()) {
        (Scope::Global | Scope::LinkLocal, Scope::Global | Scope::LinkLocal) => None,
        (Scope::Global | Scope::LinkLocal, Scope::Multicast | Scope::Broadcast) => {
            Some(DropReason::Multicast)
        }
        _ => Some(DropReason::Martian),
    }
}

/// A client that asks all for an address, with or without one of its own; the host's server hears it
/// (RFC 2131 §4.1).
#[inline(always)]
fn asks_for_address(key: &FlowKey) -> bool {
    host::is_dhcp_request(key)
        && key.dst.scope() == Scope::Broadcast
        && matches!(key.src.scope(), Scope::Unspecified | Scope::Global)
}

/// Workload → host: the allow list, and answers to what the host asked. A denial is not cached, since
/// the host may open the conversation at any time.
#[inline(always)]
fn to_host(packet: &Packet) -> Judgement {
    if packet.kind == Kind::LaterFragment {
        Judgement::only_now(Verdict::Drop(DropReason::Fragment))
    } else if host::allows(&packet.key) {
        Judgement::cacheable(Verdict::Pass(PassReason::HostAllowed))
    } else if state::answers(&packet.key) {
        Judgement::only_now(Verdict::Pass(PassReason::Reply))
    } else {
        Judgement::only_now(Verdict::Drop(DropReason::DefaultDeny))
    }
}

/// Two members of networks: do they share one?
#[inline(always)]
fn members(control: ControlWord, key: &FlowKey) -> Judgement {
    let Some(bank) = Bank::of(control) else {
        return Judgement::cacheable(Verdict::Drop(DropReason::NoPolicy));
    };
    match policy::shared_network(bank.membership(key.src), bank.membership(key.dst), &bank) {
        Some(network) => {
            Judgement { network, ..Judgement::cacheable(Verdict::Pass(PassReason::SharedNetwork)) }
        }
        None => Judgement::cacheable(Verdict::Drop(DropReason::DefaultDeny)),
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
    fn network_at(&self, index: u32) -> Option<u32> {
        self.networks.get(index).copied()
    }

    #[inline(always)]
    fn holds(&self, member: SetMember) -> bool {
        self.set_members.get_ptr(&member).is_some()
    }
}

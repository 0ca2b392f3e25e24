//! Flows as conversations: who opened what to whom, each once, and only what a policy has a say in.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use enforcer_common::{
    flow::{icmp, protocol},
    verdict::DropReason,
};
use ipnet::IpNet;

use super::{Denied, Host};
use crate::{
    datapath::flows::{Flow, protocol_number},
    policy::{
        Policy,
        explain::{Owner, Party, Reach, explain},
        service::Service,
    },
};

/// One end of a conversation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Peer {
    /// A local workload, by its name.
    Local(String),
    /// The host.
    Host,
    /// Somebody beyond an uplink.
    Remote,
}

impl Peer {
    /// For people.
    pub fn told(&self, address: IpAddr) -> String {
        match self {
            Self::Local(name) => name.clone(),
            Self::Host => "host".to_owned(),
            Self::Remote => address.to_string(),
        }
    }
}

/// Something that was opened, and that the policy in force does not let pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Conversation {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub from: Peer,
    pub to: Peer,
    pub service: Service,
    pub reason: String,
    pub packets: u64,
}

/// All of them.
pub(super) struct Seen {
    pub conversations: Vec<Conversation>,
}

impl Seen {
    /// What `host`'s policy has a say in and does not let pass. What it lets pass today is no news, also if it was
    /// denied by one before it.
    pub fn new(host: &Host) -> Self {
        let owners = owners(host);
        let denied: Vec<&Flow> = host.flows.iter().filter(|flow| is_about_policy(flow)).collect();
        let by_ends: HashMap<Ends<'_>, &Flow> = denied.iter().map(|flow| (ends(flow), *flow)).collect();
        let mut conversations = Vec::new();
        for flow in denied {
            let back = by_ends.get(&reversed(ends(flow)));
            let turned = match back {
                Some(back) if opens(flow) == opens(back) => ends(flow) > ends(back),
                Some(_) => !opens(flow),
                None => answers_alone(flow),
            };
            if turned && back.is_some() {
                // The other one tells it.
                continue;
            }
            conversations.extend(conversation(flow, turned, &owners));
        }
        conversations.retain(|conversation| !passes(conversation, &host.policy));
        Self { conversations }
    }

    /// For people: by pair and service, most packets first.
    pub fn denied(&self) -> Vec<Denied> {
        let mut rows: BTreeMap<[String; 4], (usize, u64)> = BTreeMap::new();
        for seen in &self.conversations {
            let (src, dst) = (seen.from.told(seen.src), seen.to.told(seen.dst));
            let row = rows.entry([src, dst, seen.service.to_string(), seen.reason.clone()]).or_default();
            *row = (row.0 + 1, row.1 + seen.packets);
        }
        let rows = rows.into_iter().map(|([src, dst, service, reason], (conversations, packets))| Denied {
            src,
            dst,
            service,
            reason,
            conversations,
            packets,
            drafted: false,
        });
        let mut rows: Vec<Denied> = rows.collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
        rows
    }
}

/// Whether a policy lets somebody open it.
pub(super) fn passes(seen: &Conversation, policy: &Policy) -> bool {
    let party = |peer: &Peer, address| {
        let owner = match peer {
            Peer::Local(_) => Owner::Endpoint,
            Peer::Host => Owner::Host,
            Peer::Remote => Owner::Nobody,
        };
        Party::new(policy, address, owner)
    };
    let (src, dst) = (party(&seen.from, seen.src), party(&seen.to, seen.dst));
    explain(policy, &src, &dst, seen.service).reach() == Reach::Everything
}

/// What only a policy decided, dropped or let pass by a mode; what is forged or broken is no draft's business.
fn is_about_policy(flow: &Flow) -> bool {
    let reasons = [DropReason::DefaultDeny, DropReason::NoPolicy, DropReason::DeniedByRule];
    flow.verdict != "pass" && reasons.iter().any(|reason| reason.slug() == flow.reason)
}

type Ends<'f> = (&'f str, (IpAddr, u16), (IpAddr, u16));

fn ends(flow: &Flow) -> Ends<'_> {
    (&flow.proto, (flow.src, flow.src_port), (flow.dst, flow.dst_port))
}

const fn reversed((proto, src, dst): Ends<'_>) -> Ends<'_> {
    (proto, dst, src)
}

/// Of two directions that are both told: an echo reply never opens, and else the service is the lower port. Times
/// are not asked: a tick of the clock holds many packets.
fn opens(flow: &Flow) -> bool {
    match icmp_type(flow) {
        Some(kind) => !is_reply(flow, kind),
        None => flow.dst_port <= flow.src_port,
    }
}

/// A direction whose other was forgotten: well-known port to one of those that clients are given.
fn answers_alone(flow: &Flow) -> bool {
    match icmp_type(flow) {
        Some(kind) => is_reply(flow, kind),
        None => has_ports(flow) && flow.src_port < 1024 && flow.dst_port >= 32_768,
    }
}

fn icmp_type(flow: &Flow) -> Option<u8> {
    flow.icmp_type.filter(|_| flow.proto.starts_with("icmp"))
}

fn is_reply(flow: &Flow, kind: u8) -> bool {
    kind == if flow.src.is_ipv4() { icmp::ECHO_REPLY } else { icmp::V6_ECHO_REPLY }
}

fn has_ports(flow: &Flow) -> bool {
    matches!(protocol_number(&flow.proto), Some(protocol::TCP | protocol::UDP | protocol::SCTP))
}

/// Nothing for an ICMP error: it is judged by what it quotes.
fn service(flow: &Flow, port: u16) -> Option<Service> {
    let number = protocol_number(&flow.proto)?;
    Some(match (number, icmp_type(flow)) {
        (_, Some(icmp::ECHO | icmp::ECHO_REPLY)) if flow.src.is_ipv4() => Service::Ping,
        (_, Some(icmp::V6_ECHO | icmp::V6_ECHO_REPLY)) if flow.src.is_ipv6() => Service::Ping,
        (_, Some(kind)) if icmp::is_error(flow.src.is_ipv4(), kind) => return None,
        (protocol, Some(kind)) => Service::Icmp { protocol, kind },
        (protocol, None) if has_ports(flow) => Service::Ports { protocol, first: port, last: port },
        (number, None) => Service::Protocol(number),
    })
}

fn conversation(flow: &Flow, turned: bool, owners: &[(IpNet, String)]) -> Option<Conversation> {
    let src = (flow.src, flow.endpoint_src.as_deref());
    let dst = (flow.dst, flow.endpoint_dst.as_deref());
    let (src, dst, port) = if turned { (dst, src, flow.src_port) } else { (src, dst, flow.dst_port) };
    let peer = |(address, told): (IpAddr, Option<&str>)| match told {
        Some("host") => Peer::Host,
        Some(name) => Peer::Local(name.to_owned()),
        None => owners
            .iter()
            .find(|(owned, _)| owned.contains(&address))
            .map_or(Peer::Remote, |(_, name)| Peer::Local(name.clone())),
    };
    Some(Conversation {
        src: src.0,
        dst: dst.0,
        from: peer(src),
        to: peer(dst),
        service: service(flow, port)?,
        reason: flow.reason.clone(),
        packets: flow.packets_fwd + flow.packets_rev,
    })
}

/// Who owns what; a drop may have been counted where the other end was not looked up.
fn owners(host: &Host) -> Vec<(IpNet, String)> {
    let all = host.endpoints.iter().flat_map(|endpoint| {
        endpoint.addresses.iter().filter_map(|text| Some((net(text)?, endpoint.name.clone())))
    });
    all.collect()
}

/// An address or a prefix, as reports write it.
pub(super) fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

//! The reference evaluator: what becomes of a packet, decided as the README words it.
//!
//! Beside the policy's way: it shares nothing with what it checks. Lists and loops only: no tries, no
//! interned sets, no flow cache, no shared parser, and none of the decisions in `enforcer_common`, whose
//! reasons it uses as names. The kernel's programs are tested against it.
//!
//! # Reasons and classes
//!
//! Everything is an exact reason but one: a header that is cut short, contradicts itself or lies too deep
//! is [`Why::Malformed`], which stands for `truncated`, `bad-header` and `extension-headers`. Which of the
//! three it is depends on the order in which a parser looks, and no rule says that.
//!
//! # Where the rules differ from etherparse
//!
//! [`frame`] takes single headers from etherparse, never whole packets, and decides itself
//!
//! - that an IP packet is as long as its header says: bytes behind it are padding, fewer are none;
//! - that no payload length means an empty payload, not a jumbogram or offloaded segments;
//! - how many IPv6 extension headers are walked, in which order, and how deep;
//! - how long an authentication header is: the length in it counts, however short;
//! - that a transport header lies wholly within the packet: TCP's first 20 bytes, whose length field
//!   must cover them (options may be cut), 8 of UDP (whose length field is nobody's business), SCTP, ICMP;
//! - that ARP speaks of IPv4 over Ethernet.

mod frame;
mod link;
mod scope;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use enforcer_common::{
    event::Hook,
    verdict::{DropReason, PassReason, Verdict},
};
use ipnet::IpNet;

use super::{Policy, Prefix};
use frame::{Content, Datagram, Frame};
use scope::Scope;

/// A host, as far as a verdict depends on it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What was applied last, if anything was.
    pub policy: Option<Policy>,
    /// The local workloads.
    pub endpoints: Vec<Endpoint>,
    /// The host's own addresses.
    pub host: Vec<IpNet>,
    /// What the host opened.
    pub conversations: Vec<Conversation>,
}

/// A workload behind its veth.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// What the others call it.
    pub name: String,
    /// Its interface's; any MAC will do while none is known.
    pub mac: Option<[u8; 6]>,
    /// What it owns; without any it is quarantined.
    pub addresses: Vec<IpNet>,
}

/// What tells two conversations apart, in one of their directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conversation {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    /// The identifier of an echo twice; zero where a protocol has none.
    ports: (u16, u16),
    /// Of an echo.
    code: u8,
}

/// A frame in front of a hook.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Where it is seen.
    pub hook: Hook,
    /// Behind whose veth.
    pub endpoint: &'a str,
    /// The Ethernet header and everything behind it.
    pub frame: &'a [u8],
    /// Through whose veth it entered the host, by its mark.
    pub stamp: Option<&'a str>,
    /// The host itself sent it.
    pub locally_generated: bool,
}

/// What should become of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It goes on.
    Pass(PassReason),
    /// It is gone.
    Drop(Why),
}

/// Why a frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// For exactly this reason.
    Exactly(DropReason),
    /// Its headers cannot be walked: `truncated`, `bad-header` or `extension-headers`.
    Malformed,
}

/// Who has an address.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Nobody,
    Host,
    Endpoint(&'a Endpoint),
}

impl Answer {
    /// Whether a verdict of the kernel says the same.
    pub fn agrees_with(self, verdict: Verdict) -> bool {
        match (self, verdict) {
            (Self::Pass(expected), Verdict::Pass(seen)) => expected == seen,
            (Self::Drop(Why::Exactly(expected)), Verdict::Drop(seen)) => expected == seen,
            (Self::Drop(Why::Malformed), Verdict::Drop(seen)) => {
                matches!(seen, DropReason::Truncated | DropReason::BadHeader | DropReason::ExtensionHeaders)
            }
            _ => false,
        }
    }
}

const fn drop(reason: DropReason) -> Answer {
    Answer::Drop(Why::Exactly(reason))
}

/// What becomes of a frame.
pub fn judge(world: &World, arrival: &Arrival) -> Answer {
    let Some(endpoint) = world.endpoints.iter().find(|endpoint| endpoint.name == arrival.endpoint) else {
        return drop(DropReason::NoEndpoint);
    };
    let frame = match frame::read(arrival.frame) {
        Ok(frame) => frame,
        Err(why) => return Answer::Drop(why),
    };
    let sends = matches!(arrival.hook, Hook::FromEndpoint);
    if sends && endpoint.mac.is_some_and(|mac| mac != frame.mac) {
        return drop(DropReason::SpoofedMac);
    }
    if let Some(answer) = link::judge(world, arrival, endpoint, &frame) {
        return answer;
    }
    match &frame.content {
        Content::Arp { .. } => unreachable!("ARP never leaves its link"),
        Content::Ip(packet) if sends => world.sent(endpoint, packet),
        Content::Ip(packet) => world.delivered(arrival, endpoint, packet),
    }
}

/// What the host opens with this frame, once it has reached a workload; the workload may answer.
pub fn opens(frame: &[u8]) -> Option<Conversation> {
    let Ok(Frame { content: Content::Ip(packet), .. }) = frame::read(frame) else { return None };
    let asks = !matches!(packet.protocol, ICMP | ICMPV6) || packet.is_echo_request();
    // The ports of a later fragment are not known.
    (asks && !packet.is_later_fragment()).then(|| packet.conversation())
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Ports of a `DHCPv4` client and server.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;

impl World {
    /// What a workload sends: may this address be there, is it the sender's, who is it for?
    fn sent(&self, sender: &Endpoint, packet: &Datagram) -> Answer {
        let broadcast = packet.dst == IpAddr::V4(Ipv4Addr::BROADCAST);
        let own = self.may_use(sender, packet.src);
        let nobody = Scope::of(packet.src) == Scope::Unspecified;
        if packet.is_udp(CLIENT, SERVER) && broadcast && (own || nobody) {
            return Answer::Pass(PassReason::HostAllowed);
        }
        if let Some(reason) = scope::forbidden(packet.src, packet.dst) {
            return drop(reason);
        }
        if sender.addresses.is_empty() {
            return drop(DropReason::Quarantined);
        }
        if !own {
            return drop(DropReason::SpoofedSource);
        }
        match self.owner(packet.dst) {
            Owner::Host => self.to_host(packet),
            Owner::Nobody | Owner::Endpoint(_) => self.between(packet),
        }
    }

    /// What reaches a workload: is it for this one, is its sender who it says it is, may they talk?
    fn delivered(&self, arrival: &Arrival, receiver: &Endpoint, packet: &Datagram) -> Answer {
        let forbidden = scope::forbidden(packet.src, packet.dst);
        if forbidden == Some(DropReason::Multicast) && !arrival.locally_generated {
            return drop(DropReason::Multicast);
        }
        // The address that the host's DHCP server gives away is nobody's yet.
        let by_host = arrival.locally_generated && matches!(self.owner(packet.src), Owner::Host);
        let offer = by_host && packet.is_udp(SERVER, CLIENT);
        if forbidden.is_none() && !self.may_use(receiver, packet.dst) && !offer {
            return drop(DropReason::NotOwner);
        }
        match (self.owner(packet.src), arrival.stamp) {
            (Owner::Endpoint(owner), Some(stamp)) if owner.name == stamp => {}
            (Owner::Endpoint(_), _) => return drop(DropReason::UnstampedSource),
            (Owner::Nobody, None) => {}
            (Owner::Host, None) if arrival.locally_generated => {
                return match forbidden {
                    None | Some(DropReason::Multicast) => Answer::Pass(PassReason::HostOpen),
                    Some(reason) => drop(reason),
                };
            }
            (Owner::Nobody | Owner::Host, _) => return drop(DropReason::MaskedSource),
        }
        forbidden.map_or_else(|| self.between(packet), drop)
    }

    /// The allow list, and answers to what the host asked.
    fn to_host(&self, packet: &Datagram) -> Answer {
        if packet.is_later_fragment() {
            return drop(DropReason::Fragment);
        }
        let allowed = match (packet.protocol, packet.ports.1) {
            (UDP, 53 | 67) | (TCP, 53) => true,
            _ => packet.is_echo_request(),
        };
        if allowed {
            return Answer::Pass(PassReason::HostAllowed);
        }
        let answered = packet.question();
        if answered.is_some_and(|question| self.conversations.contains(&question)) {
            Answer::Pass(PassReason::Reply)
        } else {
            drop(DropReason::DefaultDeny)
        }
    }

    /// Do the two share a network?
    fn between(&self, packet: &Datagram) -> Answer {
        let Some(policy) = &self.policy else { return drop(DropReason::NoPolicy) };
        if shares_network(policy, packet.src, packet.dst) {
            Answer::Pass(PassReason::SharedNetwork)
        } else {
            drop(DropReason::DefaultDeny)
        }
    }

    /// The longest prefix wins.
    fn owner(&self, address: IpAddr) -> Owner<'_> {
        let mut owner = (None, Owner::Nobody);
        let host = self.host.iter().map(|net| (net, Owner::Host));
        let endpoints = self
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.addresses.iter().map(move |net| (net, Owner::Endpoint(endpoint))));
        for (net, candidate) in host.chain(endpoints) {
            if net.contains(&address) && Some(net.prefix_len()) > owner.0 {
                owner = (Some(net.prefix_len()), candidate);
            }
        }
        owner.1
    }

    /// An endpoint's own address; or an IPv6 link-local one that nobody on this host has: those are its
    /// link's business.
    fn may_use(&self, endpoint: &Endpoint, address: IpAddr) -> bool {
        match self.owner(address) {
            Owner::Endpoint(owner) => owner.name == endpoint.name,
            Owner::Host => false,
            Owner::Nobody => address.is_ipv6() && Scope::of(address) == Scope::LinkLocal,
        }
    }
}

/// Whether one network has both as members; link-local addresses are members of nothing.
fn shares_network(policy: &Policy, src: IpAddr, dst: IpAddr) -> bool {
    let both = [src, dst];
    both.iter().all(|&address| Scope::of(address) == Scope::Global)
        && policy.networks.values().any(|network| {
            both.iter()
                .all(|&address| covers(network.prefixes(), address) && !covers(network.except(), address))
        })
}

fn covers(prefixes: &BTreeSet<Prefix>, address: IpAddr) -> bool {
    prefixes.iter().any(|&prefix| IpNet::from(prefix).contains(&address))
}

#[cfg(test)]
mod tests;

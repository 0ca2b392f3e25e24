//! The reference evaluator: what becomes of a packet, decided as the README words it.
//!
//! Beside the policy's way: it shares nothing with what it checks. Lists and loops only: no tries, no
//! interned sets, no flow cache, no shared parser, and none of the decisions in `enforcer_common`, whose
//! reasons it uses as names. The kernel's programs are tested against it.
//!
//! A frame's way: [`frame`] and [`datagram`] read it, [`link`] answers what needs no policy, [`veth`] and
//! [`uplink`] ask whether its addresses may be where they are, [`masked`] who is behind one of the host's,
//! [`verdict`] asks the policy ([`ruling`]) and what earlier packets left behind ([`memory`]).
//!
//! # Reasons and classes
//!
//! Everything is an exact reason but one: a header that is cut short, contradicts itself or lies too deep
//! is [`Why::Malformed`], which stands for `truncated`, `bad-header` and `extension-headers`. Which of the
//! three it is depends on the order in which a parser looks, and no rule says that.
//!
//! # Where the rules differ from etherparse
//!
//! [`datagram`] takes single headers from etherparse, never whole packets, and decides itself
//!
//! - that an IP packet is as long as its header says: bytes behind it are padding, fewer are none;
//! - that no payload length means an empty payload, not a jumbogram or offloaded segments;
//! - how many IPv6 extension headers are walked, in which order, and how deep;
//! - how long an authentication header is: the length in it counts, however short;
//! - that a transport header lies wholly within the packet: TCP's first 20 bytes, whose length field
//!   must cover them (options may be cut), 8 of UDP (whose length field is nobody's business), SCTP, ICMP;
//! - that ARP speaks of IPv4 over Ethernet.

mod datagram;
mod extension;
mod flow;
mod frame;
mod host_end;
mod link;
mod masked;
mod memory;
mod quote;
mod relax;
mod ruling;
mod scope;
mod services;
mod uplink;
mod verdict;
mod veth;

use std::{net::IpAddr, time::Duration};

use enforcer_common::{
    event::Hook,
    mode::Mode,
    verdict::{DropReason, PassReason, Verdict},
};
use ipnet::IpNet;

use super::{Name, Policy, RuleName};
use frame::Content;
pub use host_end::HostEnd;
pub use memory::Memory;
use scope::Scope;

/// A host, as far as a verdict depends on it.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What was applied last, if anything was.
    pub policy: Option<Policy>,
    /// Every network that a policy ever had, in the order of their ids.
    pub networks: Vec<Name>,
    /// Every rule that a policy ever had, in the order of their ids.
    pub rules: Vec<RuleName>,
    /// The local workloads.
    pub endpoints: Vec<Endpoint>,
    /// The host's own addresses.
    pub host: Vec<IpNet>,
    /// What the host file says of the host.
    pub host_end: HostEnd,
    /// Interfaces that lead outside.
    pub uplinks: Vec<Uplink>,
    /// How seriously verdicts are taken.
    pub mode: Mode,
}

/// An interface that leads outside.
#[derive(Clone, Debug, Default)]
pub struct Uplink {
    /// What the others call it.
    pub name: String,
    /// Nobody behind it is a member of any network.
    pub external: bool,
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
    /// Declared to answer DHCP.
    pub dhcp_server: bool,
    /// Declared to be a router.
    pub router: bool,
    /// How seriously verdicts at its veth are taken, if not as the host's.
    pub mode: Option<Mode>,
}

/// A frame in front of a hook.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Where it is seen.
    pub hook: Hook,
    /// Behind whose veth; or the uplink that it comes from.
    pub endpoint: &'a str,
    /// The Ethernet header and everything behind it.
    pub frame: &'a [u8],
    /// What its mark says about where it entered the host.
    pub stamp: Stamp<'a>,
    /// The host itself sent it.
    pub locally_generated: bool,
    /// When, since some beginning.
    pub now: Duration,
}

/// What a mark proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stamp<'a> {
    /// It entered through no workload's veth.
    #[default]
    None,
    /// It entered through this one's.
    Of(&'a str),
    /// It entered through its source's, where the policy would have stopped it.
    Relaxed,
    /// It entered through somebody's, where it would have been stopped for something else.
    Doubtful,
}

impl<'a> Stamp<'a> {
    /// That of an endpoint, or none.
    pub fn of(endpoint: Option<&'a str>) -> Self {
        endpoint.map_or(Self::None, Self::Of)
    }

    /// Whether the packet was counted where it entered, as one that would have been dropped.
    pub const fn is_relaxed(self) -> bool {
        matches!(self, Self::Relaxed | Self::Doubtful)
    }
}

/// What should become of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It goes on.
    Pass {
        /// Why.
        reason: PassReason,
        /// What decided.
        by: By,
    },
    /// It is gone.
    Drop {
        /// Why.
        why: Why,
        /// What decided.
        by: By,
    },
    /// It goes on although it should not.
    WouldDrop {
        /// Why not.
        why: Why,
        /// What decided.
        by: By,
    },
}

/// What of the policy decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// Nothing that has a name.
    Nothing,
    /// A network that both ends share.
    Network(Name),
    /// A rule.
    Rule(RuleName),
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
    pub fn agrees_with(&self, verdict: Verdict) -> bool {
        match (self, verdict) {
            (Self::Pass { reason, .. }, Verdict::Pass(seen)) => *reason == seen,
            (Self::Drop { why, .. }, Verdict::Drop(seen))
            | (Self::WouldDrop { why, .. }, Verdict::WouldDrop(seen)) => why.is(seen),
            _ => false,
        }
    }

    /// Whether the frame goes on.
    pub const fn is_pass(&self) -> bool {
        matches!(self, Self::Pass { .. } | Self::WouldDrop { .. })
    }

    const fn refused(why: Why) -> Self {
        Self::Drop { why, by: By::Nothing }
    }
}

impl Why {
    fn is(self, seen: DropReason) -> bool {
        match self {
            Self::Exactly(reason) => reason == seen,
            Self::Malformed => {
                matches!(seen, DropReason::Truncated | DropReason::BadHeader | DropReason::ExtensionHeaders)
            }
        }
    }
}

const fn pass(reason: PassReason) -> Answer {
    Answer::Pass { reason, by: By::Nothing }
}

const fn drop(reason: DropReason) -> Answer {
    Answer::refused(Why::Exactly(reason))
}

fn allowed(rule: &RuleName) -> Answer {
    Answer::Pass { reason: PassReason::AllowedByRule, by: By::Rule(rule.clone()) }
}

fn denied(rule: &RuleName) -> Answer {
    Answer::Drop { why: Why::Exactly(DropReason::DeniedByRule), by: By::Rule(rule.clone()) }
}

/// What becomes of a frame, and what is remembered of it.
pub fn judge(world: &World, memory: &mut Memory, arrival: &Arrival) -> Answer {
    memory.now = arrival.now;
    let uplink = world.uplinks.iter().find(|uplink| uplink.name == arrival.endpoint);
    match (arrival.hook, uplink) {
        (Hook::Guard, _) => {}
        (Hook::FromUplink, Some(uplink)) => return uplink::receive(world, uplink, arrival),
        _ => return at_endpoint(world, memory, arrival),
    }
    // A guard only looks: what passes is judged once more behind it. Ports alone are no verdict.
    let mut afterwards = memory.clone();
    let answer = if let Some(uplink) = uplink {
        uplink::guard(world, &mut afterwards, uplink, arrival)
    } else {
        let sending = Arrival { hook: Hook::FromEndpoint, ..*arrival };
        at_endpoint(world, &mut afterwards, &sending)
    };
    memory.take_fragments(afterwards);
    answer
}

/// What becomes of a frame at a workload's veth.
fn at_endpoint(world: &World, memory: &mut Memory, arrival: &Arrival) -> Answer {
    let Some(endpoint) = world.endpoints.iter().find(|endpoint| endpoint.name == arrival.endpoint) else {
        return drop(DropReason::NoEndpoint).in_mode(world.mode);
    };
    at_veth(world, memory, arrival, endpoint).in_mode(world.mode_of(endpoint))
}

/// The same behind a known veth, taken seriously.
fn at_veth(world: &World, memory: &mut Memory, arrival: &Arrival, endpoint: &Endpoint) -> Answer {
    let mut frame = match frame::read(arrival.frame) {
        Ok(frame) => frame,
        Err(why) => return Answer::refused(why),
    };
    let sends = arrival.hook == Hook::FromEndpoint;
    if sends && !endpoint.is_sender_of(&frame) {
        return drop(DropReason::SpoofedMac);
    }
    if let Content::Ip(packet) = &mut frame.content
        && let Err(reason) = memory.resolve(packet)
    {
        return drop(reason);
    }
    if let Some(answer) = link::judge(world, arrival, endpoint, &frame) {
        return answer;
    }
    let Content::Ip(packet) = frame.content else { unreachable!("ARP never leaves its link") };
    let answer = if sends {
        world.sent(memory, endpoint, &packet)
    } else {
        world.delivered(memory, arrival, endpoint, &packet)
    };
    let relaxed = answer.clone().in_mode(world.mode_of(endpoint));
    if relaxed.is_honest_pass() {
        memory.remember(&packet);
    }
    // Who asked is remembered although it should not have: else the answer would pass for a question.
    if answer.is_let_go_as(&relaxed) && !matches!(world.owner(packet.flow.src), Owner::Host) {
        memory.open(&packet);
    }
    answer
}

impl World {
    fn mode_of(&self, endpoint: &Endpoint) -> Mode {
        endpoint.mode.unwrap_or(self.mode)
    }

    /// A new policy, whose new names get the next ids.
    pub fn apply(&mut self, policy: Policy) {
        let networks = policy.networks.keys().filter(|name| !self.networks.contains(name));
        let networks: Vec<Name> = networks.cloned().collect();
        self.networks.extend(networks);
        let rules = policy.rules.keys().filter(|name| !self.rules.contains(name));
        let rules: Vec<RuleName> = rules.cloned().collect();
        self.rules.extend(rules);
        self.policy = Some(policy);
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

    /// The same, but a link-local address that is made of a MAC is made of the endpoint's own, unless it has
    /// the address anyway.
    fn may_speak_as(&self, endpoint: &Endpoint, address: IpAddr) -> bool {
        let owned = matches!(self.owner(address), Owner::Endpoint(_));
        self.may_use(endpoint, address) && (owned || endpoint.may_derive(address))
    }
}

impl Endpoint {
    /// Whether the frame, and a DHCP request in it, come from its interface.
    fn is_sender_of(&self, frame: &frame::Frame) -> bool {
        let chaddr = match &frame.content {
            Content::Ip(packet) => packet.chaddr,
            Content::Arp { .. } => None,
        };
        self.mac.is_none_or(|mac| mac == frame.mac) && chaddr.is_none_or(|chaddr| chaddr == frame.mac)
    }

    /// Whether `address` is none that is made of another interface's MAC (RFC 4291 §2.5.1).
    fn may_derive(&self, address: IpAddr) -> bool {
        let (IpAddr::V6(v6), Some(mac)) = (address, self.mac) else { return true };
        let interface: [u8; 8] = std::array::from_fn(|index| v6.octets()[8 + index]);
        let derived = Scope::of(address) == Scope::LinkLocal && interface[3..5] == [0xff, 0xfe];
        let own = [mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]];
        !derived || interface == own
    }
}

#[cfg(test)]
mod tests;

//! What packets before this one left behind: conversations, the ports of fragmented datagrams, and how
//! much routers have told.

use std::{net::IpAddr, time::Duration};

use enforcer_common::verdict::DropReason;

use super::{
    datagram::Datagram,
    extension::Fragment,
    flow::{Flow, ICMP, ICMPV6, TCP, UDP},
};

/// TCP flags (RFC 9293 §3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// How long the later fragments of a datagram may take (RFC 8200 §4.5).
const REASSEMBLY: Duration = Duration::from_mins(1);

/// ICMP errors of foreign routers that an endpoint is told per second.
const ROUTER_ERRORS: usize = 100;

/// What the host remembers; every judgement may change it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) now: Duration,
    conversations: Vec<Conversation>,
    fragments: Vec<FirstFragment>,
    /// When, and which endpoint.
    router_errors: Vec<(Duration, String)>,
}

/// Who opened what.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
struct Conversation {
    /// In the opener's direction.
    flow: Flow,
    /// The host itself opened it.
    by_host: bool,
    /// NAT gave its opener an address of the host.
    masked: bool,
    last_seen: Duration,
    answered: bool,
    closing: bool,
    reset: bool,
}

/// Who said its first words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opener {
    Workload,
    Host,
    Masked,
}

/// What the first fragment of a datagram said.
#[derive(Clone, Debug)]
struct FirstFragment {
    datagram: Identity,
    seen: Duration,
    flow: Flow,
    header_bytes: usize,
}

/// What all fragments of a datagram have in common: addresses, identification, protocol of an IPv4 header.
type Identity = (IpAddr, IpAddr, u32, u8);

impl Conversation {
    fn new(flow: Flow, by: Opener, now: Duration) -> Self {
        let (by_host, masked) = (by == Opener::Host, by == Opener::Masked);
        Self { flow, by_host, masked, last_seen: now, answered: false, closing: false, reset: false }
    }

    /// How long it may be silent.
    fn timeout(&self) -> Duration {
        Duration::from_secs(match self.flow.protocol {
            // NAT forgets it after 30 seconds.
            other if self.masked && other != TCP => 25,
            TCP if self.reset => 10,
            TCP if self.closing => 120,
            TCP if !self.answered => 60,
            TCP => 7440,
            UDP if self.answered => 180,
            UDP | ICMP | ICMPV6 => 30,
            _ if self.answered => 3600,
            _ => 60,
        })
    }

    /// Its opener goes on talking.
    fn asked(&mut self, flags: u8) {
        if flags & RST != 0 {
            self.reset = true;
        } else if flags & SYN != 0 {
            // A port used again.
            (self.answered, self.closing, self.reset) = (false, false, false);
        } else {
            // Who goes on talking does not believe in the reset.
            self.reset = false;
            self.closing |= flags & FIN != 0;
        }
    }

    fn was_answered(&mut self, flags: u8) {
        self.answered = true;
        self.reset |= flags & RST != 0;
        self.closing |= flags & (RST | FIN) == FIN;
    }
}

/// Conversations.
impl Memory {
    fn position(&self, flow: Flow) -> Option<usize> {
        let open = |known: &Conversation| self.now.saturating_sub(known.last_seen) < known.timeout();
        self.conversations.iter().position(|known| known.flow == flow && open(known))
    }

    /// Whether somebody opened `flow` and it is not over.
    pub(super) fn holds(&self, flow: Flow) -> bool {
        self.position(flow).is_some()
    }

    /// A packet that may do so begins a conversation, or goes on with it. Who answers begins nothing: else a
    /// conversation would outlive the rule that it was opened by.
    pub(super) fn open(&mut self, packet: &Datagram) {
        self.open_by(Opener::Workload, packet);
    }

    /// The same of somebody whom NAT gives an address of the host.
    pub(super) fn open_masked(&mut self, packet: &Datagram) {
        self.open_by(Opener::Masked, packet);
    }

    /// The same, said by the host itself.
    pub(super) fn open_by_host(&mut self, packet: &Datagram) {
        self.open_by(Opener::Host, packet);
    }

    fn open_by(&mut self, by: Opener, packet: &Datagram) {
        if !packet.flow.opens() {
            return;
        }
        if self.position(packet.flow).is_none() && self.is_answer(packet) {
            return self.answer(packet);
        }
        let at = self.position(packet.flow).unwrap_or_else(|| {
            self.conversations.retain(|known| known.flow != packet.flow);
            self.conversations.push(Conversation::new(packet.flow, by, self.now));
            self.conversations.len() - 1
        });
        let conversation = &mut self.conversations[at];
        conversation.last_seen = self.now;
        if let Some(flags) = packet.tcp_flags {
            conversation.asked(flags);
        }
    }

    /// Whether a packet is an answer: of TCP it acknowledges something or resets.
    pub(super) fn is_answer(&self, packet: &Datagram) -> bool {
        packet.tcp_flags.is_none_or(|flags| flags & (ACK | RST) != 0) && self.holds(packet.flow.reversed())
    }

    /// The same, but not to the host itself: to somebody whom NAT gives its address.
    pub(super) fn answers_masked(&self, packet: &Datagram) -> bool {
        let known = self.position(packet.flow.reversed()).map(|at| &self.conversations[at]);
        self.is_answer(packet) && known.is_some_and(|known| !known.by_host)
    }

    /// An answer passes.
    pub(super) fn answer(&mut self, packet: &Datagram) {
        if let Some(at) = self.position(packet.flow.reversed()) {
            let conversation = &mut self.conversations[at];
            if !conversation.masked {
                conversation.last_seen = self.now;
            }
            // Of a later fragment nobody knows the flags, and its first has changed them.
            if !matches!(packet.fragment, Fragment::Later { .. }) {
                conversation.was_answered(packet.tcp_flags.unwrap_or(0));
            }
        }
    }
}

/// Fragments.
impl Memory {
    /// A later fragment becomes a packet with the ports of its first, if that one is known.
    pub(super) fn resolve(&self, packet: &mut Datagram) -> Result<(), DropReason> {
        let Fragment::Later { id, offset } = packet.fragment else { return Ok(()) };
        let datagram = identity(packet, id);
        let recent = |first: &&FirstFragment| self.now.saturating_sub(first.seen) < REASSEMBLY;
        let Some(first) = self.fragments.iter().filter(recent).find(|first| first.datagram == datagram)
        else {
            return Ok(());
        };
        if offset < first.header_bytes {
            return Err(DropReason::OverlappingFragment);
        }
        packet.flow = first.flow;
        Ok(())
    }

    /// A first fragment has passed.
    pub(super) fn remember(&mut self, packet: &Datagram) {
        let Fragment::First { id, .. } = packet.fragment else { return };
        let datagram = identity(packet, id);
        self.fragments.retain(|first| first.datagram != datagram);
        let (flow, header_bytes) = (packet.flow, packet.header_bytes());
        self.fragments.push(FirstFragment { datagram, seen: self.now, flow, header_bytes });
    }

    /// Of what only looked on, this is what stays: ports are no verdict.
    pub(super) fn take_fragments(&mut self, other: Self) {
        self.fragments = other.fragments;
    }
}

const fn identity(packet: &Datagram, id: u32) -> Identity {
    (packet.flow.src, packet.flow.dst, id, packet.v4_protocol)
}

/// Routers.
impl Memory {
    /// Whether an endpoint is told one more thing in this second; then it counts.
    pub(super) fn tell(&mut self, endpoint: &str) -> bool {
        let second = self.now.as_secs();
        let told = |(when, whom): &&(Duration, String)| when.as_secs() == second && whom == endpoint;
        let spent = self.router_errors.iter().filter(told).count();
        if spent < ROUTER_ERRORS {
            self.router_errors.push((self.now, endpoint.to_owned()));
        }
        spent < ROUTER_ERRORS
    }
}

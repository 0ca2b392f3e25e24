//! Flow records: one per direction, observation and cache only. Losing one loses a counter, never a
//! connection and never a verdict.

use bytemuck::{Pod, Zeroable};

use crate::{address::Address, endpoint::EndpointId, limits::MAX_ENDPOINTS, map_layout};

/// IP protocol numbers that the datapath knows (IANA).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;

    /// Whether a number names an IPv6 extension header that a parser walks, and no payload.
    #[inline(always)]
    pub const fn is_extension(number: u8) -> bool {
        matches!(number, 0 | 43 | 44 | 51 | 60)
    }
}

/// TCP flags that the datapath knows (RFC 9293 §3.1).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise: the first packet of a conversation, and its answer.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// ICMP types that the datapath knows (IANA).
pub mod icmp {
    /// Echo reply, IPv4.
    pub const ECHO_REPLY: u8 = 0;
    /// Echo request, IPv4.
    pub const ECHO: u8 = 8;
    /// Echo request, IPv6.
    pub const V6_ECHO: u8 = 128;
    /// Echo reply, IPv6.
    pub const V6_ECHO_REPLY: u8 = 129;
    /// Multicast listener query (RFC 2710), report, done; and report version 2 (RFC 3810).
    pub const MLD_QUERY: u8 = 130;
    /// Multicast listener report.
    pub const MLD_REPORT: u8 = 131;
    /// Multicast listener done.
    pub const MLD_DONE: u8 = 132;
    /// Multicast listener report, version 2.
    pub const MLD2_REPORT: u8 = 143;
    /// Router solicitation (RFC 4861).
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Redirect, IPv4.
    pub const V4_REDIRECT: u8 = 5;

    /// Whether an ICMP type reports an error about a quoted packet (RFC 1122 §3.2.2, RFC 4443 §2.1).
    #[inline(always)]
    pub const fn is_error(v4: bool, icmp_type: u8) -> bool {
        if v4 { matches!(icmp_type, 3 | 4 | 11 | 12) } else { icmp_type < 128 }
    }
}

/// One direction of a conversation.
///
/// A later fragment whose first was not seen has no ports: they are 0, and [`FlowKey::NO_PORTS`] says so.
/// ICMP echo has its identifier in both ports, other ICMP has zero there.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct FlowKey {
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Source port, network byte order.
    pub src_port: u16,
    /// Destination port, network byte order.
    pub dst_port: u16,
    /// IP protocol, the one behind the IPv6 extension headers.
    pub protocol: u8,
    /// ICMP type; 0 for other protocols.
    pub icmp_type: u8,
    /// ICMP code; 0 for other protocols.
    pub icmp_code: u8,
    /// [`FlowKey::NO_PORTS`].
    pub flags: u8,
    /// In the table of denied flows the interface that dropped, so that a spoofer cannot touch its
    /// victim's record; 0 in the table of allowed flows.
    pub ifindex: u32,
}

map_layout!(FlowKey, 44);

impl FlowKey {
    /// A later fragment whose first was not seen: nobody knows its ports.
    pub const NO_PORTS: u8 = 1;

    /// The key of the answers to this flow.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            icmp_type: answering_type(self.protocol, self.icmp_type),
            ..*self
        }
    }

    /// Equality as a loop over words: in the datapath there is no `memcmp` to call.
    #[inline(always)]
    pub fn equals(&self, other: &Self) -> bool {
        let (words, others): (&[u32; 11], &[u32; 11]) = (bytemuck::cast_ref(self), bytemuck::cast_ref(other));
        let mut differing = 0;
        let mut at = 0;
        while at < 11 {
            differing |= words[at] ^ others[at];
            at += 1;
        }
        differing == 0
    }

    /// Whether the ports are known, if the protocol has any.
    #[inline(always)]
    pub const fn has_ports(&self) -> bool {
        self.flags & Self::NO_PORTS == 0
    }

    /// Whether this is an echo reply, which never opens a conversation.
    #[inline(always)]
    pub const fn is_echo_reply(&self) -> bool {
        matches!(
            (self.protocol, self.icmp_type),
            (protocol::ICMP, icmp::ECHO_REPLY) | (protocol::ICMPV6, icmp::V6_ECHO_REPLY)
        )
    }
}

/// The ICMP type that answers `icmp_type`, where there is one.
#[inline(always)]
const fn answering_type(protocol: u8, icmp_type: u8) -> u8 {
    match (protocol, icmp_type) {
        (protocol::ICMP, icmp::ECHO) => icmp::ECHO_REPLY,
        (protocol::ICMP, icmp::ECHO_REPLY) => icmp::ECHO,
        (protocol::ICMPV6, icmp::V6_ECHO) => icmp::V6_ECHO_REPLY,
        (protocol::ICMPV6, icmp::V6_ECHO_REPLY) => icmp::V6_ECHO,
        _ => icmp_type,
    }
}

/// What is known of one flow direction (in [`crate::flow_table`] behind its key; value of the kernel's kind of tables).
///
/// Generation and facts are the low halves of [`crate::control::Control`]'s: facts only have to differ
/// from those of today; of generations it counts which came first. Times count [`TICK`]s of `CLOCK_MONOTONIC`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct FlowEntry {
    /// Packets counted by the first hook they met.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
    /// The generation that judged, or the last one that the judgement was found to hold under.
    pub generation: u32,
    /// The facts it was judged under.
    pub facts: u32,
    /// What decides.
    pub why: Why,
    /// The stamp that a packet of this flow carries behind its sender's hook.
    pub stamp: u32,
    /// First packet.
    pub first_seen: u32,
    /// Latest packet.
    pub last_seen: u32,
    /// Who sent.
    pub src_endpoint: ShortId,
    /// Whom it is for.
    pub dst_endpoint: ShortId,
    /// [`crate::verdict::Verdict::code`]; 0 in a slot that nothing was ever kept in.
    pub verdict: u8,
    /// [`FlowEntry::CACHED`], [`FlowEntry::OPENS`], [`FlowEntry::ANSWERS`] …
    pub flags: u8,
    /// When the conversation that it opens or answers was refreshed, [`FlowEntry::freshness`]. The datapath's own.
    pub refreshed: u16,
}

map_layout!(FlowEntry, 48);

/// Nanoseconds of a tick, as a power of two: 8.4 ms. What is older than 417 days looks younger than it is.
pub const TICK: u32 = 23;

/// The tick at `now` (`CLOCK_MONOTONIC`, ns).
#[inline(always)]
pub const fn tick(now: u64) -> u32 {
    (now >> TICK) as u32
}

/// Nanoseconds of what is a second here, as a power of two: 1.07 s.
pub const SECOND: u32 = 30;

/// The second at `now` (`CLOCK_MONOTONIC`, ns); it wraps after 19 hours.
#[inline(always)]
pub const fn second(now: u64) -> u16 {
    (now >> SECOND) as u16
}

/// Ticks that a packet may have been seen after the clock was read: more than any reading of a table takes.
const LEAD: u32 = 1 << 16;

/// When the last tick of this number before `now` began, in nanoseconds of `CLOCK_MONOTONIC`.
pub const fn time_of(tick_seen: u32, now: u64) -> u64 {
    let age = tick(now).wrapping_sub(tick_seen);
    // Another CPU may have seen a packet after `now` was read.
    let age = if age > u32::MAX - LEAD { 0 } else { age };
    (now >> TICK).saturating_sub(age as u64) << TICK
}

/// The network that admits, or the rule that decides; nothing of either where there is none.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Why(u32);

impl Why {
    const RULE: u32 = 1 << 31;

    /// A rule goes before a network; 0 stands for none.
    #[inline(always)]
    pub const fn new(network: u32, rule: u32) -> Self {
        if rule == 0 { Self(network) } else { Self(rule | Self::RULE) }
    }

    /// The deciding network; 0 for none.
    #[inline(always)]
    pub const fn network(self) -> u32 {
        if self.0 & Self::RULE == 0 { self.0 } else { 0 }
    }

    /// The deciding rule; 0 for none.
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        if self.0 & Self::RULE == 0 { 0 } else { self.0 & !Self::RULE }
    }
}

/// An [`EndpointId`] in half the room.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct ShortId(u16);

const _: () = assert!(MAX_ENDPOINTS < 1 << 15);

impl ShortId {
    /// Of an endpoint, the host or nobody.
    #[inline(always)]
    pub const fn new(id: EndpointId) -> Self {
        Self(id.0 as u16)
    }

    /// The whole: what has the highest bit is the host.
    #[inline(always)]
    pub const fn id(self) -> EndpointId {
        EndpointId(self.0 as i16 as i32 as u32)
    }
}

impl FlowEntry {
    /// The verdict depends only on generation, facts and key, and may be reused while the facts stay and neither address
    /// means anything else.
    pub const CACHED: u8 = 1;
    /// A rule admits it: its packets open and refresh a conversation.
    pub const OPENS: u8 = 2;
    /// With [`FlowEntry::OPENS`]: somebody outside opens it to the endpoint at this hook, which pays.
    pub const OUTSIDE: u8 = 8;
    /// It passes as an answer if the state table knows the question: a recorded pass holds only if it does, a recorded drop
    /// only if it does not. Of a pass that is asked when it is no longer [fresh](FlowEntry::is_fresh), of a drop for every packet.
    pub const ANSWERS: u8 = 4;
    /// Of a recorded drop: what denies it is being audited, so that it goes on in every mode.
    pub const AUDITED: u8 = 16;
    /// The receiver's hook made it, for a packet that the sender's hook had counted. It says nothing to senders.
    pub const RECEIVED: u8 = 32;

    /// Neither address is only of a link: what goes between them may go straight to its receiver.
    pub const GLOBAL: u8 = 64;

    /// How many ticks ago the latest packet was seen; more than any where nothing was ever kept.
    #[inline(always)]
    pub const fn silence(&self, now: u32) -> u32 {
        if self.verdict == 0 { u32::MAX } else { now.wrapping_sub(self.last_seen) }
    }

    /// Another number in each second of `now` (`CLOCK_MONOTONIC`, ns), and behind each of `turns` that connections took.
    #[inline(always)]
    pub const fn freshness(now: u64, turns: u16) -> u16 {
        // A half each, so that no number of turns makes one second look like another.
        second(now) << 8 | turns & 0xff
    }

    /// Of a flow of which no packet has refreshed anything at `now` (`CLOCK_MONOTONIC`, ns).
    #[inline(always)]
    pub const fn stale(now: u64) -> u16 {
        Self::freshness(now, 0) ^ 1 << 15
    }

    /// Whether the conversation of this flow was refreshed at the [`freshness`](Self::freshness) of `now` (`CLOCK_MONOTONIC`,
    /// ns).
    #[inline(always)]
    pub const fn is_fresh(&self, now: u64, freshness: u16) -> bool {
        // Seconds wrap: of two that are alike long silence lies between.
        self.refreshed == freshness && tick(now).wrapping_sub(self.last_seen) <= 1 << (SECOND - TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_fresh_for_the_rest_of_its_second() {
        let now = 70_000 << SECOND;
        let refreshed = FlowEntry::freshness(now, 0);
        let entry = FlowEntry { refreshed, last_seen: tick(now), ..FlowEntry::default() };
        let is_fresh = |now, turns| entry.is_fresh(now, FlowEntry::freshness(now, turns));
        let fresh =
            [0, 1, (1 << SECOND) - 1, 1 << SECOND, 1 << (SECOND + 8)].map(|later| is_fresh(now + later, 0));
        assert_eq!(fresh, [true, true, true, false, false], "seconds wrap, ticks do not");
        // Another CPU saw a packet after the clock was read.
        let ahead = FlowEntry { last_seen: tick(now) + 1, ..entry };
        assert!(!ahead.is_fresh(now, refreshed), "refreshed once too often");
        assert!(!is_fresh(now, 1) && !is_fresh(now + (1 << SECOND), 1), "a turn since");
        let next = now + (1 << SECOND);
        assert!((0..=u16::MAX).all(|turns| FlowEntry::freshness(next, turns) != refreshed));
        let new = FlowEntry { refreshed: FlowEntry::stale(now), ..entry };
        assert!((0..=u16::MAX).all(|turns| !new.is_fresh(now, FlowEntry::freshness(now, turns))));
    }

    #[test]
    fn ids_survive_in_half_the_room() {
        for id in [EndpointId::REMOTE, EndpointId::HOST, EndpointId(1), EndpointId(MAX_ENDPOINTS - 1)] {
            assert_eq!(ShortId::new(id).id(), id);
        }
    }

    #[test]
    fn a_rule_decides_before_a_network() {
        let told = |why: Why| (why.network(), why.rule());
        assert_eq!(told(Why::new(0, 0)), (0, 0));
        assert_eq!(told(Why::new(7, 0)), (7, 0));
        assert_eq!(told(Why::new(0, 7)), (0, 7));
        assert_eq!(told(Why::new(9, 7)), (0, 7));
    }

    #[test]
    fn a_tick_is_told_by_the_clock_of_today() {
        const DAY: u64 = 86_400_000_000_000;
        // Ticks wrap every 417 days.
        for now in [DAY, 400 * DAY, 500 * DAY, 5_000 * DAY + 12_345_678] {
            for age in [0, 5, DAY / 2, DAY, 300 * DAY].into_iter().filter(|age| *age <= now) {
                let told = time_of(tick(now - age), now);
                assert!((now - age).abs_diff(told) < 1 << TICK, "{age} ns before {now}: {told}");
            }
            assert!(time_of(tick(now) + 1, now).abs_diff(now) < 1 << TICK, "seen after the clock was read");
        }
    }

    fn echo(protocol: u8, icmp_type: u8) -> FlowKey {
        FlowKey {
            src: Address::from_v4(1),
            dst: Address::from_v4(2),
            src_port: 7,
            dst_port: 7,
            protocol,
            icmp_type,
            ..FlowKey::default()
        }
    }

    #[test]
    fn an_echo_and_its_reply_are_each_others_reverse() {
        let request = echo(protocol::ICMPV6, icmp::V6_ECHO);
        let reply = request.reversed();
        assert_eq!(reply.icmp_type, icmp::V6_ECHO_REPLY);
        assert!(reply.is_echo_reply() && !request.is_echo_reply());
        assert_eq!(reply.reversed(), request);
        // Type 0 means "echo reply" only for ICMP: a TCP key keeps it.
        let tcp = echo(protocol::TCP, 0);
        assert_eq!(tcp.reversed().icmp_type, 0);
        assert!(!tcp.is_echo_reply());
    }
}

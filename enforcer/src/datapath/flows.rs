//! Flow records as people read them: both directions of a conversation in one line.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use aya::maps::MapData;
use enforcer_common::{
    endpoint::EndpointId,
    flow::{self, FlowEntry, FlowKey, ShortId, protocol},
    verdict::Verdict,
};
use serde::{Deserialize, Serialize};

use super::{
    bpf,
    flow_table::Directions,
    tables::{TableError, Tables},
};

/// Turns ids into names; a name that is not known any more is `None`.
pub trait Names {
    /// Name of a network.
    fn network(&self, id: u32) -> Option<String>;
    /// Name of a rule.
    fn rule(&self, id: u32) -> Option<String>;
    /// Name of a local endpoint.
    fn endpoint(&self, id: EndpointId) -> Option<String>;
    /// Digest of a generation's policy, in hex.
    fn digest(&self, generation: u64) -> Option<String>;
}

/// One conversation. The field names are a contract with scripts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// `tcp`, `udp`, `icmp`, `icmp6`, `sctp` or a number.
    pub proto: String,
    /// Who spoke first.
    pub src: IpAddr,
    /// Port; the identifier of an ICMP echo.
    pub src_port: u16,
    /// Whom it spoke to.
    pub dst: IpAddr,
    /// Port; the identifier of an ICMP echo.
    pub dst_port: u16,
    /// Type of an ICMP message.
    #[serde(default)]
    pub icmp_type: Option<u8>,
    /// `pass`, `drop`, or `would-drop` where a mode lets it go on.
    pub verdict: String,
    /// Slug of the reason.
    pub reason: String,
    /// The network that admitted it.
    pub network: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The policy generation that judged its latest packet.
    pub generation: u64,
    /// The digest of its policy, in hex; of the latest generations only.
    #[serde(default)]
    pub digest: Option<String>,
    /// First packet, RFC 3339.
    pub first_seen: String,
    /// Latest packet, RFC 3339.
    pub last_seen: String,
    /// Packets from `src` to `dst`.
    pub packets_fwd: u64,
    /// Their bytes.
    pub bytes_fwd: u64,
    /// Packets from `dst` to `src`.
    pub packets_rev: u64,
    /// Their bytes.
    pub bytes_rev: u64,
    /// The local endpoint that spoke first; `host` for the host, nothing for a remote.
    pub endpoint_src: Option<String>,
    /// The local endpoint that it spoke to.
    pub endpoint_dst: Option<String>,
}

impl Tables {
    /// All flows, allowed and denied, each conversation once.
    pub fn flows(&self, names: &impl Names) -> Result<Vec<Flow>, TableError> {
        let clock = Clock::now();
        let mut passed: Directions = directions(&self.flows, "FLOWS")?.into_iter().collect();
        let unread = |source| TableError::Io { operation: "read", name: "FLOWS4 or FLOWS6", source };
        self.flow_table.add_to(&mut passed).map_err(unread)?;
        let latest = self.control().active.generation();
        let mut flows = Vec::with_capacity(passed.len() / 2);
        for (key, entry) in &passed {
            let reverse = passed.get(&key.reversed()).filter(|_| key.reversed() != *key);
            match reverse {
                Some(reverse) if !speaks_first(key, entry, reverse) => {}
                reverse => flows.push(flow(key, entry, reverse, latest, names, &clock)),
            }
        }
        // A denied attempt in the other direction is another attempt.
        flows.extend(self.refused(names)?);
        Ok(flows)
    }

    /// What was denied, or would have been.
    pub fn refused(&self, names: &impl Names) -> Result<Vec<Flow>, TableError> {
        let (clock, latest) = (Clock::now(), self.control().active.generation());
        let mut denied: Directions = directions(&self.denied, "DENIED")?.into_iter().collect();
        // Of one that is just being made there is nothing to tell.
        denied.retain(|_, entry| entry.packets > 0);
        let unread = |source| TableError::Io { operation: "read", name: "DENIED_SETS", source };
        self.flow_table.add_denied_to(&mut denied).map_err(unread)?;
        Ok(denied.iter().map(|(key, entry)| flow(key, entry, None, latest, names, &clock)).collect())
    }
}

fn directions(table: &MapData, name: &'static str) -> Result<Vec<(FlowKey, FlowEntry)>, TableError> {
    bpf::entries(table.fd()).map_err(|source| TableError::Io { operation: "read", name, source })
}

/// Which direction is the forward one: the first seen; within one clock tick a request goes before its
/// reply, and else the lower port is the service.
fn speaks_first(key: &FlowKey, entry: &FlowEntry, reverse: &FlowEntry) -> bool {
    // Ticks wrap.
    let lead = entry.first_seen.wrapping_sub(reverse.first_seen) as i32;
    let order = |key: &FlowKey, lead: i32| {
        (lead, key.is_echo_reply(), std::cmp::Reverse(u16::from_be(key.src_port)), key.src)
    };
    order(key, lead) < order(&key.reversed(), 0)
}

fn flow(
    key: &FlowKey,
    entry: &FlowEntry,
    reverse: Option<&FlowEntry>,
    latest: u64,
    names: &impl Names,
    clock: &Clock,
) -> Flow {
    let verdict = Verdict::from_code(entry.verdict);
    let endpoint = |id: ShortId| match id.id() {
        EndpointId::REMOTE => None,
        EndpointId::HOST => Some("host".to_owned()),
        id => names.endpoint(id),
    };
    let seen = |tick: u32| flow::time_of(tick, clock.monotonic.as_nanos() as u64);
    let last_seen = seen(entry.last_seen).max(reverse.map_or(0, |reverse| seen(reverse.last_seen)));
    let generation = whole_generation(entry.generation, latest);
    let (network, rule) = (entry.why.network(), entry.why.rule());
    Flow {
        family: if key.src.is_v4() { "ipv4" } else { "ipv6" }.to_owned(),
        proto: protocol_name(key.protocol),
        src: key.src.into(),
        src_port: u16::from_be(key.src_port),
        dst: key.dst.into(),
        dst_port: u16::from_be(key.dst_port),
        icmp_type: matches!(key.protocol, protocol::ICMP | protocol::ICMPV6).then_some(key.icmp_type),
        verdict: verdict.map_or("unknown", Verdict::name).to_owned(),
        reason: verdict.map_or("unknown", Verdict::slug).to_owned(),
        network: (network != 0).then(|| names.network(network)).flatten(),
        rule: (rule != 0).then(|| names.rule(rule)).flatten(),
        generation,
        digest: names.digest(generation),
        first_seen: clock.text(seen(entry.first_seen)),
        last_seen: clock.text(last_seen),
        packets_fwd: entry.packets,
        bytes_fwd: entry.bytes,
        packets_rev: reverse.map_or(0, |reverse| reverse.packets),
        bytes_rev: reverse.map_or(0, |reverse| reverse.bytes),
        endpoint_src: endpoint(entry.src_endpoint),
        endpoint_dst: endpoint(entry.dst_endpoint),
    }
}

/// A generation's number by its lower half: one not far from the `latest`.
const fn whole_generation(lower: u32, latest: u64) -> u64 {
    latest.saturating_add_signed(lower.wrapping_sub(latest as u32) as i32 as i64)
}

/// Name of an IP protocol as rules and flows write it.
pub fn protocol_name(number: u8) -> String {
    match number {
        protocol::ICMP => "icmp".to_owned(),
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMPV6 => "icmp6".to_owned(),
        protocol::SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}

/// The number of an IP protocol by its [`protocol_name`].
pub fn protocol_number(name: &str) -> Option<u8> {
    (0..=u8::MAX).find(|number| protocol_name(*number) == name)
}

/// Relates the kernel's monotonic clock to the wall.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: SystemTime,
    monotonic: Duration,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        let monotonic = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_or(Duration::ZERO, Duration::from);
        Self { wall: SystemTime::now(), monotonic }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC` as RFC 3339.
    pub fn text(&self, monotonic: u64) -> String {
        let age = self.monotonic.saturating_sub(Duration::from_nanos(monotonic));
        humantime::format_rfc3339_millis(self.wall - age).to_string()
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::address::Address;

    use super::*;

    fn direction(src: u32, src_port: u16, first_seen: u32) -> (FlowKey, FlowEntry) {
        let key = FlowKey {
            src: Address::from_v4(src),
            dst: Address::from_v4(3 - src),
            src_port: src_port.to_be(),
            dst_port: if src_port == 53 { 4000_u16 } else { 53 }.to_be(),
            protocol: protocol::UDP,
            ..FlowKey::default()
        };
        (key, FlowEntry { first_seen, ..FlowEntry::default() })
    }

    #[test]
    fn exactly_one_direction_speaks_first() {
        for (request_seen, reply_seen) in [(1, 2), (5, 5), (9, 3)] {
            let (request, request_entry) = direction(1, 4000, request_seen);
            let (reply, reply_entry) = direction(2, 53, reply_seen);
            assert_eq!(request.reversed(), reply);
            let forward = speaks_first(&request, &request_entry, &reply_entry);
            let backward = speaks_first(&reply, &reply_entry, &request_entry);
            assert!(forward != backward);
            assert_eq!(forward, request_seen <= reply_seen, "seen at {request_seen} and {reply_seen}");
        }
    }
}

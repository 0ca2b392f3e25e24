//! Typed records that the datapath sends to the daemon through a ring buffer.

use bytemuck::{Pod, Zeroable};

use crate::{endpoint::EndpointId, flow::FlowKey, map_layout};

/// A dropped packet. Rate limited per CPU; the counters never are.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct DropEvent {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The policy generation that judged; 0 where none did.
    pub generation: u64,
    /// What the parser understood; zero where it understood nothing.
    pub key: FlowKey,
    /// Interface whose hook dropped.
    pub ifindex: u32,
    /// The endpoint behind it.
    pub endpoint: EndpointId,
    /// Bytes from the Ethernet header on.
    pub length: u32,
    /// [`crate::verdict::Verdict::code`].
    pub verdict: u8,
    /// [`Hook`] as a number.
    pub hook: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Deciding rule; 0 none.
    pub rule: u32,
}

map_layout!(DropEvent, 80);

/// A place where packets are judged; named from the endpoint's view. On a host-side veth tc ingress
/// carries traffic *from* the endpoint, tc egress traffic *to* it.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "user", serde(rename_all = "kebab-case"))]
pub enum Hook {
    /// What the endpoint sends.
    FromEndpoint = 0,
    /// What is delivered to the endpoint.
    ToEndpoint = 1,
    /// What arrives at an interface with an early guard: what the endpoint sends or, at an uplink, what the
    /// outside sends. It only drops; what it passes meets the other hooks.
    Guard = 2,
    /// What comes from outside, at an uplink.
    FromUplink = 3,
}

/// What one CPU has told of drops in a second, and what it held back.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct EventBudget {
    /// When the second began that `sent` belongs to, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// Events sent in that second.
    pub sent: u64,
    /// Events lost so far: over the rate, or the ring was full.
    pub lost: u64,
}

map_layout!(EventBudget, 24);

/// What an endpoint was told by foreign routers, on one CPU.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct ErrorBudget {
    /// Second (of `CLOCK_MONOTONIC`) that `spent` belongs to.
    pub second: u64,
    /// ICMP errors in that second.
    pub spent: u64,
}

map_layout!(ErrorBudget, 16);

//! Per-CPU totals. Each CPU writes its own copy, so plain adds suffice; readers sum over the CPUs.

use core::ops::AddAssign;

use bytemuck::{Pod, Zeroable};

use crate::map_layout;

/// Packets and their bytes, counted from the Ethernet header on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct Counter {
    /// Packets; a GSO packet counts as one.
    pub packets: u64,
    /// Bytes on the wire side of the hook, from the Ethernet header on.
    pub bytes: u64,
}

map_layout!(Counter, 16);

impl Counter {
    /// Counts one packet of `bytes` bytes.
    #[inline(always)]
    pub const fn add(&mut self, bytes: u32) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }
}

impl AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// What one endpoint sent and received, seen from the endpoint.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct EndpointCounters {
    /// Sent by the endpoint and passed.
    pub sent: Counter,
    /// Delivered to the endpoint.
    pub received: Counter,
    /// Sent by the endpoint and dropped.
    pub sent_dropped: Counter,
    /// Dropped on the way to the endpoint.
    pub received_dropped: Counter,
}

map_layout!(EndpointCounters, 64);

impl AddAssign for EndpointCounters {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.sent_dropped += other.sent_dropped;
        self.received_dropped += other.received_dropped;
    }
}

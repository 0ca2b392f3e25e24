//! Per-CPU totals. Each CPU writes its own copy, so plain adds suffice; readers sum over the CPUs.

use core::ops::AddAssign;

use bytemuck::{Pod, Zeroable};

use crate::map_layout;

/// Packets and their bytes, counted from the Ethernet header on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct Counter {
    /// Packets on the wire: a buffer that is to be cut into segments counts as those.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on; each segment has its headers.
    pub bytes: u64,
}

map_layout!(Counter, 16);

impl Counter {
    /// Counts a frame.
    #[inline(always)]
    pub const fn add(&mut self, weight: Weight) {
        self.packets = self.packets.wrapping_add(weight.packets as u64);
        self.bytes = self.bytes.wrapping_add(weight.bytes as u64);
    }
}

/// What a frame counts for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight {
    /// Packets on the wire.
    pub packets: u32,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u32,
}

impl Weight {
    /// Of a frame of so many `bytes` that will be cut into so many `segments`; the first `headers` bytes are in front of
    /// each of them.
    #[inline(always)]
    pub const fn of(bytes: u32, segments: u32, headers: u32) -> Self {
        let packets = if segments == 0 { 1 } else { segments };
        Self { packets, bytes: bytes.wrapping_add((packets - 1).wrapping_mul(headers)) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_has_its_headers() {
        assert_eq!(Weight::of(60, 0, 54), Weight { packets: 1, bytes: 60 });
        assert_eq!(Weight::of(1514, 1, 54), Weight { packets: 1, bytes: 1514 });
        let of_three = Weight::of(54 + 2 * 1460 + 100, 3, 54);
        assert_eq!(of_three, Weight { packets: 3, bytes: 2 * 1514 + 154 });
        let mut counter = Counter::default();
        counter.add(of_three);
        assert_eq!(counter, Counter { packets: 3, bytes: 3182 });
    }
}

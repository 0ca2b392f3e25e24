//! Who initiated: kept only for conversations that a directional verdict admitted. State never holds
//! a verdict; it only lets the answer pass while the opening packet's verdict stands.

use bytemuck::{Pod, Zeroable};

use crate::{flow::protocol, map_layout};

const SECOND: u64 = 1_000_000_000;

/// An open conversation (value of the `STATE` table, keyed by the initiator's direction). The reserved
/// words let old and new versions share the table during an upgrade.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct StateEntry {
    /// Latest packet in either direction, nanoseconds of `CLOCK_MONOTONIC`.
    pub last_seen: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

map_layout!(StateEntry, 32);

impl StateEntry {
    /// Whether an answer is still expected at `now`.
    #[inline(always)]
    pub const fn is_open(&self, protocol: u8, now: u64) -> bool {
        // Another CPU may have seen a packet after `now` was read.
        (now.wrapping_sub(self.last_seen) as i64) < idle_timeout(protocol) as i64
    }
}

/// How long a silent conversation stays open, in nanoseconds: keep-alives of TCP come every two hours
/// (RFC 9293 §3.8.4), UDP bindings live two minutes at least (RFC 4787 REQ-5).
#[inline(always)]
pub const fn idle_timeout(protocol: u8) -> u64 {
    match protocol {
        protocol::TCP => 7_440 * SECOND,
        protocol::UDP => 180 * SECOND,
        _ => 60 * SECOND,
    }
}

//! Where flows are kept: arrays of small sets, one line of the processor's cache for a direction of an IPv4 flow and
//! one and a half for IPv6.
//!
//! Each CPU has its own part of an array and is alone in it, so that a packet is counted with plain adds and nobody
//! waits for anybody; readers add up what the parts say of one key. Where all places of a key are taken, one that was
//! silent gives up its own, [`Room::rank`]. That costs a counter and the next packet a judgement, and never a verdict.
//!
//! A key has places in two sets, so that flows that push each other out come to lie where they do not: with one set for
//! each, one flow in seven of a table half full had four others in its way for good.
//!
//! Memory that is far apart is slow memory: few flows lie in few sets, [`Room`], and close together. Where their number has
//! changed flows are looked for where they were before, too, and move; and what is met behind a place that became free moves
//! there, so that most are found in the first line that is read.
//!
//! What is denied lies in a table of its own, by interface, and pushes out nothing that is allowed. Whoever tries all addresses
//! and ports gives up places of his own first there.
//!
//! ```text
//! CPU 0: set 0 … set n-1 │ CPU 1: set 0 … set n-1 │ …        a set: way 0 … way 3        a way: key, entry
//! ```

use crate::flow::FlowEntry;

mod key;
mod room;

pub use key::{ANY, Digest, Key, Secret, V4, V6};
pub use room::Room;

/// Entries of one set.
pub const WAYS: usize = 4;
/// Sets that a key may lie in.
pub const CHOICES: usize = 2;
/// Places of a key.
const PLACES: u32 = (WAYS * CHOICES) as u32;

/// A place for one direction of a flow. Large slots are aligned so that none touches three cache lines.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug)]
pub struct Slot<const WORDS: usize> {
    /// Nobody's, all zero, where a flow has moved away.
    pub key: Key<WORDS>,
    /// Nothing is kept here while its verdict is 0. The verdict is cleared first and written last, and the key not before
    /// the counts are its flow's own, so that a reader in user space can tell a slot that changed under it.
    pub entry: FlowEntry,
}

/// The places that a key may lie in (value of the `FLOWS4`, `FLOWS6` and `DENIED_SETS` tables).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FlowSet<const WORDS: usize>(pub [Slot<WORDS>; WAYS]);

/// Sets of the `FLOWS4` table.
pub type FlowSet4 = FlowSet<V4>;
/// Sets of the `FLOWS6` table.
pub type FlowSet6 = FlowSet<V6>;
/// Sets of the `DENIED_SETS` table.
pub type DeniedSet = FlowSet<ANY>;

const _: () = assert!(size_of::<FlowSet4>() == WAYS * 64 && size_of::<FlowSet6>() == WAYS * 96);
const _: () = assert!(size_of::<DeniedSet>() == WAYS * 96);

/// Sets that each of `cpus` processors gets for `flows` directions in all: a power of two.
pub const fn sets_per_cpu(flows: u32, cpus: u32) -> u32 {
    flows.div_ceil(WAYS as u32 * cpus).next_power_of_two()
}

#[cfg(test)]
mod tests;

//! Where flows are kept: arrays of small sets, one line of the processor's cache for a direction of an IPv4 flow and
//! one and a half for IPv6.
//!
//! Each CPU has its own part of an array and is alone in it, so that a packet is counted with plain adds and nobody
//! waits for anybody; readers add up what the parts say of one key. A full set gives up the entry that was silent for
//! longest. That costs a counter and the next packet a judgement, and never a verdict.
//!
//! Memory that is far apart is slow memory: few flows lie in few sets, [`Room`], and close together.
//!
//! ```text
//! CPU 0: set 0 … set n-1 │ CPU 1: set 0 … set n-1 │ …        a set: way 0 … way 3        a way: key, entry
//! ```

use bytemuck::{Pod, Zeroable};

use crate::{
    address::Address,
    flow::{self, FlowEntry, FlowKey},
    state::mix,
};

/// Entries of one set.
pub const WAYS: usize = 4;

/// A [`FlowKey`] without what it does not need, as words to compare and to digest: `WORDS` is 2 for IPv4 and 5 for IPv6.
/// Addresses, then ports, protocol, ICMP type, ICMP code and flags, as they lie in the [`FlowKey`].
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<const WORDS: usize>([u64; WORDS]);

/// Words of the key of an IPv4 flow.
pub const V4: usize = 2;
/// Words of the key of an IPv6 flow.
pub const V6: usize = 5;

impl<const WORDS: usize> Key<WORDS> {
    /// Of a key with addresses of the family.
    #[inline(always)]
    pub fn new(key: &FlowKey) -> Self {
        let mut words = [0; WORDS];
        let mut at = 0;
        while at < WORDS {
            words[at] = word::<WORDS>(key, at);
            at += 1;
        }
        Self(words)
    }

    /// Whether this is of `key`: word by word from where it lies, for the stack of the datapath, and without a branch
    /// for each.
    #[inline(always)]
    pub fn is_of(&self, key: &FlowKey) -> bool {
        let mut differing = 0;
        let mut at = 0;
        while at < WORDS {
            differing |= self.0[at] ^ word::<WORDS>(key, at);
            at += 1;
        }
        differing == 0
    }

    /// The whole key.
    pub fn flow_key(&self) -> FlowKey {
        let mut whole = [0_u32; 11];
        if WORDS == V4 {
            (whole[2], whole[6]) = (Address::from_v4(0).0[2], Address::from_v4(0).0[2]);
        }
        for (at, word) in self.0.iter().enumerate() {
            let [first, second] = halves::<WORDS>(at);
            [whole[first], whole[second]] = bytemuck::cast(*word);
        }
        bytemuck::cast(whole)
    }
}

/// Which two of a [`FlowKey`]'s words of 32 bits are the word `at` of a key.
#[inline(always)]
const fn halves<const WORDS: usize>(at: usize) -> [usize; 2] {
    match (WORDS, at) {
        // The last words of both addresses; then what is not an address.
        (V4, 0) => [3, 7],
        (V4, _) => [8, 9],
        (_, at) => [2 * at, 2 * at + 1],
    }
}

#[inline(always)]
fn word<const WORDS: usize>(key: &FlowKey, at: usize) -> u64 {
    let words: &[u32; 11] = bytemuck::cast_ref(key);
    let [first, second] = halves::<WORDS>(at);
    bytemuck::cast([words[first], words[second]])
}

/// Keyed: which keys meet in one set is not known to who does not know the seed.
#[inline(always)]
pub fn digest<const WORDS: usize>(key: &FlowKey, seed: u64) -> u64 {
    let mut sum = seed;
    let mut at = 0;
    while at < WORDS {
        sum = mix(sum ^ word::<WORDS>(key, at));
        at += 1;
    }
    sum
}

/// A place for one direction of a flow. IPv6 slots are aligned so that none touches three cache lines.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug)]
pub struct Slot<const WORDS: usize> {
    /// Of no meaning while nothing is kept here.
    pub key: Key<WORDS>,
    /// Nothing was ever kept here while its verdict is 0. The verdict is cleared first and written last, so that a
    /// reader in user space can tell a slot that changed under it.
    pub entry: FlowEntry,
}

/// The places that a key may lie in (value of the `FLOWS4` and `FLOWS6` tables).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FlowSet<const WORDS: usize>(pub [Slot<WORDS>; WAYS]);

/// Sets of the `FLOWS4` table.
pub type FlowSet4 = FlowSet<V4>;
/// Sets of the `FLOWS6` table.
pub type FlowSet6 = FlowSet<V6>;

const _: () = assert!(size_of::<FlowSet4>() == WAYS * 64 && size_of::<FlowSet6>() == WAYS * 96);

/// How much of its part of a table a CPU uses, kept by that CPU. It doubles when flows that are in use push each other out;
/// what then lies where nobody looks for it is told to people all the same, and the first to go.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Room {
    /// Seed of its digests.
    pub seed: u64,
    /// Its first set.
    pub first: u32,
    /// Sets in use, less one; they are a power of two. 0 before the first packet.
    pub mask: u32,
    /// Packets since the last look at what follows.
    pub packets: u32,
    /// Those that pushed out a flow that was in use.
    pub crowded: u32,
}

/// Sets that are used at first.
const FIRST_SETS: u32 = 256;
/// What was silent for longer is not in use, in ticks: a minute.
const IN_USE: u32 = (60_000_000_000_u64 >> flow::TICK) as u32;
/// So many of the crowded ones are waited for,
const CROWD: u32 = 256;
/// and the table grows when more than one packet in so many was of them.
const TOLERABLE: u32 = 32;

impl Room {
    /// The room of a CPU that has `sets` in all.
    #[inline(always)]
    pub const fn new(cpu: u32, sets: u32, seed: u64) -> Self {
        let used = if sets < FIRST_SETS { sets } else { FIRST_SETS };
        Self { seed, first: cpu.wrapping_mul(sets), mask: used.wrapping_sub(1), packets: 0, crowded: 0 }
    }

    /// The set of a packet's flow.
    #[inline(always)]
    pub const fn set_of(&mut self, digest: u64) -> u32 {
        self.packets = self.packets.wrapping_add(1);
        self.first.wrapping_add(digest as u32 & self.mask)
    }

    /// Somebody gave up a place who had been silent for so many ticks.
    #[inline(always)]
    pub const fn pushed_out(&mut self, silence: u32, sets: u32) {
        if silence > IN_USE {
            return;
        }
        self.crowded += 1;
        if self.crowded < CROWD {
            return;
        }
        if self.packets / TOLERABLE < self.crowded && self.mask < sets.wrapping_sub(1) {
            self.mask = self.mask << 1 | 1;
        }
        (self.packets, self.crowded) = (0, 0);
    }
}

/// Sets that each of `cpus` processors gets for `flows` directions in all: a power of two.
pub const fn sets_per_cpu(flows: u32, cpus: u32) -> u32 {
    flows.div_ceil(WAYS as u32 * cpus).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::protocol;

    fn key(src: Address, dst: Address) -> FlowKey {
        let (src_port, dst_port) = (4000_u16.to_be(), 53_u16.to_be());
        FlowKey { src, dst, src_port, dst_port, protocol: protocol::UDP, flags: 1, ..FlowKey::default() }
    }

    #[test]
    fn keys_come_back_whole() {
        let v4 = key(Address::from_v4(0x0100_000a), Address::from_v4(0x0200_000a));
        assert_eq!(Key::<V4>::new(&v4).flow_key(), v4);
        assert_eq!(Key::<V6>::new(&v4).flow_key(), v4);
        let v6 = key(Address([1, 2, 3, 4]), Address([5, 6, 7, 8]));
        assert_eq!(Key::<V6>::new(&v6).flow_key(), v6);
    }

    #[test]
    fn every_part_of_a_key_changes_its_digest() {
        let base = key(Address::from_v4(1), Address::from_v4(2));
        let others = [
            key(Address::from_v4(2), Address::from_v4(1)),
            base.reversed(),
            FlowKey { protocol: protocol::TCP, ..base },
            FlowKey { flags: 0, ..base },
            FlowKey { icmp_type: 8, ..base },
            FlowKey { icmp_code: 1, ..base },
        ];
        for other in others {
            assert_ne!(digest::<V4>(&base, 7), digest::<V4>(&other, 7), "{other:?}");
            assert_ne!(digest::<V6>(&base, 7), digest::<V6>(&other, 7), "{other:?}");
            assert!(
                !Key::<V4>::new(&base).is_of(&other) && !Key::<V6>::new(&base).is_of(&other),
                "{other:?}"
            );
        }
        assert!(Key::<V4>::new(&base).is_of(&base) && Key::<V6>::new(&base).is_of(&base));
        assert_ne!(digest::<V4>(&base, 7) as u32, digest::<V4>(&base, 8) as u32);
    }

    #[test]
    fn a_room_grows_while_flows_in_use_push_each_other_out() {
        let mut room = Room::new(3, 4 * FIRST_SETS, 7);
        assert_eq!((room.first, room.mask, room.seed), (12 * FIRST_SETS, FIRST_SETS - 1, 7));
        let push = |room: &mut Room, packets: u32, silence| {
            for _ in 0..CROWD {
                (0..packets).for_each(|_| assert!(room.set_of(u64::MAX) < 16 * FIRST_SETS));
                room.pushed_out(silence, 4 * FIRST_SETS);
            }
            room.mask + 1
        };
        assert_eq!(push(&mut room, 1, u32::MAX), FIRST_SETS, "nobody in use went");
        assert_eq!(push(&mut room, TOLERABLE + 1, 0), FIRST_SETS, "few did");
        assert_eq!(push(&mut room, 1, IN_USE), 2 * FIRST_SETS);
        assert_eq!(push(&mut room, TOLERABLE - 1, 0), 4 * FIRST_SETS);
        assert_eq!(push(&mut room, 1, 0), 4 * FIRST_SETS, "that is all there is");
        assert_eq!(Room::new(0, 2, 7).mask, 1, "there are fewer than it would use");
    }

    #[test]
    fn processors_share_what_there_is() {
        assert_eq!(sets_per_cpu(262_144, 2), 32_768);
        assert_eq!(sets_per_cpu(1, 64), 1);
        assert_eq!(sets_per_cpu(100_000, 3), 16_384, "rounded up");
    }
}

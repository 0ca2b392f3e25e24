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

use bytemuck::{Pod, Zeroable};

use crate::{
    address::Address,
    flow::{self, FlowEntry, FlowKey},
    state::mix,
};

/// Entries of one set.
pub const WAYS: usize = 4;
/// Sets that a key may lie in.
pub const CHOICES: usize = 2;
/// Places of a key.
const PLACES: u32 = (WAYS * CHOICES) as u32;

/// A [`FlowKey`] without what it does not need, as words to compare and to digest: `WORDS` is [`V4`], [`V6`] or [`ANY`].
/// Addresses, then ports, protocol, ICMP type, ICMP code and flags, as they lie in the [`FlowKey`].
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<const WORDS: usize>([u64; WORDS]);

/// Words of the key of an IPv4 flow.
pub const V4: usize = 2;
/// Words of the key of an IPv6 flow.
pub const V6: usize = 5;
/// Words of the key of a denied flow of either family: the last one holds the interface, twice.
pub const ANY: usize = 6;

impl<const WORDS: usize> Key<WORDS> {
    /// Of no packet that is kept: nobody has its addresses.
    pub const NOBODYS: Self = Self([0; WORDS]);

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

    /// Where a key of an allowed flow may lie.
    #[inline(always)]
    pub fn digest(&self, secret: &Secret) -> Digest {
        const { assert!(WORDS <= V6, "a denied one is digested as what was asked for") };
        let (mut sum, mut at) = (Sum::default(), 0);
        while at < WORDS {
            sum.add(self.0[at], secret.0[at]);
            at += 1;
        }
        sum.digest()
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
        (ANY, 5) => [10, 10],
        (_, at) => [2 * at, 2 * at + 1],
    }
}

#[inline(always)]
fn word<const WORDS: usize>(key: &FlowKey, at: usize) -> u64 {
    let words: &[u32; 11] = bytemuck::cast_ref(key);
    let [first, second] = halves::<WORDS>(at);
    bytemuck::cast([words[first], words[second]])
}

/// What keys are digested with: a number for each word.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Secret([u64; V6]);

impl Secret {
    /// Of a seed that nobody else knows.
    #[inline(always)]
    pub const fn of(seed: u64) -> Self {
        let mut numbers = [0; V6];
        let (mut at, mut number) = (0, seed);
        while at < V6 {
            number = mix(number.wrapping_add(GOLDEN));
            numbers[at] = number;
            at += 1;
        }
        Self(numbers)
    }
}

/// The step of splitmix64: 2⁶⁴ by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a key may lie. Keyed: which keys meet in one set is not known to who does not know the secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest(u64);

impl Digest {
    /// [`Key::digest`] of a key with addresses of the family, from where it lies.
    #[inline(always)]
    pub fn of<const WORDS: usize>(key: &FlowKey, secret: &Secret) -> Self {
        let (mut sum, mut at) = (Sum::default(), 0);
        while at < WORDS {
            sum.add(word::<WORDS>(key, at), secret.0[at]);
            at += 1;
        }
        sum.digest()
    }

    /// Of the same key where `ifindex` denied it.
    #[must_use]
    #[inline(always)]
    pub const fn at(self, ifindex: u32) -> Self {
        Self(mix(self.0 ^ ifindex as u64))
    }

    /// Whether its flow is looked at for a better place in this tick: one of a few, in which those of most other sets are not.
    #[inline(always)]
    pub const fn may_move(self, tick: u32) -> bool {
        (self.0 as u32 ^ tick) & (MOVES - 1) == 0
    }

    /// All ways of a choice, from where the key goes if it may choose: most are found at once. The next one shares a pair
    /// of cache lines with it, which processors fetch together.
    #[inline(always)]
    pub fn ways(self, choice: usize) -> impl Iterator<Item = usize> {
        let first = (self.0 >> (60 + 2 * choice)) as usize % WAYS;
        (0..WAYS).map(move |turn| first ^ turn)
    }
}

/// Of words, each with a number of the secret, after UMAC's *NH* (RFC 4418 §5.2.2): no product waits for another one.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    #[inline(always)]
    const fn add(&mut self, word: u64, secret: u64) {
        let keyed = word.wrapping_add(secret);
        self.0 = self.0.wrapping_add((keyed & u32::MAX as u64).wrapping_mul(keyed >> 32));
    }

    #[inline(always)]
    const fn digest(self) -> Digest {
        Digest(mix(self.0))
    }
}

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

/// How much of its part of a table a CPU uses, kept by that CPU. It doubles when the flows of a minute fill half of it, and
/// halves when those of the minute before would fill less than an eighth. What then lies where nobody looks for it is told to
/// people all the same, until somebody takes its place.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Room {
    /// Its first set.
    pub first: u32,
    /// Sets in use, less one; they are a power of two. 0 before the first packet.
    pub mask: u32,
    /// The same before it changed; for a minute at least flows are looked for there, too.
    pub former: u32,
    /// The minute of that.
    pub changed: u32,
    /// The minute that `flows` is of, [`Room::MINUTE`].
    pub minute: u32,
    /// Flows of which a packet was counted in it.
    pub flows: u32,
    /// Flows in use that were pushed out: whose turn it is.
    pub pushed: u32,
    /// Zero.
    pub reserved: u32,
    /// Of its digests.
    pub secret: Secret,
}

/// Sets that are used at first.
const FIRST_SETS: u32 = 256;
/// What was silent for longer is not in use, in ticks: a minute.
const IN_USE: u32 = (60_000_000_000_u64 >> flow::TICK) as u32;
/// The highest rank of somebody else's flow in use, [`Room::rank`],
const OTHERS_IN_USE: u32 = IN_USE * PLACES + PLACES - 1;
/// and of any.
const IN_USE_RANK: u32 = 2 * OTHERS_IN_USE + 1;
/// It grows when the flows of a minute fill more than one place in so many: then most lie where they are looked for first.
const FULL: u32 = 2;
/// It shrinks when they would fill less than one in so many.
const SPARSE: u32 = 8;
/// A flow is looked at for a better place in one tick of so many, a power of two: to digest the keys in its way takes longer
/// than a verdict.
const MOVES: u32 = 8;

impl Room {
    /// A minute, near enough: 69 seconds, as so many bits of a number of ticks.
    pub const MINUTE: u32 = 36 - flow::TICK;

    /// The room of a CPU that has `sets` in all.
    #[inline(always)]
    pub const fn new(cpu: u32, sets: u32, seed: u64) -> Self {
        let used = if sets < FIRST_SETS { sets } else { FIRST_SETS };
        let mask = used.wrapping_sub(1);
        Self {
            first: cpu.wrapping_mul(sets),
            mask,
            former: mask,
            changed: 0,
            minute: 0,
            flows: 0,
            pushed: 0,
            reserved: 0,
            secret: Secret::of(seed),
        }
    }

    /// The same, all of it used from the beginning: nobody waits for places of denied flows to be near.
    #[inline(always)]
    pub const fn whole(cpu: u32, sets: u32, seed: u64) -> Self {
        let mask = sets.wrapping_sub(1);
        Self { mask, former: mask, ..Self::new(cpu, sets, seed) }
    }

    /// One of the sets that a key may lie in.
    #[inline(always)]
    pub const fn set_of(&self, digest: Digest, choice: usize) -> u32 {
        self.first.wrapping_add((digest.0 >> (32 * choice)) as u32 & self.mask)
    }

    /// Where it may have lain before.
    #[inline(always)]
    pub const fn former_set_of(&self, digest: Digest, choice: usize) -> u32 {
        self.first.wrapping_add((digest.0 >> (32 * choice)) as u32 & self.former)
    }

    /// Whether flows are looked for where they lay before, too.
    #[inline(always)]
    pub const fn has_changed(&self, now: u32) -> bool {
        self.mask != self.former && (now >> Self::MINUTE).wrapping_sub(self.changed) <= 1
    }

    /// Whether nobody looks in this set any more for what has this digest.
    #[inline(always)]
    pub const fn has_lost(&self, set: u32, digest: Digest) -> bool {
        let is_today = set == self.set_of(digest, 0) || set == self.set_of(digest, 1);
        !is_today && set != self.former_set_of(digest, 0) && set != self.former_set_of(digest, 1)
    }

    /// Whether a flow that was silent for so many ticks keeps its place even where another one needs it.
    #[inline(always)]
    pub const fn is_in_use(silence: u32) -> bool {
        silence <= IN_USE
    }

    /// How gladly the place that a key looks at in this turn is given to it: most of all where nothing was ever kept, then
    /// of what is not in use, both the sooner looked at the better; then of what is `mine`, where it matters whose it is; else of
    /// who was silent for longest. Among those of one tick ever another: two that
    /// always pushed out each other would never come to lie apart.
    #[inline(always)]
    pub const fn rank(&self, silence: u32, turn: u32, mine: bool) -> u32 {
        let before = if mine { OTHERS_IN_USE + 1 } else { 0 };
        match silence {
            u32::MAX => u32::MAX - turn,
            ..=IN_USE => before + silence * PLACES + (turn ^ self.pushed) % PLACES,
            _ => u32::MAX - PLACES - turn,
        }
    }

    /// Whether a flow that was last seen then is met for the first time in a minute; both in ticks.
    #[inline(always)]
    pub const fn begins_minute(last_seen: u32, now: u32) -> bool {
        (last_seen ^ now) >> Self::MINUTE != 0
    }

    /// A flow is met for the first time in this minute. `sets` are all that there are.
    #[inline(always)]
    pub const fn count(&mut self, now: u32, sets: u32) {
        let minute = now >> Self::MINUTE;
        if self.minute != minute {
            self.begin(minute);
        }
        self.flows += 1;
        if self.flows > self.places() / FULL && self.mask < sets.wrapping_sub(1) {
            self.change(self.mask << 1 | 1);
        }
    }

    /// With the first flow of a minute it is known what the last one needed.
    #[inline(always)]
    const fn begin(&mut self, minute: u32) {
        let flows = self.flows;
        (self.minute, self.flows) = (minute, 0);
        if self.mask >= FIRST_SETS && flows < self.places() / SPARSE {
            self.change(self.mask >> 1);
        } else if minute.wrapping_sub(self.changed) > 1 {
            self.former = self.mask;
        }
    }

    #[inline(always)]
    const fn change(&mut self, mask: u32) {
        (self.former, self.changed, self.mask) = (self.mask, self.minute, mask);
    }

    /// Places in use.
    #[inline(always)]
    const fn places(&self) -> u32 {
        (self.mask + 1) * WAYS as u32
    }

    /// A place of this rank was given up.
    #[inline(always)]
    pub const fn pushed_out(&mut self, rank: u32) {
        if rank <= IN_USE_RANK {
            self.pushed += 1;
        }
    }
}

/// Sets that each of `cpus` processors gets for `flows` directions in all: a power of two.
pub const fn sets_per_cpu(flows: u32, cpus: u32) -> u32 {
    flows.div_ceil(WAYS as u32 * cpus).next_power_of_two()
}

#[cfg(test)]
mod tests;

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
        for denied in [v4, v6].map(|key| FlowKey { ifindex: 0x8000_0007, ..key }) {
            let kept = Key::<ANY>::new(&denied);
            assert_eq!(kept.flow_key(), denied);
            assert!(kept.is_of(&denied) && !kept.is_of(&FlowKey { ifindex: 7, ..denied }));
        }
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
        let secret = Secret::of(7);
        let digests = |key: &FlowKey| (Digest::of::<V4>(key, &secret), Digest::of::<V6>(key, &secret));
        let (v4, v6) = digests(&base);
        for other in others {
            assert!(v4 != digests(&other).0 && v6 != digests(&other).1, "{other:?}");
            assert!(
                !Key::<V4>::new(&base).is_of(&other) && !Key::<V6>::new(&base).is_of(&other),
                "{other:?}"
            );
        }
        assert!(Key::<V4>::new(&base).is_of(&base) && Key::<V6>::new(&base).is_of(&base));
        assert_ne!(v4, Digest::of::<V4>(&base, &Secret::of(8)));
        assert!(v4 != v4.at(7) && v4.at(7) != v4.at(8), "an interface each");
        let of_kept = (Key::<V4>::new(&base).digest(&secret), Key::<V6>::new(&base).digest(&secret));
        assert_eq!(of_kept, (v4, v6), "the same of what is kept");
    }

    /// How unevenly a table of that many sets is filled by flows that differ in one thing: 1 as if they were drawn.
    fn unevenness(digest: impl Fn(u32) -> Digest, choice: usize) -> f64 {
        const SETS: u32 = 4_096;
        const EACH: u32 = 16;
        let room = Room { mask: SETS - 1, ..Room::new(0, SETS, 7) };
        let mut sets = vec![0_u32; SETS as usize];
        for flow in 0..SETS * EACH {
            sets[room.set_of(digest(flow), choice) as usize] += 1;
        }
        let apart: f64 = sets.iter().map(|flows| f64::from(flows.abs_diff(EACH)).powi(2)).sum();
        apart / f64::from(SETS * EACH)
    }

    /// One of the flows that differ in nothing else.
    fn differing_in(what: &str, number: u32) -> FlowKey {
        let v4 = |number: u32| Address::from_v4(number.to_be());
        match what {
            "source" => key(v4(number), v4(9)),
            "destination" => key(v4(9), v4(number)),
            "port" => FlowKey { src_port: (number as u16).to_be(), ..key(v4(8), v4(9)) },
            _ => key(Address([0x20, number.to_be(), 0, 8]), Address([0x20, 0, 0, 9])),
        }
    }

    #[test]
    fn keys_that_are_alike_lie_apart() {
        let secret = Secret::of(7);
        let each =
            ["source", "destination", "port", "prefix"].into_iter().flat_map(|what| [(what, 0), (what, 1)]);
        for (what, choice) in each {
            let flow = |number| differing_in(what, number);
            let v6 = |number| Digest::of::<V6>(&flow(number), &secret);
            let mut all = vec![unevenness(v6, choice), unevenness(|number| v6(number).at(7), choice)];
            if flow(1).src.is_v4() {
                all.push(unevenness(|number| Digest::of::<V4>(&flow(number), &secret), choice));
            }
            // The deviation is √(2 / sets), 0.02.
            assert!(all.iter().all(|unevenness| *unevenness < 1.15), "{what}, choice {choice}: {all:.2?}");
        }
    }

    #[test]
    fn a_key_has_eight_places() {
        let room = Room::new(0, FIRST_SETS, 7);
        let digest = Digest(0x9000_0005_0000_0103);
        assert_eq!([0, 1].map(|choice| room.set_of(digest, choice)), [3, 5], "the halves of the digest");
        let ways = [0, 1].map(|choice| digest.ways(choice).collect::<Vec<_>>());
        assert_eq!(ways, [[1, 0, 3, 2], [2, 3, 0, 1]], "pairs of neighbours");
    }

    #[test]
    fn nobody_looks_where_a_key_lay_before() {
        let digest = Digest(0x0000_0005_0000_0103);
        let lost = |former, mask, set| Room { mask, former, ..Room::new(0, 1, 7) }.has_lost(set, digest);
        assert_eq!([3, 5, 0x103].map(|set| lost(0xff, 0xff, set)), [false, false, true]);
        assert_eq!([3, 5, 0x103].map(|set| lost(0x1ff, 0x1ff, set)), [true, false, false]);
        assert_eq!([3, 5, 0x103].map(|set| lost(0xff, 0x1ff, set)), [false; 3], "for a while");
        let ticks = (0..4 * MOVES).filter(|tick| digest.may_move(*tick)).count();
        assert_eq!(ticks, 4, "in one tick of {MOVES}");
    }

    #[test]
    fn what_is_not_in_use_is_given_up_first() {
        let room = Room::new(0, FIRST_SETS, 7);
        let blank = [0, 7].map(|turn| room.rank(u32::MAX, turn, true));
        let forgotten = [(u32::MAX - 1, 0), (IN_USE + 1, 1), (u32::MAX - 1, 7)];
        let forgotten = forgotten.map(|(silence, turn)| room.rank(silence, turn, false));
        let in_use =
            |mine| [(IN_USE, 3), (1, 0), (0, 5)].map(|(silence, turn)| room.rank(silence, turn, mine));
        let (mine, in_use) = (in_use(true), in_use(false));
        let ranks = [&blank[..], &forgotten, &mine, &in_use].concat();
        assert!(ranks.is_sorted_by(|one, next| one > next), "{ranks:?}");
        assert!(forgotten[2] > IN_USE_RANK && mine[0] <= IN_USE_RANK, "{ranks:?}");
        let of_one_tick = |room: Room| (0..PLACES).max_by_key(|turn| room.rank(9, *turn, false));
        let after = (0..PLACES).map(|pushed| of_one_tick(Room { pushed, ..room }));
        let after: std::collections::BTreeSet<_> = after.collect();
        assert_eq!(after.len(), PLACES as usize, "each in its turn");
    }

    /// What a CPU does with the packets of flows; how many of the last round it did not know.
    fn unknown(flows: u64, sets: u32) -> usize {
        let mut room = Room { mask: sets - 1, ..Room::new(0, sets, 7) };
        let mut table = vec![[(u64::MAX, 0_u32); WAYS]; sets as usize];
        let mut unknown = 0;
        for packet in 0..20 * flows {
            let (flow, now) = (packet % flows, (packet / flows) as u32);
            let digest = Digest(mix(mix(flow)));
            let places = || (0..CHOICES).flat_map(|choice| digest.ways(choice).map(move |way| (choice, way)));
            let at = |(choice, way)| (room.set_of(digest, choice) as usize, way);
            if packet % flows == 0 {
                unknown = 0;
            }
            if let Some((set, way)) = places().map(at).find(|(set, way)| table[*set][*way].0 == flow) {
                table[set][way].1 = now;
                continue;
            }
            unknown += 1;
            let rank = |(turn, place)| {
                let (set, way) = at(place);
                let (kept, seen) = table[set][way];
                room.rank(if kept == u64::MAX { u32::MAX } else { now - seen }, turn, false)
            };
            let (_, place) = (0..).zip(places()).max_by_key(|place| rank(*place)).expect("there are places");
            let (set, way) = at(place);
            let rank = rank((0..).zip(places()).find(|(_, other)| *other == place).expect("one of them"));
            table[set][way] = (flow, now);
            room.pushed_out(rank);
        }
        unknown
    }

    #[test]
    fn flows_that_push_each_other_out_come_to_lie_apart() {
        let sets = 1024;
        for (percent, tolerated) in [(50, 0), (80, 30), (90, 100)] {
            let flows = u64::from(sets) * WAYS as u64 * percent / 100;
            let unknown = unknown(flows, sets);
            assert!(unknown <= tolerated, "{unknown} of {flows} flows are not known, {percent} % full");
        }
    }

    #[test]
    fn a_room_grows_when_half_of_it_is_used() {
        let sets = 4 * FIRST_SETS;
        let mut room = Room::new(3, sets, 7);
        assert_eq!((room.first, room.mask, room.secret), (12 * FIRST_SETS, FIRST_SETS - 1, Secret::of(7)));
        let half = FIRST_SETS * WAYS as u32 / 2;
        let mut used_with = |flows: u32| {
            (0..flows).for_each(|_| room.count(9 << Room::MINUTE, sets));
            assert!(room.set_of(Digest(u64::MAX), 0) < 16 * FIRST_SETS);
            (room.mask + 1) / FIRST_SETS
        };
        assert_eq!([half, 1, half - 1, 1].map(&mut used_with), [1, 2, 2, 4]);
        assert_eq!(used_with(2 * sets * WAYS as u32), 4, "that is all there is");
        assert_eq!((room.former, room.changed), (2 * FIRST_SETS - 1, 9));
        assert_eq!(Room::new(0, 2, 7).mask, 1, "there are fewer than it would use");
    }

    /// Meets so many flows in each of these minutes; how many sets are in use behind each first one.
    fn minutes(room: &mut Room, flows: u32, minutes: core::ops::Range<u32>) -> Vec<u32> {
        let mut sets = Vec::new();
        for minute in minutes {
            let now = minute << Room::MINUTE;
            for flow in 0..flows {
                room.count(now + flow, room.mask + 1);
                if flow == 0 {
                    sets.push(room.mask + 1);
                }
            }
        }
        sets
    }

    #[test]
    fn what_few_flows_do_not_need_is_given_up_by_halves() {
        let places = FIRST_SETS * WAYS as u32;
        let mut room = Room { mask: 8 * FIRST_SETS - 1, minute: 8, flows: places, ..Room::new(0, places, 7) };
        let sets = |halves: [u32; 4]| halves.map(|of| of * FIRST_SETS);
        assert_eq!(minutes(&mut room, places, 9..13), sets([8, 8, 8, 8]), "an eighth of the places are used");
        assert_eq!(minutes(&mut room, places - 1, 13..17), sets([8, 4, 4, 4]), "a quarter of what is left");
        assert_eq!(minutes(&mut room, 1, 17..21), sets([4, 2, 1, 1]), "as at first");
        let mut room = Room { mask: 4 * FIRST_SETS - 1, minute: 8, ..Room::new(0, places, 7) };
        let mut former = |minute: u32| {
            room.count(minute << Room::MINUTE, u32::MAX);
            [room.former, room.mask].map(|mask| (mask + 1) / FIRST_SETS)
        };
        assert_eq!(
            [9, 10, 11, 12].map(&mut former),
            [[4, 2], [2, 1], [2, 1], [1, 1]],
            "looked for there for a minute more"
        );
        let small = &mut Room { minute: 8, ..Room::new(0, 1, 7) };
        assert_eq!(minutes(small, 1, 9..12), [1, 1, 1], "and no fewer");
        let whole = &mut Room { minute: u32::MAX >> Room::MINUTE, mask: 1_023, ..Room::new(0, places, 7) };
        assert!(Room::begins_minute(u32::MAX, 0) && !Room::begins_minute(0, 1));
        whole.count(0, u32::MAX);
        assert_eq!((whole.minute, whole.mask), (0, 511), "where ticks begin anew");
    }

    #[test]
    fn processors_share_what_there_is() {
        assert_eq!(sets_per_cpu(262_144, 2), 32_768);
        assert_eq!(sets_per_cpu(1, 64), 1);
        assert_eq!(sets_per_cpu(100_000, 3), 16_384, "rounded up");
    }
}

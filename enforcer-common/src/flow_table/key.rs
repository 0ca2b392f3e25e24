//! Keys of flows as they are kept, and where each may lie.

use bytemuck::{Pod, Zeroable};

use super::WAYS;
use crate::{address::Address, flow::FlowKey, state::mix};

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
/// A flow is looked at for a better place in one tick of so many, a power of two: to digest the keys in its way takes longer
/// than a verdict.
pub(super) const MOVES: u32 = 8;

/// Where a key may lie. Keyed: which keys meet in one set is not known to who does not know the secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest(pub(super) u64);

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

    /// Its part for a choice.
    #[inline(always)]
    pub(super) const fn half(self, choice: usize) -> u32 {
        (self.0 >> (32 * choice)) as u32
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

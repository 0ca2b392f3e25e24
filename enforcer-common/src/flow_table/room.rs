//! How much of its part of a table a CPU uses, and who gives up a place there.

use bytemuck::{Pod, Zeroable};

use super::{
    PLACES, WAYS,
    key::{Digest, Secret},
};
use crate::flow;

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
pub(super) const FIRST_SETS: u32 = 256;
/// What was silent for longer is not in use, in ticks: a minute.
pub(super) const IN_USE: u32 = (60_000_000_000_u64 >> flow::TICK) as u32;
/// The highest rank of somebody else's flow in use, [`Room::rank`],
const OTHERS_IN_USE: u32 = IN_USE * PLACES + PLACES - 1;
/// and of any.
pub(super) const IN_USE_RANK: u32 = 2 * OTHERS_IN_USE + 1;
/// It grows when the flows of a minute fill more than one place in so many: then most lie where they are looked for first.
const FULL: u32 = 2;
/// It shrinks when they would fill less than one in so many.
const SPARSE: u32 = 8;

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
        self.first.wrapping_add(digest.half(choice) & self.mask)
    }

    /// Where it may have lain before.
    #[inline(always)]
    pub const fn former_set_of(&self, digest: Digest, choice: usize) -> u32 {
        self.first.wrapping_add(digest.half(choice) & self.former)
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

//! Constants that the loader sets. They lie in frozen read-only data, so the verifier removes every
//! branch that they rule out.

use aya_ebpf::Global;

/// What a constant is before the loader sets it: like no other in the program. LLVM keeps one copy of equal constants,
/// and where one of them is of these, setting it changes the others.
const UNSET: u32 = 0x5e7b_7ade;

/// Bits of `skb->mark` that carry the stamp.
#[unsafe(no_mangle)]
static MARK_MASK: Global<u32> = Global::new(UNSET);

/// Nanoseconds of a tick of the kernel's timer; 0 where its ticks are no clock.
#[unsafe(no_mangle)]
static TICK: Global<u32> = Global::new(UNSET);

/// `CLOCK_MONOTONIC` when the kernel had counted no tick, in nanoseconds; what is before its zero wraps.
#[unsafe(no_mangle)]
static TICKS_FROM: Global<u64> = Global::new(UNSET as u64);

/// Whether flows and prefixes lie in the kernel's own kinds of table, `FLOWS` and `MEMBERSHIPS`, and not in ours.
#[unsafe(no_mangle)]
static KERNEL_TABLES: Global<u32> = Global::new(UNSET);

/// Sets of `FLOWS4`, and of `FLOWS6`, that belong to one CPU; a power of two.
#[unsafe(no_mangle)]
static FLOW_SETS: Global<u32> = Global::new(UNSET);

/// Sets of `DENIED_SETS` that belong to one CPU; a power of two.
#[unsafe(no_mangle)]
static DENIED_SETS_PER_CPU: Global<u32> = Global::new(UNSET);

/// Sets of `STATE`; a power of two.
#[unsafe(no_mangle)]
static STATE_SETS: Global<u32> = Global::new(UNSET);

/// Whether the kernel measures what a packet is to be cut into (5.12).
#[unsafe(no_mangle)]
static MEASURES_PIECES: Global<u32> = Global::new(UNSET);

#[inline(always)]
pub fn mark_mask() -> u32 {
    MARK_MASK.load()
}

#[inline(always)]
pub fn tick() -> u64 {
    u64::from(TICK.load())
}

#[inline(always)]
pub fn ticks_from() -> u64 {
    TICKS_FROM.load()
}

#[inline(always)]
pub fn kernel_tables() -> bool {
    KERNEL_TABLES.load() != 0
}

#[inline(always)]
pub fn flow_sets() -> u32 {
    FLOW_SETS.load()
}

#[inline(always)]
pub fn denied_sets() -> u32 {
    DENIED_SETS_PER_CPU.load()
}

#[inline(always)]
pub fn state_sets() -> u32 {
    STATE_SETS.load()
}

#[inline(always)]
pub fn measures_pieces() -> bool {
    MEASURES_PIECES.load() != 0
}

//! Constants that the loader sets. They lie in frozen read-only data, so the verifier removes every
//! branch that they rule out.

use aya_ebpf::Global;

/// What a constant is before the loader sets it: like no other in the program. LLVM keeps one copy of equal constants,
/// and where one of them is of these, setting it changes the others.
const UNSET: u32 = 0x5e7b_7ade;

/// Bits of `skb->mark` that carry the stamp.
#[unsafe(no_mangle)]
static MARK_MASK: Global<u32> = Global::new(UNSET);

/// Whether `bpf_ktime_get_coarse_ns` exists (kernel 5.11).
#[unsafe(no_mangle)]
static COARSE_CLOCK: Global<u32> = Global::new(UNSET);

/// Whether flows and prefixes lie in the kernel's own kinds of table, `FLOWS` and `MEMBERSHIPS`, and not in ours.
#[unsafe(no_mangle)]
static KERNEL_TABLES: Global<u32> = Global::new(UNSET);

/// Sets of `FLOWS4`, and of `FLOWS6`, that belong to one CPU; a power of two.
#[unsafe(no_mangle)]
static FLOW_SETS: Global<u32> = Global::new(UNSET);

#[inline(always)]
pub fn mark_mask() -> u32 {
    MARK_MASK.load()
}

#[inline(always)]
pub fn has_coarse_clock() -> bool {
    COARSE_CLOCK.load() != 0
}

#[inline(always)]
pub fn kernel_tables() -> bool {
    KERNEL_TABLES.load() != 0
}

#[inline(always)]
pub fn flow_sets() -> u32 {
    FLOW_SETS.load()
}

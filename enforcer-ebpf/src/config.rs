//! Constants that the loader sets. They lie in frozen read-only data, so the verifier removes every
//! branch that they rule out.

use aya_ebpf::Global;

/// Bits of `skb->mark` that carry the stamp.
#[unsafe(no_mangle)]
static MARK_MASK: Global<u32> = Global::new(0x0ff0_0000);

/// Whether `bpf_ktime_get_coarse_ns` exists (kernel 5.11).
#[unsafe(no_mangle)]
static COARSE_CLOCK: Global<u32> = Global::new(1);

#[inline(always)]
pub fn mark_mask() -> u32 {
    MARK_MASK.load()
}

#[inline(always)]
pub fn has_coarse_clock() -> bool {
    COARSE_CLOCK.load() != 0
}

//! What this kernel can do: one function per feature, and what to fall back to.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
    util::KernelVersion,
};

/// The oldest kernel that the datapath is written for.
pub const FLOOR: KernelVersion = KernelVersion::new(5, 10, 0);

/// The running kernel's version; a kernel that hides it counts as the floor.
pub fn kernel() -> KernelVersion {
    KernelVersion::current().unwrap_or(FLOOR)
}

/// Links for tc programs (6.6): several programs in a fixed order, pinned, replaced atomically. Without
/// them programs are attached through a clsact qdisc.
pub fn tcx() -> bool {
    kernel() >= KernelVersion::new(6, 6, 0)
}

/// A clock read at tick resolution (5.11), cheaper than the exact one.
pub fn coarse_clock() -> bool {
    // BPF_FUNC_ktime_get_coarse_ns
    is_helper_supported(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns)
        .unwrap_or(false)
}

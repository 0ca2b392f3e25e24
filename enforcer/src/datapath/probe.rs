//! What this kernel can do: one function per feature, answered by the kernel itself and asked once. Distributions
//! bring features to old releases and leave them out of new ones, so a version tells only what is too old for all.

use std::{ffi::OsStr, path::Path, sync::LazyLock};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LPM_TRIE;
use nix::{
    sys::{
        time::TimeValLike as _,
        utsname::{UtsName, uname},
    },
    time::{ClockId, clock_getres},
};

use super::bpf::{self, MapShape, TcxHook};

/// The oldest kernel that the datapath is written for, major and minor number.
pub const FLOOR: (u32, u32) = (5, 10);

/// The running kernel's release, as `uname -r` has it; empty when it does not tell.
pub fn release() -> String {
    told(UtsName::release)
}

/// How the running kernel was built, as `uname -v` has it; empty when it does not tell.
pub fn build() -> String {
    told(UtsName::version)
}

fn told(part: impl Fn(&UtsName) -> &OsStr) -> String {
    uname().map(|name| part(&name).to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a kernel built so is one for real time: there a program may be interrupted by another one on its CPU, and what a
/// CPU remembers of a packet is another packet's (Linux 6.18, and wherever that came earlier). Before 5.16 it is two words.
pub fn is_realtime(build: &str) -> bool {
    ["PREEMPT_RT", "PREEMPT RT"].iter().any(|words| build.contains(words))
}

/// Whether a kernel of this release is older than the [`FLOOR`]. Of one without a number nothing is known: loading
/// tells.
pub fn is_below_floor(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) < FLOOR
}

/// Links for tc programs (6.6): several programs in a fixed order, pinned, replaced atomically. Without
/// them programs are attached through a clsact qdisc.
pub fn tcx() -> bool {
    /// Every network namespace has its loopback interface there.
    const LOOPBACK: u32 = 1;
    // A kernel without tcx takes the question itself for invalid, whatever the interface.
    static THERE: LazyLock<bool> = LazyLock::new(|| match bpf::tcx_programs(LOOPBACK, TcxHook::Ingress) {
        Ok(_) => true,
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOSPC)),
    });
    *THERE
}

/// The ticks of the kernel's timer as a clock. By default they are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticks {
    /// Nanoseconds of one; 0 of none.
    pub length: u32,
    /// `CLOCK_MONOTONIC` when none had been counted, in nanoseconds; what is before its zero wraps. With it the ticks are
    /// behind that clock: by less than two of them, and more while the processor that counts them is held up.
    pub from: u64,
}

/// Whether the ticks keep pace with the clock: a timer of high resolution makes up for those that were late, any other
/// loses them. Reading how many there were is cheaper than asking for the time.
pub fn ticks() -> Option<Ticks> {
    /// Whoever is held up between a tick and the look at it measures too much, and never too little.
    const MEASURED: usize = 16;
    static THERE: LazyLock<Option<Ticks>> = LazyLock::new(|| {
        let resolution = |clock| clock_getres(clock).ok().map(|time| time.num_nanoseconds());
        if resolution(ClockId::CLOCK_MONOTONIC)? != 1 {
            return None;
        }
        let length = u32::try_from(resolution(ClockId::CLOCK_MONOTONIC_COARSE)?).ok()?;
        let measured = (0..MEASURED).map(|_| {
            let [ticks, now] = bpf::ticks_and_time().ok()?;
            Some(now.wrapping_sub(ticks.wrapping_add(1).wrapping_mul(length.into())) as i64)
        });
        let from = measured.collect::<Option<Vec<i64>>>()?.into_iter().min()? as u64;
        Some(Ticks { length, from })
    });
    *THERE
}

/// Tables counted for the control group of who makes them (5.11), not as memory that a process may lock. Nothing
/// shows it; it came with a clock of tick resolution, by which libbpf tells it, too.
pub fn counted_memory() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| has_function(BpfHelper::BPF_FUNC_ktime_get_coarse_ns));
    *THERE
}

/// A measure of what a packet is to be cut into (5.12), as the host's stack takes it (`bpf_check_mtu`).
pub fn measured_pieces() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| has_function(BpfHelper::BPF_FUNC_check_mtu));
    *THERE
}

/// Whether a tc program may call it.
fn has_function(function: BpfHelper) -> bool {
    is_helper_supported(ProgramType::SchedClassifier, function).unwrap_or(false)
}

/// Many entries of a prefix table written with one call (5.12). Without it they are written one by one, into tables
/// that nobody reads yet.
pub fn prefix_batches() -> bool {
    /// `BPF_F_NO_PREALLOC`, which the kernel demands of a trie.
    const NO_PREALLOC: u32 = 1;
    static THERE: LazyLock<bool> = LazyLock::new(|| {
        let kind = BPF_MAP_TYPE_LPM_TRIE as u32;
        let shape = MapShape { kind, key: 8, value: 4, entries: 1, flags: NO_PREALLOC };
        bpf::create_map("probe", shape, None).and_then(bpf::update_nothing).is_ok()
    });
    *THERE
}

/// The kernel's own types. Nothing here needs them: the programs read packets and tables, and no structure of the
/// kernel whose layout changes.
pub fn kernel_types() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_clock_and_are_never_ahead() {
        let Some(Ticks { length, from }) = ticks() else {
            panic!("this machine has a timer of low resolution")
        };
        for _ in 0..1000 {
            let [ticks, now] = bpf::ticks_and_time().expect("it was just possible");
            let behind = now.wrapping_sub(ticks.wrapping_mul(length.into()).wrapping_add(from)) as i64;
            // A processor that others share may get its ticks late.
            assert!(
                (0..10 * i64::from(length)).contains(&behind),
                "{behind} ns behind, a tick is {length} ns"
            );
        }
    }

    #[test]
    fn a_release_below_the_floor_is_told_by_its_numbers() {
        for release in ["2.6.78", "4.19.0-26-amd64", "5.4.0", "5.4.0-150-generic", "5.9.99", "5.9"] {
            assert!(is_below_floor(release), "{release}");
        }
        for release in ["5.10", "5.10.0", "5.10.0-34-cloud-amd64", "6.1", "6.12.1-foo", "10.0.0-rc1"] {
            assert!(!is_below_floor(release), "{release}");
        }
    }

    #[test]
    fn a_kernel_for_real_time_tells_so_by_how_it_was_built() {
        for build in ["#1 SMP PREEMPT_RT Debian 6.12.57-1", "#1 SMP PREEMPT RT Debian 5.10.223-1"] {
            assert!(is_realtime(build), "{build}");
        }
        for build in ["#1 SMP PREEMPT_DYNAMIC Debian 6.12.57-1", "#1 SMP PREEMPT Mon Jan 1 ART 2026", ""] {
            assert!(!is_realtime(build), "{build}");
        }
    }

    #[test]
    fn a_release_without_numbers_tells_nothing() {
        for release in ["", "linux", "5", "x.5.4", ".5.4", "5.x", "99999999999.1"] {
            assert!(!is_below_floor(release), "{release}");
        }
    }
}

//! Who works where: each processor has flow tables of its own, and caches.

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// Where a benchmark sends and forwards.
pub const SENDER: usize = 0;
/// Where a benchmark receives, and daemons work: threads and processes stay where the one was that started them.
pub const OTHERS: usize = 1;

/// Those where the calling thread may work; at least one.
pub fn ours() -> Vec<usize> {
    let ours = sched_getaffinity(Pid::from_raw(0)).expect("a thread has processors");
    (0..CpuSet::count()).filter(|processor| ours.is_set(*processor) == Ok(true)).collect()
}

/// Lets the calling thread work wherever it may, whatever it was told before; two of these processors, or the one that
/// there is twice.
pub fn roam() -> [usize; 2] {
    let mut all = CpuSet::new();
    (0..CpuSet::count()).for_each(|processor| all.set(processor).expect("a processor has a small number"));
    sched_setaffinity(Pid::from_raw(0), &all).expect("a thread may work somewhere");
    let ours = ours();
    [ours[0], ours[1 % ours.len()]]
}

/// Keeps the calling thread, and those that it starts from now on, on one processor.
pub fn stay_on(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor).expect("a processor has a small number");
    sched_setaffinity(Pid::from_raw(0), &only)
        .unwrap_or_else(|error| panic!("this machine has no processor {processor} for us: {error}"));
}

/// Keeps the calling thread on the processor where it is.
pub fn stay_here() {
    stay_on(sched_getcpu().expect("a thread is on some processor"));
}

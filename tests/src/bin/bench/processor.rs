//! Who works where: of two processors, one sends and forwards, and everybody else has the other.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Of who sends.
pub const SENDER: usize = 0;
/// Of who receives, and of daemons: threads and processes stay where the one was that started them.
pub const OTHERS: usize = 1;

/// Keeps the calling thread, and those that it starts from now on, on one processor.
pub fn stay_on(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor).expect("a processor has a small number");
    sched_setaffinity(Pid::from_raw(0), &only).expect("the benchmark needs two processors");
}

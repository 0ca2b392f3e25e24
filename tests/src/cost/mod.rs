//! What a packet costs, by `BPF_PROG_TEST_RUN`: a [`Scenario`] is a packet at a hook, measured under a [`Law`].
//!
//! The benchmark takes nanoseconds, which are noise on a shared machine. A virtual machine that counts instructions
//! instead of time takes exact figures, which a test can hold.

mod law;
mod scenario;

pub use law::{Law, NETWORKS};
pub use scenario::{Effort, SCENARIOS, Scenario, lab};

//! `cargo xtask bench`: what enforcement costs. Three parts: nanoseconds per packet of each program, by
//! `BPF_PROG_TEST_RUN`; how long a very large policy takes from the command line to the kernel; and the
//! daemon's memory.
//!
//! Two cores that others share make noise: compare only figures of one run.

mod memory;
mod packets;
mod policies;
mod scale;
mod scenario;

use clap::{Parser, ValueEnum};

#[derive(Parser)]
#[command(about = "Measures enforcer; needs root")]
struct Arguments {
    /// What to measure; everything unless given
    part: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Verified instructions, and nanoseconds per packet, with few rules and with many
    Packets,
    /// Ten thousand networks with a hundred thousand prefixes
    Scale,
    /// What the daemon holds with these and a thousand workloads
    Memory,
}

fn main() {
    let Arguments { part } = Arguments::parse();
    let is_asked_for = |this| part.is_none_or(|part| part == this);
    if is_asked_for(Part::Packets) {
        packets::measure();
    }
    if is_asked_for(Part::Scale) {
        scale::measure();
    }
    if is_asked_for(Part::Memory) {
        memory::measure();
    }
}

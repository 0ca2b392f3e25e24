//! `cargo xtask bench`: what enforcement costs. Four parts: nanoseconds per packet of each program, by
//! `BPF_PROG_TEST_RUN`; how long a very large policy takes from the command line to the kernel; how long a new
//! workload waits for its first packet; and the daemon's memory.
//!
//! Two cores that others share make noise: compare only figures of one run.

mod memory;
mod packets;
mod ready;
mod scale;

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
    /// From a workload's link to its first packet, alone and among many
    Ready,
    /// What the daemon holds with these and a thousand workloads
    Memory,
}

fn main() {
    let Arguments { part } = Arguments::parse();
    let parts: [(Part, fn()); 4] = [
        (Part::Packets, packets::measure),
        (Part::Scale, scale::measure),
        (Part::Ready, ready::measure),
        (Part::Memory, memory::measure),
    ];
    for (_, measure) in parts.into_iter().filter(|(other, _)| part.is_none_or(|part| part == *other)) {
        measure();
    }
}

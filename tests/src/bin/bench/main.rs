//! `cargo xtask bench`: what enforcement costs. Three parts: nanoseconds per packet of each program, by
//! `BPF_PROG_TEST_RUN`; how long a very large policy takes from the command line to the kernel; and how long
//! a new workload waits for its first packet.
//!
//! Two cores that others share make noise: compare only figures of one run.

mod packets;
mod policies;
mod ready;
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
    /// From a workload's link to its first packet, alone and among many
    Ready,
}

fn main() {
    let Arguments { part } = Arguments::parse();
    let parts: [(Part, fn()); 3] =
        [(Part::Packets, packets::measure), (Part::Scale, scale::measure), (Part::Ready, ready::measure)];
    for (_, measure) in parts.into_iter().filter(|(other, _)| part.is_none_or(|part| part == *other)) {
        measure();
    }
}

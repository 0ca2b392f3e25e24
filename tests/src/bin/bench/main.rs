//! `cargo xtask bench`: what enforcement costs. Two parts: nanoseconds per packet of each program, by
//! `BPF_PROG_TEST_RUN`, and how long a very large policy takes from the command line to the kernel.
//!
//! Two cores that others share make noise: compare only figures of one run.

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
}

fn main() {
    let Arguments { part } = Arguments::parse();
    if part != Some(Part::Scale) {
        packets::measure();
    }
    if part != Some(Part::Packets) {
        scale::measure();
    }
}

//! `cargo xtask bench`: what enforcement costs. Seven parts: what forwarding costs, from workload to workload, beside what
//! other ways of doing it cost; what becomes of TCP; nanoseconds per packet of each program, by `BPF_PROG_TEST_RUN`; one
//! look for an address among few prefixes and among very many; how long a very large policy takes from the command line to the kernel; how long a new workload waits for its first packet;
//! and the daemon's memory.
//!
//! Two cores that others share make noise: compare only figures of one run.

mod draw;
mod forward;
mod ladder;
mod memory;
mod packets;
mod paper;
mod prefixes;
mod processor;
mod ready;
mod results;
mod rounds;
mod scale;
mod statistics;
mod tcp;

use std::thread;

use clap::{Parser, ValueEnum};
use results::Results;

#[derive(Parser)]
#[command(about = "Measures enforcer; needs root")]
struct Arguments {
    /// What to measure; everything unless given
    part: Option<Part>,
    /// Less of everything, to see that it works
    #[arg(long)]
    quick: bool,
}

/// How much of everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// To see that it works.
    Quick,
    /// For figures that mean something.
    Full,
}

impl Thoroughness {
    /// Whether it takes as long as it takes.
    pub fn is_full(self) -> bool {
        self == Self::Full
    }

    /// So many, or a few of them.
    pub const fn of(self, many: usize) -> usize {
        match self {
            Self::Quick => many.div_ceil(10),
            Self::Full => many,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From workload to workload, beside bridges, iptables and nftables
    Forward,
    /// A stream, requests and connections of TCP, beside plain routing and iptables
    Tcp,
    /// Verified instructions, and nanoseconds per packet, with few rules and with many
    Packets,
    /// One look for an address among few prefixes and among a million
    Prefixes,
    /// Ten thousand networks with a hundred thousand prefixes
    Scale,
    /// From a workload's link to its first packet, alone and among many
    Ready,
    /// What the daemon holds with these and a thousand workloads
    Memory,
}

/// Measures a part, and adds what can be compared to the results.
type Measure = fn(Thoroughness, &mut Results);

fn main() -> std::io::Result<()> {
    let Arguments { part, quick } = Arguments::parse();
    let thoroughness = if quick { Thoroughness::Quick } else { Thoroughness::Full };
    let mut results = Results::of_this_machine();
    let wanted = |other| part.is_none_or(|part| part == other);
    let parts: [(Part, Measure); 7] = [
        (Part::Forward, forward::measure),
        (Part::Tcp, tcp::measure),
        (Part::Packets, packets::measure),
        (Part::Prefixes, prefixes::measure),
        (Part::Scale, scale::measure),
        (Part::Ready, ready::measure),
        (Part::Memory, memory::measure),
    ];
    for (_, measure) in parts.into_iter().filter(|(part, _)| wanted(*part)) {
        // It stays on one processor, and what the next one starts must not.
        thread::scope(|scope| scope.spawn(|| measure(thoroughness, &mut results)).join())
            .expect("it told why");
        results.write()?;
    }
    results.finish(part.is_none() && !quick)
}

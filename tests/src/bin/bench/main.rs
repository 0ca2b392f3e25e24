//! `cargo xtask bench`: what enforcement costs. Its parts: what forwarding costs, from workload to workload, beside what
//! other ways of doing it cost, and what it costs between a workload and the outside; what becomes of TCP, by our own
//! sockets and by what others' programs say; what a flood of denied packets costs; nanoseconds per packet of each program,
//! by `BPF_PROG_TEST_RUN`; a verdict with few flows, networks and rules and with very many; one look for an address among
//! few prefixes and among very many; how long a change of policy takes, and a very large one; how long a new workload waits
//! for its first packet; memory; how long it takes to read all flows; and what the daemon takes at rest.
//!
//! Two cores that others share make noise: compare only figures of one run.

mod contest;
mod crowd;
mod draw;
mod flood;
mod forward;
mod judge;
mod judges;
mod ladder;
mod memory;
mod packets;
mod pair;
mod paper;
mod plots;
mod prefixes;
mod readout;
mod ready;
mod rest;
mod results;
mod rounds;
mod scale;
mod statistics;
mod tcp;
mod turns;
mod update;

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use results::Results;

#[derive(Parser)]
#[command(about = "Measures enforcer; needs root")]
struct Arguments {
    /// What to measure; everything unless given
    part: Option<Part>,
    /// Less of everything, to see that it works: two minutes
    #[arg(long)]
    quick: bool,
    /// Only what forwarding costs, and beside what it costs by another `enforcer`; no paper is written
    #[arg(long, value_name = "BINARY", conflicts_with = "part")]
    beside: Option<PathBuf>,
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
            Self::Quick => many.div_ceil(20),
            Self::Full => many,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From workload to workload, beside bridges, iptables and nftables
    Forward,
    /// From a workload to a machine beyond an uplink, and from there to a workload
    Outside,
    /// Streams, requests and connections of TCP, beside plain routing and iptables
    Tcp,
    /// What iperf3, sockperf and trafgen say of it
    Judges,
    /// Denied packets dropped, by a guard, xdp-filter, iptables and nftables
    Flood,
    /// Verified instructions, and nanoseconds per packet, with few rules and with many
    Packets,
    /// A verdict, with few flows, networks and rules and with very many
    Judge,
    /// One look for an address among few prefixes and among a million
    Prefixes,
    /// Ten thousand networks with a hundred thousand prefixes
    Scale,
    /// From an order at the daemon's socket to the first packet that passes for it
    Update,
    /// From a workload's link to its first packet, alone and among many
    Ready,
    /// What the daemon holds with these and a thousand workloads
    Memory,
    /// How long it takes to read all flows, of one and of a million
    Readout,
    /// What the daemon takes while nothing happens
    Rest,
}

/// Measures a part, and adds what can be compared to the results.
type Measure = fn(Thoroughness, &mut Results);

fn main() -> io::Result<()> {
    let (start, arguments) = (Instant::now(), Arguments::parse());
    let thoroughness = if arguments.quick { Thoroughness::Quick } else { Thoroughness::Full };
    run(arguments, thoroughness)?;
    println!("\nin {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn run(Arguments { part, beside, .. }: Arguments, thoroughness: Thoroughness) -> io::Result<()> {
    let mut results = Results::of_this_machine(thoroughness);
    if let Some(other) = beside {
        forward::compare(other.leak(), thoroughness, &mut results);
        return Ok(());
    }
    let wanted = |other| part.is_none_or(|part| part == other);
    let parts: [(Part, Measure); 14] = [
        (Part::Forward, forward::measure),
        (Part::Outside, forward::measure_outside),
        (Part::Tcp, tcp::measure),
        (Part::Judges, judges::measure),
        (Part::Flood, flood::measure),
        (Part::Packets, packets::measure),
        (Part::Judge, judge::measure),
        (Part::Prefixes, prefixes::measure),
        (Part::Scale, scale::measure),
        (Part::Update, update::measure),
        (Part::Ready, ready::measure),
        (Part::Memory, memory::measure),
        (Part::Readout, readout::measure),
        (Part::Rest, rest::measure),
    ];
    let all = parts.len();
    for (part, measure) in parts.into_iter().filter(|(part, _)| wanted(*part)) {
        results.begin(part.to_possible_value().expect("none is left out").get_name());
        // It stays on one processor, and what the next one starts must not.
        thread::scope(|scope| scope.spawn(|| measure(thoroughness, &mut results)).join())
            .expect("it told why");
        results.write(thoroughness)?;
    }
    results.finish(all, thoroughness)
}

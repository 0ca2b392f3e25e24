//! What programs that others have written say of the way between two workloads: iperf3 of TCP's throughput, sockperf of
//! its latency, trafgen of packets that arrive.

mod iperf;
mod server;
mod sockperf;
mod trafgen;

use std::thread;
use std::time::Duration;

use anyhow::Result;
use enforcer_tests::packet::Family;
use enforcer_tests::processor;

use crate::Thoroughness;
use crate::contest::{self, Figure, Task};
use crate::ladder::Rung;
use crate::pair::Pair;
use crate::results::{Results, Unit};
use server::Server;

const RUNGS: [Rung; 3] = [Rung::Routing, Rung::IptablesLegacy(10), Rung::Enforcer(2)];
const QUICK_RUNGS: [Rung; 2] = [Rung::Routing, Rung::Enforcer(2)];
/// Each program takes seconds to tell.
const ROUNDS: usize = 8;
/// Before a second attempt.
const PAUSE: Duration = Duration::from_secs(1);

const ONE_STREAM: Task = Task {
    figures: &[Figure { what: "iperf3, one stream", unit: Unit::GigabitsPerSecond, goal: None }],
    measure: iperf::stream,
};
const EIGHT_STREAMS: Task = Task {
    figures: &[Figure { what: "iperf3, eight streams", unit: Unit::GigabitsPerSecond, goal: None }],
    measure: iperf::streams,
};
const LATENCY: Task = Task {
    figures: &[
        Figure { what: "sockperf, half of all responses within", unit: Unit::Microseconds, goal: None },
        Figure { what: "sockperf, 99 of 100 responses within", unit: Unit::Microseconds, goal: None },
    ],
    measure: sockperf::latency,
};
const PACKETS: Task = Task {
    figures: &[Figure { what: "trafgen, packets that arrive", unit: Unit::PerSecond, goal: None }],
    measure: trafgen::arrivals,
};

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\njudges: what programs of others say of two workloads, and times plain routing");
    processor::stay_on(processor::OTHERS);
    let rungs = if thoroughness.is_full() { &RUNGS[..] } else { &QUICK_RUNGS };
    let pairs: Vec<Pair> = rungs
        .iter()
        .enumerate()
        .map(|(number, rung)| Pair::stand(&format!("judges{number}"), *rung))
        .collect();
    let _servers: Vec<[Server; 2]> =
        pairs.iter().map(|pair| [iperf::serve(pair), sockperf::serve(pair)]).collect();
    processor::stay_on(processor::SENDER);
    for (task, family) in tasks(thoroughness) {
        contest::hold("judges", &pairs, (task, family), thoroughness.of(ROUNDS), results);
    }
}

/// What a program tells, at the second attempt if the first one fails: a server may close its port for a moment after each
/// client, and on a noisy machine a second may pass without an answer.
fn told<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    ask().or_else(|error| {
        println!("    once more: {error:#}");
        thread::sleep(PAUSE);
        ask()
    })
}

/// A quick run hears each of them once.
fn tasks(thoroughness: Thoroughness) -> Vec<(&'static Task, Family)> {
    let (v4, v6) = (Family::V4, Family::V6);
    if !thoroughness.is_full() {
        return vec![(&ONE_STREAM, v6), (&LATENCY, v4), (&PACKETS, v6)];
    }
    let mut tasks: Vec<_> = Family::BOTH
        .into_iter()
        .flat_map(|family| [&ONE_STREAM, &EIGHT_STREAMS, &PACKETS].map(|task| (task, family)))
        .collect();
    // Debian 12's knows IPv4 alone.
    tasks.push((&LATENCY, v4));
    tasks
}

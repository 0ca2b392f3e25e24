//! What TCP between two workloads makes of a host: bytes of one stream and of eight, questions and answers, and new
//! connections, each with plain sockets and the receiver on another processor than the sender. Rungs are compared within
//! a round.

mod client;
mod server;

use enforcer_tests::packet::{BLUE_B, Family};
use enforcer_tests::processor;

use crate::Thoroughness;
use crate::contest::{self, Figure, Task};
use crate::ladder::Rung;
use crate::pair::Pair;
use crate::results::{Results, Unit};

const RUNGS: [Rung; 5] = [
    Rung::Routing,
    Rung::IptablesLegacy(10),
    Rung::IptablesNft(10),
    Rung::Enforcer(2),
    // Why a guard is for uplinks: what a workload's TCP sends as one comes to it in one piece for each segment.
    Rung::Guarded,
];
const ROUNDS: usize = 40;
const PORT: u16 = 5001;
const CHUNK: usize = 128 * 1024;
/// Streams at the same time, at most.
const STREAMS: usize = 8;
/// What a client begins with: it will send a stream, or bytes to be echoed.
const STREAM: u8 = b's';
const ECHO: u8 = b'e';

const TASKS: [Task; 4] = [
    Task {
        figures: &[Figure { what: "one stream", unit: Unit::GigabitsPerSecond, goal: Some(1.0) }],
        measure: client::stream,
    },
    Task {
        figures: &[Figure { what: "eight streams", unit: Unit::GigabitsPerSecond, goal: None }],
        measure: client::streams,
    },
    Task {
        figures: &[
            Figure { what: "requests and responses", unit: Unit::PerSecond, goal: Some(1.05) },
            Figure { what: "half of all responses within", unit: Unit::Microseconds, goal: None },
            Figure { what: "99 of 100 responses within", unit: Unit::Microseconds, goal: None },
        ],
        measure: client::requests,
    },
    Task {
        figures: &[Figure { what: "connections", unit: Unit::PerSecond, goal: Some(1.1) }],
        measure: client::connections,
    },
];

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\ntcp: between two workloads, and times plain routing");
    processor::stay_on(processor::OTHERS);
    let quick = |rung: &Rung| rung.is_quick() && *rung != Rung::Guarded;
    let rungs = RUNGS.into_iter().filter(|rung| thoroughness.is_full() || quick(rung));
    let pairs: Vec<Pair> = rungs.enumerate().map(|(number, rung)| stand(number, rung)).collect();
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        for task in &TASKS {
            contest::hold("tcp", &pairs, (task, family), thoroughness.of(ROUNDS), results);
        }
    }
}

fn stand(number: usize, rung: Rung) -> Pair {
    let pair = Pair::stand(&format!("tcp{number}"), rung);
    for family in Family::BOTH {
        server::start(pair.b.netns(), BLUE_B.on(family)).unwrap_or_else(|error| panic!("no server: {error}"));
    }
    pair
}

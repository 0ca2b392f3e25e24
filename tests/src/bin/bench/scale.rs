//! A policy of ten thousand networks with a hundred thousand prefixes, and the same with every prefix
//! also in one more network.

use std::fmt::Write as _;
use std::time::Instant;

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::{Daemon, Host};

use crate::Thoroughness;
use crate::memory::{megabytes, of_maps, of_process};
use crate::results::{Results, Unit};
use crate::statistics::Estimate;

const NETWORKS: u32 = 10_000;
const PREFIXES_PER_NETWORK: u32 = 10;
/// How often `apply` and `explain` are repeated.
const RUNS: usize = 5;

/// What is told of a policy.
const TOLD: [(&str, Unit); 5] = [
    ("text of the policy", Unit::Megabytes),
    ("enforcer apply", Unit::Milliseconds),
    ("enforcer explain", Unit::Milliseconds),
    ("memory of the daemon", Unit::Megabytes),
    ("memory of the kernel", Unit::Megabytes),
];

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nscale: {NETWORKS} networks, {} prefixes", NETWORKS * PREFIXES_PER_NETWORK);
    println!("  `apply` and `explain` include starting the command; memory is what the policy adds");
    let policies = [("each prefix in one network", false), ("and all of them in one group", true)];
    let policies = if thoroughness.is_full() { &policies[..] } else { &policies[1..] };
    let told: Vec<_> = policies
        .iter()
        .map(|(name, monitored)| (*name, try_out(&policy(*monitored), thoroughness.of(RUNS))))
        .collect();
    for (at, (of, unit)) in TOLD.into_iter().enumerate() {
        let values: Vec<_> = told.iter().map(|(name, told)| ((*name).to_owned(), told[at])).collect();
        results.table(("scale", of), unit, &values);
    }
}

/// In the order of [`TOLD`].
fn try_out(policy: &str, runs: usize) -> [Estimate; TOLD.len()] {
    let host = Host::new("bench");
    let daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    let (rss, kernel) = (of_process(&daemon, "VmRSS:"), of_maps());
    let applies = Estimate::of((0..runs).map(|run| {
        // Another policy each time, else there is nothing to do.
        let policy = format!("{policy}\n[network.run-{run}]\nprefixes = [\"192.0.2.0/24\"]\n");
        milliseconds(|| daemon.apply(&policy))
    }));
    let explains = (0..runs).map(|_| {
        milliseconds(|| {
            // 10.0.0.5 and 10.99.9.5 share nothing: the longest way to an answer.
            let answer = daemon.cli(&["explain", "10.0.0.5", "10.99.9.5", "tcp/5432"]);
            assert_eq!(answer.status.code(), Some(1), "they are denied: {answer:?}");
        })
    });
    let explains = Estimate::of(explains);
    let added = |now: u64, before| Estimate::of([megabytes(now.saturating_sub(before))]);
    let (rss, kernel) = (added(of_process(&daemon, "VmRSS:"), rss), added(of_maps(), kernel));
    [Estimate::of([megabytes(policy.len() as u64)]), applies, explains, rss, kernel]
}

/// Half of each network's prefixes are IPv4, half IPv6, scattered over the address space.
pub fn policy(monitored: bool) -> String {
    let mut text = String::from("version = 1\n");
    let mut all = Vec::new();
    for network in 0..NETWORKS {
        let prefixes: Vec<String> = (0..PREFIXES_PER_NETWORK).map(|number| prefix(network, number)).collect();
        write!(text, "[network.tenant-{network}]\nprefixes = [\"{}\"]\n", prefixes.join("\", \""))
            .expect("a string");
        all.extend(prefixes);
    }
    if monitored {
        write!(text, "[group.monitoring]\nprefixes = [\"{}\"]\n", all.join("\", \"")).expect("a string");
    }
    text
}

fn prefix(network: u32, number: u32) -> String {
    if number.is_multiple_of(2) {
        let block = network * PREFIXES_PER_NETWORK / 2 + number / 2;
        format!("{}.{}.{}.0/24", 10 + (block >> 16), (block >> 8) & 0xff, block & 0xff)
    } else {
        format!("2001:db8:{network:x}:{number:x}::/64")
    }
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

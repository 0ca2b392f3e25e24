//! A policy of ten thousand networks with a hundred thousand prefixes, and the same with every prefix
//! also in one more network.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::{Daemon, Host};

use crate::Thoroughness;
use crate::memory::{of_maps, of_process};
use crate::results::Results;

const NETWORKS: u32 = 10_000;
const PREFIXES_PER_NETWORK: u32 = 10;
/// How often `apply` and `explain` are repeated.
const RUNS: usize = 5;

pub fn measure(thoroughness: Thoroughness, _: &mut Results) {
    println!("\nscale: {NETWORKS} networks, {} prefixes", NETWORKS * PREFIXES_PER_NETWORK);
    println!("  `apply` and `explain` include starting the command; memory is what the policy adds");
    println!(
        "  {:<34} {:>9} {:>12} {:>14} {:>12} {:>12}",
        "", "text", "apply", "explain", "daemon", "kernel"
    );
    let policies = [("each prefix in one network", false), ("and all of them in one group", true)];
    let policies = if thoroughness.is_full() { &policies[..] } else { &policies[1..] };
    for &(name, monitored) in policies {
        row(name, &policy(monitored), thoroughness.of(RUNS));
    }
}

fn row(name: &str, policy: &str, runs: usize) {
    let host = Host::new("bench");
    let daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    let (rss, kernel) = (of_process(&daemon, "VmRSS:"), of_maps());
    let mut applies = Vec::new();
    for run in 0..runs {
        // Another policy each time, else there is nothing to do.
        let policy = format!("{policy}\n[network.run-{run}]\nprefixes = [\"192.0.2.0/24\"]\n");
        applies.push(timed(|| daemon.apply(&policy)));
    }
    let mut explains = Vec::new();
    for _ in 0..runs {
        explains.push(timed(|| {
            // 10.0.0.5 and 10.99.9.5 share nothing: the longest way to an answer.
            let answer = daemon.cli(&["explain", "10.0.0.5", "10.99.9.5", "tcp/5432"]);
            assert_eq!(answer.status.code(), Some(1), "they are denied: {answer:?}");
        }));
    }
    println!(
        "  {name:<34} {:>6.1} MB {:>9} ms {:>11.1} ms {:>9} MB {:>9} MB",
        policy.len() as f64 / 1e6,
        median(&mut applies).as_millis(),
        median(&mut explains).as_secs_f64() * 1e3,
        of_process(&daemon, "VmRSS:").saturating_sub(rss) >> 20,
        of_maps().saturating_sub(kernel) >> 20,
    );
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

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

//! What the daemon holds with a thousand workloads and a hundred thousand prefixes.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{MapInfo, loaded_maps};
use enforcer_common::flow_table::WAYS;
use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::{Daemon, Host};

use crate::results::{Goal, Results};
use crate::statistics::Estimate;
use crate::{Thoroughness, crowd, scale};

const WORKLOADS: usize = 1000;

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    let workloads = thoroughness.of(WORKLOADS);
    println!("\nmemory: resident, of the daemon, and the most it ever was");
    let host = Host::new("memory");
    let mut daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    row("nothing to do", &daemon);
    for (family, table, limit) in [("V4", "FLOWS4", 96.0), ("V6", "FLOWS6", 160.0)] {
        let bytes = Estimate::of([bytes_of_a_flow(table)]);
        println!("  bytes of kernel memory for a flow, {family}: {:.1}", bytes.median);
        results.goals.push(Goal::at_most(
            "memory",
            format!("bytes of kernel memory for a flow, {family}"),
            limit,
            bytes,
        ));
    }
    let _inside = crowd::arrive(&host, &daemon, "memory-inside", workloads);
    row(&format!("{workloads} workloads"), &daemon);
    daemon.apply(&scale::policy(false));
    row("and a hundred thousand prefixes", &daemon);
    daemon.restart();
    row("the same, started again", &daemon);
    daemon.json(&["networks"]);
    daemon.json(&["endpoints"]);
    row("and asked for its networks and endpoints", &daemon);
}

fn row(name: &str, daemon: &Daemon) {
    let (now, most) = (of_process(daemon, "VmRSS:"), of_process(daemon, "VmHWM:"));
    println!("  {name:<42} {:>6.1} MB, at most {:>6.1} MB", megabytes(now), megabytes(most));
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes that the kernel counts for the daemon: `VmRSS:` or another line of its status.
pub fn of_process(daemon: &Daemon, name: &str) -> u64 {
    let pid = daemon.pid().expect("the daemon runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon's status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("every process has one");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
    kilobytes.expect("a number") * 1024
}

/// Bytes that the kernel says it holds for all BPF maps.
pub fn of_maps() -> u64 {
    loaded_maps().flatten().filter_map(|map| of_map(&map)).sum()
}

fn of_map(map: &MapInfo) -> Option<u64> {
    let fd = map.fd().ok()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
    let line = text.lines().find(|line| line.starts_with("memlock:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Of a table of flows, with all that it holds besides.
fn bytes_of_a_flow(table: &str) -> f64 {
    let map =
        loaded_maps().flatten().find(|map| map.name_as_str() == Some(table)).expect("the daemon made it");
    let flows = f64::from(map.max_entries()) * WAYS as f64;
    of_map(&map).expect("the kernel tells") as f64 / flows
}

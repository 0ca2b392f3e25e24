//! What the daemon holds with a thousand workloads and a large policy, and the kernel for a flow and for a
//! network.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{MapInfo, loaded_maps};
use enforcer::datapath::load::Options;
use enforcer::datapath::sizes::Sizes;
use enforcer_common::flow_table::WAYS;
use enforcer_common::limits::MAX_NETWORKS;
use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::packet::Family;
use enforcer_tests::prog_run::Lab;
use enforcer_tests::{Daemon, Host};

use crate::judge::{ALL_NETWORKS, many_networks};
use crate::results::{Goal, Results, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, crowd, scale};

const WORKLOADS: usize = 1000;
/// Tables of flows, and how many bytes one may take.
const FLOWS: [(Family, &str, f64); 2] = [(Family::V4, "FLOWS4", 96.0), (Family::V6, "FLOWS6", 160.0)];

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nmemory: of the daemon, and of the kernel's tables");
    let workloads = thoroughness.of(WORKLOADS);
    let networks = of_networks(thoroughness.of(ALL_NETWORKS));
    let host = Host::new("memory");
    let mut daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    let flows = of_flows(results);
    results.table(("memory", "the kernel, for each"), Unit::Bytes, &[flows, networks].concat());
    let mut readings = vec![reading("nothing to do", &daemon)];
    let _inside = crowd::arrive(&host, &daemon, "memory-inside", workloads);
    readings.push(reading(&format!("{workloads} workloads"), &daemon));
    let extent = scale::usual(thoroughness);
    daemon.apply(&scale::policy(extent));
    readings.push(reading(&format!("and {}", extent.name), &daemon));
    daemon.restart();
    readings.push(reading("the same, started again", &daemon));
    daemon.json(&["networks"]);
    daemon.json(&["endpoints"]);
    readings.push(reading("and asked for its networks and endpoints", &daemon));
    for (at, of) in ["the daemon, resident", "the daemon, the most it ever was"].into_iter().enumerate() {
        let values: Vec<_> = readings.iter().map(|(name, both)| (name.clone(), both[at])).collect();
        results.table(("memory", of), Unit::Megabytes, &values);
    }
}

/// Megabytes, now and at most until now.
fn reading(name: &str, daemon: &Daemon) -> (String, [Estimate; 2]) {
    let both = ["VmRSS:", "VmHWM:"].map(|line| Estimate::of([megabytes(of_process(daemon, line))]));
    (name.to_owned(), both)
}

pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of the daemon's tables.
fn of_flows(results: &mut Results) -> [(String, Estimate); 2] {
    FLOWS.map(|(family, table, limit)| {
        let bytes = Estimate::of([bytes_of_a_flow(table)]);
        let what = format!("bytes of kernel memory for a flow, {family:?}");
        results.goals.push(Goal::at_most("memory", what, limit, bytes));
        (format!("a flow, {family:?}"), bytes)
    })
}

/// Bytes that a policy of so many adds. Their counters are there before.
fn of_networks(count: usize) -> [(String, Estimate); 2] {
    let sizes = Sizes { networks: MAX_NETWORKS, ..Sizes::default() };
    let mut lab = Lab::loaded_with(&Options { sizes, ..Options::default() });
    Family::BOTH.map(|family| {
        let policy = many_networks(family, count, false);
        let before = of_maps();
        lab.apply(&policy);
        let bytes = of_maps().saturating_sub(before) as f64 / count as f64;
        (format!("a network with one prefix, {family:?}"), Estimate::of([bytes]))
    })
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

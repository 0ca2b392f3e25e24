//! What the daemon holds with a thousand workloads and a hundred thousand prefixes.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::{Daemon, Host, NetNs, wait};

use crate::Thoroughness;
use crate::results::Results;

use crate::scale;

const WORKLOADS: usize = 1000;
/// How long the daemon may take to know all workloads.
const PATIENCE: Duration = Duration::from_mins(2);

pub fn measure(thoroughness: Thoroughness, _: &mut Results) {
    let workloads = thoroughness.of(WORKLOADS);
    println!("\nmemory: resident, of the daemon, and the most it ever was");
    let host = Host::new("memory");
    let inside = NetNs::create("memory-inside");
    let mut daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    row("nothing to do", &daemon);
    host.netns().ip(&arrival(&inside, workloads));
    wait::until("all workloads are ready", PATIENCE, || {
        (daemon.json(&["status"])["endpoints_ready"] == workloads).then_some(())
    });
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

/// The `ip` commands that hang the workloads on the host, each with an address of both families.
fn arrival(inside: &NetNs, workloads: usize) -> String {
    let inside = inside.name();
    (0..workloads).fold(String::new(), |mut batch, number| {
        let (high, low) = (number >> 8, number & 255);
        write!(
            batch,
            "link add veth-{number} type veth peer name inner-{number} netns {inside}\nlink set veth-{number} up\n\
             route add 10.50.{high}.{low}/32 dev veth-{number}\n\
             route add 2001:db8:50::{number:x}/128 dev veth-{number}\n"
        )
        .expect("a string");
        batch
    })
}

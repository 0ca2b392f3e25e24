//! What the daemon takes while nothing happens, with a handful of workloads and with very many: both rest at the same time.

use std::thread;
use std::time::{Duration, Instant};

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::{Daemon, Host, NetNs};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::results::{Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, crowd};

const WORKLOADS: [usize; 2] = [2, 1000];
/// Of the larger crowd in a quick run.
const FEW: usize = 10;
/// Looks at the daemons' clocks, and the time between two.
const ROUNDS: usize = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// What arrival and start leave to be done is done after this.
const SETTLING: Duration = Duration::from_secs(2);

/// A host whose workloads do nothing.
struct Resting {
    workloads: usize,
    daemon: Daemon,
    _inside: NetNs,
    _host: Host,
    /// Milliseconds of a processor in a second, by round.
    takes: Vec<f64>,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!(
        "\nrest: milliseconds of a processor that the daemon takes in a second in which nothing happens"
    );
    let mut hosts =
        WORKLOADS.map(|workloads| stand(if thoroughness.is_full() { workloads } else { workloads.min(FEW) }));
    if thoroughness.is_full() {
        thread::sleep(SETTLING);
    }
    for _ in 0..thoroughness.of(ROUNDS) {
        round(&mut hosts);
    }
    let few = &hosts[0].takes;
    for host in &hosts {
        let row = Row {
            part: "rest".into(),
            of: "the daemon, in a second".into(),
            what: format!("{} workloads", host.workloads),
            unit: Unit::Milliseconds,
            value: Estimate::of(host.takes.iter().copied()),
            times: Estimate::of(host.takes.iter().zip(few).map(|(own, few)| own / few.max(LEAST))),
            of_what: "that with 2 workloads".into(),
        };
        println!("    {row}");
        results.rows.push(row);
    }
}

/// Nothing is not divided by: a microsecond in a second.
const LEAST: f64 = 1e-3;

fn stand(workloads: usize) -> Resting {
    let host = Host::new(&format!("rest{workloads}"));
    let daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    let inside = crowd::arrive(&host, &daemon, &format!("rest{workloads}-inside"), workloads);
    Resting { workloads, daemon, _inside: inside, _host: host, takes: Vec::new() }
}

fn round(hosts: &mut [Resting]) {
    let start = Instant::now();
    let before: Vec<Duration> = hosts.iter().map(|host| taken(&host.daemon)).collect();
    thread::sleep(PAUSE);
    let seconds = start.elapsed().as_secs_f64();
    for (host, before) in hosts.iter_mut().zip(before) {
        host.takes.push(taken(&host.daemon).saturating_sub(before).as_secs_f64() * 1e3 / seconds);
    }
}

/// Processor time of all its threads, also of those that have ended.
fn taken(daemon: &Daemon) -> Duration {
    let pid = Pid::from_raw(daemon.pid().expect("the daemon runs") as i32);
    let taken = clock_getcpuclockid(pid).and_then(clock_gettime);
    taken.expect("a process has a clock").into()
}

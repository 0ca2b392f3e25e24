//! A thousand workloads come and go: everything that was taken for them is given back.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use enforcer::datapath::attach::Mechanism;
use enforcer::datapath::pins::Pins;
use enforcer::datapath::tables::Tables;
use enforcer_tests::{Daemon, Host, NetNs, wait};

/// Workloads in all, created and deleted in bursts; fewer on a slow machine, which takes seconds for each.
const WORKLOADS: usize = 1000;
const BURST: usize = 125;
/// The kernel deletes a group of interfaces at one blow.
const GROUP: u32 = 50;
/// How long the daemon may take for a burst.
const PATIENCE: Duration = Duration::from_secs(45);
/// Resident memory that may be more after all than after the first burst.
const GROWTH: u64 = 6 << 20;

/// What the daemon holds, in the kernel and of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holdings {
    pins: usize,
    links: usize,
    endpoints: usize,
    addresses: usize,
    listed: usize,
    descriptors: usize,
}

impl Holdings {
    fn of(daemon: &Daemon) -> Self {
        let pins = Pins::new(daemon.bpffs());
        let tables = Tables::open_pinned(&pins).unwrap();
        Self {
            pins: fs::read_dir(pins.maps()).unwrap().count(),
            links: pins.list_links().unwrap().len(),
            endpoints: tables.endpoints().unwrap().len(),
            addresses: tables.addresses().unwrap().len(),
            listed: daemon.json(&["endpoints"]).as_array().unwrap().len(),
            descriptors: fs::read_dir(format!("/proc/{}/fd", daemon.pid().unwrap())).unwrap().count(),
        }
    }

    /// At rest: in a single look a descriptor may be in use for a moment, the one of the look's own question for example.
    fn at_rest(daemon: &Daemon) -> Self {
        let looks = (0..10).map(|_| Self::of(daemon));
        looks.min_by_key(|holdings| holdings.descriptors).expect("there were some")
    }

    /// With as many more workloads, each of them with two links, where the kernel has them, and an address of each family.
    fn and(&self, workloads: usize) -> Self {
        Self {
            links: self.links + if Mechanism::best() == Mechanism::Tcx { 2 * workloads } else { 0 },
            endpoints: self.endpoints + workloads,
            addresses: self.addresses + 2 * workloads,
            listed: self.listed + workloads,
            ..self.clone()
        }
    }
}

fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Waits until all is as expected; a descriptor may be in use for a moment.
#[track_caller]
fn wait_for(expected: &Holdings, daemon: &Daemon, when: &str) {
    let mut last = None;
    let reached = wait::within(PATIENCE, || {
        let holdings = last.insert(Holdings::of(daemon));
        (holdings == expected).then_some(())
    });
    assert!(reached.is_some(), "{when}: expected {expected:?}, found {last:?}");
}

/// The `ip` commands that hang workloads on their host, their inner ends all in one namespace.
fn arrival(numbers: std::ops::Range<usize>, inside: &NetNs) -> String {
    numbers.fold(String::new(), |mut batch, number| {
        let (name, inside) = (format!("veth-{number}"), inside.name());
        let (high, low) = (number >> 8, number & 255);
        write!(
            batch,
            "link add {name} group {GROUP} type veth peer name inner-{number} netns {inside}\nlink set {name} up\n\
             route add 10.50.{high}.{low}/32 dev {name}\nroute add 2001:db8:50::{number:x}/128 dev {name}\n"
        )
        .unwrap();
        batch
    })
}

#[test]
fn a_thousand_workloads_that_came_and_went_leave_nothing() {
    let host = Host::new("thousand");
    // Without a carrier there are no link-local addresses of the host on these interfaces.
    let inside = NetNs::create("thousand-inside");
    let daemon = Daemon::start(&host);
    let start = Holdings::at_rest(&daemon);
    let mut resident_after_first = None;
    let slowness = wait::slowness() as usize;
    let (workloads, burst) = (WORKLOADS / slowness.pow(2), BURST / slowness.pow(2));
    for first in (0..workloads).step_by(burst) {
        host.netns().ip(&arrival(first..first + burst, &inside));
        wait_for(&start.and(burst), &daemon, &format!("workloads from {first} on have come"));
        host.netns().ip(&format!("link delete group {GROUP}\n"));
        wait_for(&start, &daemon, &format!("workloads from {first} on have gone"));
        resident_after_first.get_or_insert_with(|| resident(&daemon));
    }
    let before = resident_after_first.unwrap();
    // Memory goes back to the kernel when nothing is left to do, which is after the last workload has gone.
    let what = format!("resident memory is {before} bytes again, as after the first burst");
    let after = wait::until(&what, PATIENCE, || Some(resident(&daemon)).filter(|it| *it <= before + GROWTH));
    println!("resident memory: {} kB after the first burst, {} kB after the last", before >> 10, after >> 10);
}

//! A policy of ten thousand networks with a hundred thousand prefixes, the same with every prefix also in one more
//! network, and as much of everything as a host is to hold.

use std::fmt::Write as _;
use std::time::Instant;

use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::{Daemon, Host};

use crate::Thoroughness;
use crate::memory::{megabytes, of_maps, of_process};
use crate::results::{Results, Unit};
use crate::statistics::Estimate;

/// How large a policy is.
#[derive(Clone, Copy)]
pub struct Extent {
    pub name: &'static str,
    networks: u32,
    /// Each of them from one network to another one.
    rules: u32,
    /// Whether every prefix is in one group more.
    monitored: bool,
}

/// What most hosts never reach.
pub const LARGE: Extent =
    Extent { name: "10,000 networks, 100,000 prefixes", networks: 10_000, rules: 0, monitored: false };
/// Others of which parts other than this one make use.
pub const THOUSAND: Extent = Extent { name: "100 networks, 1,000 prefixes", networks: 100, ..LARGE };
pub const MILLION: Extent =
    Extent { name: "100,000 networks, 1,000,000 prefixes", networks: 100_000, ..LARGE };
/// Of a quick run.
const SMALL: Extent = Extent { name: "1,000 networks, 10,000 prefixes", networks: 1_000, ..LARGE };
const MONITORED: Extent =
    Extent { name: "the same, all prefixes in one group, too", monitored: true, ..LARGE };
const LARGEST: Extent = Extent {
    name: "100,000 networks, 1,000,000 prefixes, 10,000 rules",
    networks: 100_000,
    rules: 10_000,
    monitored: false,
};

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
    println!("\nscale: of large policies");
    println!("  `apply` and `explain` include starting the command; memory is what the policy adds");
    let extents: &[Extent] = if thoroughness.is_full() { &[LARGE, MONITORED, LARGEST] } else { &[SMALL] };
    let told: Vec<_> = extents
        .iter()
        .map(|extent| (extent.name, try_out(&policy(*extent), thoroughness.of(RUNS))))
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

/// What parts other than this one have on a host.
pub fn usual(thoroughness: Thoroughness) -> Extent {
    if thoroughness.is_full() { LARGE } else { SMALL }
}

/// As many others: not one network or prefix is in both.
pub fn others(policy: &str) -> String {
    // An IPv4 address becomes one above 200.0.0.0, and IPv6 is 2001 nowhere but in front.
    policy.replace("tenant-", "other-").replace("\"1", "\"21").replace("\"2001:", "\"2002:")
}

/// Half of each network's prefixes are IPv4, half IPv6, scattered over the address space.
pub fn policy(extent: Extent) -> String {
    let mut text = String::from("version = 1\n");
    let mut all = Vec::new();
    for network in 0..extent.networks {
        let prefixes: Vec<String> = (0..PREFIXES_PER_NETWORK).map(|number| prefix(network, number)).collect();
        write!(text, "[network.tenant-{network}]\nprefixes = [\"{}\"]\n", prefixes.join("\", \""))
            .expect("a string");
        all.extend(prefixes);
    }
    if extent.monitored {
        write!(text, "[group.monitoring]\nprefixes = [\"{}\"]\n", all.join("\", \"")).expect("a string");
    }
    for rule in 0..extent.rules {
        let (from, to) = (rule, extent.networks - 1 - rule);
        write!(
            text,
            "[[rule]]\nname = \"rule-{rule}\"\nfrom = [\"tenant-{from}\"]\nto = [\"tenant-{to}\"]\n\
             allow = [\"tcp/5432\"]\n"
        )
        .expect("a string");
    }
    text
}

fn prefix(network: u32, number: u32) -> String {
    if number.is_multiple_of(2) {
        let block = network * PREFIXES_PER_NETWORK / 2 + number / 2;
        format!("{}.{}.{}.0/24", 10 + (block >> 16), (block >> 8) & 0xff, block & 0xff)
    } else {
        format!("2001:{:x}:{:x}:{number:x}::/64", 0xdb8 + (network >> 16), network & 0xffff)
    }
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

//! One prefix comes into a network, and everything else stays or makes room for others: from the order at the daemon's
//! socket to the first packet that passes for it; and what of that the last step takes, a generation's record.

use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use enforcer::cli::client::Client;
use enforcer::policy::Source;
use enforcer::report::{ApplyReport, ApplyRequest};
use enforcer_tests::cost::NETWORKS;
use enforcer_tests::daemon::ROOMY_CONFIG;
use enforcer_tests::flood::Flood;
use enforcer_tests::packet::from;
use enforcer_tests::prog_run::Lab;
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{Daemon, Host, Workload};

use crate::Thoroughness;
use crate::results::{Goal, Results, Unit};
use crate::scale;
use crate::statistics::{Estimate, quantile};

/// Changes of each row.
const CHANGES: usize = 200;
/// Between two packets.
const PAUSE: Duration = Duration::from_micros(50);
const PORT: u16 = 9_000;
/// A packet arrives within this, or nothing was changed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing arrived for so long: what was forbidden is.
const SILENCE: Duration = Duration::from_millis(20);
/// What may take so long for 99 of 100 changes.
const GOAL: f64 = 5.0;
/// Records that are written, and microseconds that 99 of 100 may take.
const WRITES: usize = 20_000;
const WRITE_GOAL: f64 = 5.0;

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nupdate: one prefix more, from the order to the first packet that it lets pass");
    let large = scale::policy(scale::LARGE).replacen("version = 1\n", "", 1);
    let others = scale::others(&large);
    let changed = [
        ("one prefix more", "2 networks".to_owned(), [""; 2]),
        ("one prefix more", format!("and {}", scale::LARGE.name), [&*large; 2]),
        ("all others replaced", scale::LARGE.name.to_owned(), [&large, &others]),
    ];
    let changed = if thoroughness.is_full() { &changed[..] } else { &changed[..1] };
    let rows: Vec<_> = changed
        .iter()
        .map(|(what, name, others)| (what, name, changes(*others, thoroughness.of(CHANGES))))
        .collect();
    let few = &rows[0].2;
    for (what, name, times) in &rows {
        results.waits(
            ("update", *what),
            name,
            Unit::Milliseconds,
            [times, few],
            "one prefix more with 2 networks",
        );
        if **what == *rows[0].0 {
            let what = format!("{what}, {name}: ms to the first packet, 99 of 100");
            results.goals.push(Goal::at_most("update", what, GOAL, Estimate::of([quantile(times, 0.99)])));
        }
    }
    let (what, writes) = ("one generation record, no prefix", writes(thoroughness.of(WRITES)));
    let few: Vec<f64> = few.iter().map(|milliseconds| milliseconds * 1e3).collect();
    let of_what = "one prefix more with 2 networks";
    results.waits(("update", what), "written", Unit::Microseconds, [&writes, &few], of_what);
    let what = format!("{what}: µs to write it, tables built whole before, 99 of 100");
    let measured = Estimate::of([quantile(&writes, 0.99)]);
    results.goals.push(Goal::at_most("update", what, WRITE_GOAL, measured));
}

/// Microseconds that each write of a generation's record took, behind which one store lets it decide. No prefix is written
/// then, nor ever in place: the tables that it names were built whole.
fn writes(count: usize) -> Vec<f64> {
    let mut lab = Lab::new();
    lab.apply(NETWORKS);
    std::iter::repeat_with(|| lab.record_again().as_secs_f64() * 1e6).take(count).collect()
}

/// Milliseconds that each change took, beside others: those before it, and those after it.
fn changes(others: [&str; 2], count: usize) -> Vec<f64> {
    let host = Host::new("update");
    let sender = host.workload("a").at("10.1.0.5/32").routed();
    // Of no network, until it is told.
    let receiver = host.workload("b").at("10.99.0.7/32").routed();
    let daemon = Daemon::start_with(&host, ROOMY_CONFIG);
    daemon.wait_ready(&[sender.interface(), receiver.interface()]);
    let order = Order { client: Client::new(daemon.socket()), others };
    order.give(None);
    let arrivals = listen(&receiver);
    let mut frame = from(sender.ipv4()).to(receiver.ipv4()).udp(PORT).bytes();
    let macs = [host.netns().mac(sender.interface()), sender.netns().mac(INSIDE)].concat();
    frame[..macs.len()].copy_from_slice(&macs);
    let _flood = Flood::paced(sender.netns(), INSIDE, vec![frame], Some(PAUSE));
    let change = || {
        while arrivals.recv_timeout(SILENCE).is_ok() {}
        let start = Instant::now();
        order.give(Some(receiver.ipv4()));
        let first = arrivals.recv_timeout(PATIENCE).expect("what is allowed arrives");
        let took = first - start;
        order.give(None);
        took.as_secs_f64() * 1e3
    };
    std::iter::repeat_with(change).take(count).collect()
}

/// The policy, with an address more or without, and what else is in it.
struct Order<'a> {
    client: Client,
    others: [&'a str; 2],
}

impl Order<'_> {
    fn give(&self, address: Option<IpAddr>) {
        let more = address.map_or_else(String::new, |address| format!("\"{address}/32\", "));
        let networks = NETWORKS.replacen("prefixes = [", &format!("prefixes = [{more}"), 1);
        let others = self.others[usize::from(address.is_some())];
        let source = Source { name: "policy.toml".to_owned(), text: format!("{networks}{others}") };
        let request = ApplyRequest {
            sources: vec![source],
            force: false,
            confirm_seconds: None,
            session: None,
            max_cut: None,
        };
        let report: ApplyReport = self.client.post("/v1/apply", &request).expect("the policy is applied");
        assert!(!report.unchanged, "it is another policy");
    }
}

/// When each packet arrived.
fn listen(workload: &Workload) -> Receiver<Instant> {
    let address = (workload.ipv4(), PORT);
    let socket = workload.netns().enter(|| UdpSocket::bind(address)).expect("nobody else is there");
    let (tell, arrivals): (Sender<Instant>, _) = channel();
    // It ends with whoever is told.
    thread::spawn(
        move || while socket.recv_from(&mut [0; 64]).is_ok() && tell.send(Instant::now()).is_ok() {},
    );
    arrivals
}

//! All others are replaced again and again, while two workloads of a network that stays have very many packets for each
//! other: how long that takes beside them, and how many of them are lost.

use std::thread;
use std::time::Duration;

use enforcer_tests::flood::Flood;
use enforcer_tests::packet::{Family, from};
use enforcer_tests::processor;
use enforcer_tests::workload::INSIDE;
use enforcer_tests::{NetNs, Workload, wait};

use super::scene::Scene;
use super::{REPLACED, networks_of, waits};
use crate::Thoroughness;
use crate::results::{Goal, Results, Row, Unit};
use crate::scale;
use crate::statistics::Estimate;

/// Changes.
const CHANGES: usize = 30;
/// Flows, one after the other; they differ in their ports.
const FLOWS: u16 = 4_096;
const FIRST_PORT: u16 = 20_000;
const PORT: u16 = 9_001;
/// Packets that are on their way when the sender ends arrive within this.
const STRAGGLE: Duration = Duration::from_secs(2);

/// Beside how long one prefix more takes.
pub fn measure(thoroughness: Thoroughness, few: &[f64], results: &mut Results) {
    let extent = scale::usual(thoroughness);
    let large = networks_of(extent);
    let others = scale::others(&large);
    let scene = Scene::new(Family::V4, [&large, &others]);
    let load = Load::on(&scene);
    let times = scene.changes(thoroughness.of(CHANGES));
    let [sent, arrived] = load.finish();
    let name = format!("{}, beside {FLOWS} flows", extent.name);
    waits(REPLACED, &name, [&times, few], results);
    report(times.len(), [sent, arrived], results);
}

/// What was lost, of what was sent.
fn report(changes: usize, [sent, arrived]: [u64; 2], results: &mut Results) {
    let lost = sent as f64 - arrived as f64;
    for (what, packets) in [("sent", sent as f64), ("lost", lost)] {
        results.tell(Row {
            part: "update".into(),
            of: format!("{REPLACED}, packets of {FLOWS} flows meanwhile"),
            what: format!("{what}, in {changes} changes and back"),
            unit: Unit::Packets,
            value: Estimate::of([packets]),
            times: Estimate::of([packets / sent as f64]),
            of_what: "sent".into(),
        });
    }
    let what =
        format!("{REPLACED} {changes} times and back: packets lost of {FLOWS} flows that stay allowed");
    results.goals.push(Goal::at_most("update", what, 0.0, Estimate::of([lost])));
}

/// As many packets as one processor sends, counted where they arrive and dropped there before the stack.
struct Load {
    flood: Flood,
    _sender: Workload,
    receiver: Workload,
}

impl Load {
    fn on(scene: &Scene<'_>) -> Self {
        let hang = |name, address| scene.host.workload(name).at(address).routed();
        let (sender, receiver) = (hang("c", "10.1.0.6/32"), hang("d", "10.7.3.7/32"));
        scene.daemon.wait_ready(&[sender.interface(), receiver.interface()]);
        receiver.netns().nft(&format!(
            "add table netdev load\n\
             add chain netdev load arrived {{ type filter hook ingress device {INSIDE} priority 0; }}\n\
             add rule netdev load arrived udp dport {PORT} counter drop"
        ));
        let macs = [scene.host.netns().mac(sender.interface()), sender.netns().mac(INSIDE)].concat();
        let frame = |port| {
            let packet = from(sender.ipv4()).to(receiver.ipv4()).udp(PORT).from_port(port);
            let mut frame = packet.payload(18).bytes();
            frame[..macs.len()].copy_from_slice(&macs);
            frame
        };
        let frames: Vec<_> = (FIRST_PORT..FIRST_PORT + FLOWS).map(frame).collect();
        // It stays on one processor, and nobody else has to.
        let start = || {
            processor::stay_on(processor::SENDER);
            Flood::start(sender.netns(), INSIDE, frames)
        };
        let flood = thread::scope(|scope| scope.spawn(start).join()).expect("it told why");
        Self { flood, _sender: sender, receiver }
    }

    /// Packets that were sent, and those that arrived.
    fn finish(self) -> [u64; 2] {
        let (sent, inside) = (self.flood.finish(), self.receiver.netns());
        wait::within(STRAGGLE, || (arrived(inside) == sent).then_some(()));
        [sent, arrived(inside)]
    }
}

/// Packets that were counted so far.
fn arrived(inside: &NetNs) -> u64 {
    let output = inside.run("nft", &["list", "table", "netdev", "load"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {text}"))
}

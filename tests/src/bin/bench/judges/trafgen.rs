//! trafgen: packets as fast as one processor makes them, and how many of them arrive.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use enforcer::datapath::bpf::TcxHook;
use enforcer_tests::packet::{BLUE_A, BLUE_B, Family, from};
use enforcer_tests::tcx::{Link, Place};
use enforcer_tests::wait;
use enforcer_tests::workload::INSIDE;

use super::server::Server;
use crate::forward::stage::{dropping, received};
use crate::pair::Pair;

/// Flows, one packet of each after the other.
const FLOWS: u16 = 64;
/// Bytes of UDP: frames of 64 bytes, or of few more.
const PAYLOAD: usize = 22;
/// How long arrivals are counted.
const SLICE: Duration = Duration::from_millis(500);
/// The program starts within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Packets per second at the receiver, which drops them before its stack.
pub fn arrivals(pair: &Pair, family: Family) -> Result<Vec<f64>> {
    let (a, b) = (pair.a.netns(), pair.b.netns());
    // Nobody asks for the receiver's MAC: it hears nothing.
    let neighbor = BLUE_B.on(family);
    let mac = b.mac(INSIDE).map(|byte| format!("{byte:02x}")).join(":");
    pair.host
        .netns()
        .ip(&format!("neigh replace {neighbor} lladdr {mac} dev {} nud permanent\n", pair.b.interface()));
    let _sink = Link::attach(b, INSIDE, TcxHook::Ingress, Place::First, &dropping());
    let packets = tempfile::NamedTempFile::new().context("no place for packets")?;
    fs::write(packets.path(), description(pair, family)).context("no place for packets")?;
    let path = packets.path().to_str().context("a path of plain text")?;
    let before = received(b);
    let mut generator =
        Server::start(a, "trafgen", &["--dev", INSIDE, "--conf", path, "--cpus", "1", "--no-cpu-stats"]);
    wait::until("packets of trafgen arrive", PATIENCE, || (received(b) > before + 1_000).then_some(()));
    let (start, first) = (Instant::now(), received(b));
    thread::sleep(SLICE);
    let (last, took) = (received(b), start.elapsed());
    ensure!(generator.runs(), "trafgen has ended by itself");
    Ok(vec![(last - first) as f64 / took.as_secs_f64()])
}

/// The packets in trafgen's language, byte by byte.
fn description(pair: &Pair, family: Family) -> String {
    let macs = [pair.host.netns().mac(pair.a.interface()), pair.a.netns().mac(INSIDE)].concat();
    let (src, dst) = (BLUE_A.on(family), BLUE_B.on(family));
    (0..FLOWS).fold(String::new(), |mut text, flow| {
        let mut frame = from(src).to(dst).udp(9).from_port(20_000 + flow).payload(PAYLOAD).bytes();
        frame[..macs.len()].copy_from_slice(&macs);
        let bytes: Vec<String> = frame.iter().map(|byte| format!("{byte:#04x}")).collect();
        writeln!(text, "{{ {} }}", bytes.join(", ")).expect("a string");
        text
    })
}

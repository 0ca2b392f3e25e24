//! Edits of the policy while packets are on their way, ten a second: on the same host as without them, a packet of any flow
//! after the other for as long as that takes. An edit before a measurement leaves out what goes on beside the packets.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use enforcer::cli::client::Client;
use enforcer_tests::cost::NETWORKS;
use enforcer_tests::packet::Family;
use enforcer_tests::{Daemon, processor};

use super::mix::Mix;
use super::{Standing, edited};
use crate::Thoroughness;
use crate::ladder::{self, Rung};
use crate::results::{Goal, Results, Row, Unit};
use crate::rounds;
use crate::statistics::Estimate;
use crate::update::order;

/// Each round is a second of packets for every kind of edit.
const ROUNDS: usize = 6;
const PACKETS: usize = 1 << 20;
/// Flows are drawn for so many packets at a time: what the sender needs must not fill the processor's caches.
const DRAWN: usize = 1 << 14;
/// Of all packets, so many in advance that are not measured.
const WARM_UP: usize = 8;
/// From one edit's beginning to the next one's.
const PACE: Duration = Duration::from_millis(100);
const GOAL: f64 = 0.8;

/// What is edited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edited {
    Nothing,
    /// A prefix of a network whose packets are not measured: judgements stand.
    Prefix,
    /// A rule between such: no judgement stands.
    Rule,
}

const ALL: [Edited; 3] = [Edited::Nothing, Edited::Prefix, Edited::Rule];

/// What one kind told, by round.
#[derive(Default)]
struct Told {
    /// Nanoseconds of a packet, and of the sender and the first hop.
    times: Vec<f64>,
    edits_per_second: Vec<f64>,
}

/// On the host of the rung that is edited. All of its flows were sent before.
pub fn measure(
    ladder: &mut [Standing],
    (family, mix): (Family, Mix),
    thoroughness: Thoroughness,
    results: &mut Results,
) {
    let (mut told, mut first_hop) = (ALL.map(|_| Told::default()), Vec::new());
    let (packets, mut number) = (thoroughness.of(PACKETS), 0);
    for round in 0..thoroughness.of(ROUNDS) {
        first_hop.push(find(ladder, Rung::FirstHop).send_many(packets));
        let host = find(ladder, Rung::Edited);
        for at in rounds::order(round, ALL.len()) {
            let (time, pace) = host.send_beside(ALL[at], packets, &mut number);
            told[at].times.push(time);
            told[at].edits_per_second.push(pace);
        }
    }
    ladder::edit(daemon(find(ladder, Rung::Edited)), 0);
    for told in &mut told {
        told.times.iter_mut().zip(&first_hop).for_each(|(all, first)| *all -= first);
    }
    report(&told, (family, mix), results);
}

fn find(ladder: &mut [Standing], rung: Rung) -> &mut Standing {
    ladder.iter_mut().find(|standing| standing.rung == rung).expect("it is on the ladder")
}

fn daemon(standing: &Standing) -> &Daemon {
    edited(standing).expect("it is edited")
}

impl Standing {
    /// Nanoseconds of each of so many packets beside edits, and how many edits there were in a second.
    fn send_beside(&mut self, edited: Edited, packets: usize, number: &mut usize) -> (f64, f64) {
        if edited == Edited::Nothing {
            // Edits before this left judgements behind that do not stand.
            self.run(&(0..self.mix.flows as u32).collect::<Vec<_>>());
            return (self.send_many(packets), 0.0);
        }
        let client = Client::new(daemon(self).socket());
        let (end, ended) = channel();
        let editor = thread::spawn({
            let first = *number;
            move || edit(&client, edited, first, &ended)
        });
        let start = Instant::now();
        let time = self.send_many(packets);
        let sent = start.elapsed();
        end.send(()).expect("it edits");
        let edits = editor.join().expect("it told why");
        *number += edits;
        (time, edits as f64 / sent.as_secs_f64())
    }

    /// Nanoseconds of each of so many packets.
    fn send_many(&mut self, packets: usize) -> f64 {
        self.send_drawn(packets / WARM_UP);
        self.send_drawn(packets).as_nanos() as f64 / packets as f64
    }

    fn send_drawn(&mut self, packets: usize) -> Duration {
        let mut took = Duration::ZERO;
        for begun in (0..packets).step_by(DRAWN) {
            let count = DRAWN.min(packets - begun);
            let drawn: Vec<u32> = (0..count).map(|_| self.chooser.next() as u32).collect();
            took += self.run(&drawn);
        }
        took
    }
}

/// Edits at an even pace until told to end, each another one; returns how many.
fn edit(client: &Client, edited: Edited, first: usize, ended: &Receiver<()>) -> usize {
    processor::stay_on(processor::OTHERS);
    let (begun, mut count) = (Instant::now(), 0);
    loop {
        order::give(client, edited.policy(first + count));
        count += 1;
        let due = (PACE * count as u32).saturating_sub(begun.elapsed());
        if ended.recv_timeout(due) != Err(RecvTimeoutError::Timeout) {
            return count;
        }
    }
}

impl Edited {
    /// Another one than with the number before.
    fn policy(self, number: usize) -> String {
        let host = if self == Self::Prefix { 1 + number % 250 } else { 0 };
        let network = format!("[network.edited]\nprefixes = [\"192.0.2.0/24\", \"198.51.100.{host}/32\"]\n");
        let rule = "[[rule]]\nname = \"edited\"\nfrom = [\"edited\"]\nto = [\"db\"]\n";
        match self {
            Self::Nothing | Self::Prefix => format!("{NETWORKS}{network}"),
            Self::Rule => {
                let port = 1 + number % 60_000;
                format!("{NETWORKS}{network}{rule}allow = [\"udp/{port}\"]\n")
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no edits",
            Self::Prefix => "a prefix of another network, ten times a second",
            Self::Rule => "a rule between others, ten times a second",
        }
    }
}

fn report(told: &[Told; ALL.len()], (family, mix): (Family, Mix), results: &mut Results) {
    let mixed = mix.name(family);
    let mut tell = |of: String, edited: Edited, unit, value, times, of_what: &'static str| {
        let (part, what) = ("forward".into(), format!("enforcer, {}", edited.name()));
        results.tell(Row { part, of, what, unit, value, times, of_what: of_what.into() });
    };
    println!("  {mixed}, edits meanwhile");
    let without = &told[0].times;
    for (edited, Told { times, .. }) in ALL.into_iter().zip(told) {
        let ratios = Estimate::of(times.iter().zip(without).map(|(own, without)| own / without));
        let (of, value) = (format!("{mixed}, edits meanwhile"), Estimate::of(times.iter().copied()));
        tell(of, edited, Unit::Nanoseconds, value, ratios, "that without edits");
    }
    for (edited, Told { edits_per_second, .. }) in ALL.into_iter().zip(told).skip(1) {
        let (of, wanted) = (format!("{mixed}, edits in a second"), 1.0 / PACE.as_secs_f64());
        let ratios = Estimate::of(edits_per_second.iter().map(|pace| pace / wanted));
        tell(of, edited, Unit::PerSecond, Estimate::of(edits_per_second.iter().copied()), ratios, "ten");
    }
    for (edited, Told { times, .. }) in ALL.into_iter().zip(told).skip(1) {
        let measured = Estimate::of(without.iter().zip(times).map(|(without, own)| without / own));
        let what = format!("throughput beside edits of {}, {mixed}, of that without", edited.name());
        results.goals.push(Goal::at_least("forward", what, GOAL, measured));
    }
}

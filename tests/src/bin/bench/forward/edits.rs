//! Edits of the policy while packets are on their way, ten a second: on the same host as without them, a packet of any flow
//! after the other for as long as that takes. An edit before a measurement leaves out what goes on beside the packets.

use std::time::Duration;

use enforcer_tests::packet::Family;
use nix::time::{ClockId, clock_gettime};

use super::editor::{EDITS_PER_SECOND, Edited, Editor};
use super::mix::Mix;
use super::{Standing, edited};
use crate::Thoroughness;
use crate::ladder::{self, Rung};
use crate::results::{Goal, Results, Row, Unit};
use crate::rounds;
use crate::statistics::Estimate;

/// Each round is a second of packets for every kind of edit.
const ROUNDS: usize = 8;
const PACKETS: usize = 1 << 20;
/// Flows are drawn for so many packets at a time: what the sender needs must not fill the processor's caches.
const DRAWN: usize = 1 << 14;
/// Of all packets, so large a part goes in advance and is not measured.
const WARM_UP: usize = 8;
const GOAL: f64 = 0.8;

/// What one kind of edits told, by round.
#[derive(Default)]
struct Told {
    /// Nanoseconds of a packet, beyond the sender and the first hop.
    times: Vec<f64>,
    /// Of these, what the sender's processor worked on it: all that a packet causes, and nothing of what else the machine
    /// did there meanwhile.
    work: Vec<f64>,
    edits_per_second: Vec<f64>,
}

/// On the host of the rung that is edited. All of its flows were sent before.
pub fn measure(
    ladder: &mut [Standing],
    (family, mix): (Family, Mix),
    thoroughness: Thoroughness,
    results: &mut Results,
) {
    let (packets, mut number) = (thoroughness.of(PACKETS), 0);
    let mut told = Edited::ALL.map(|_| Told::default());
    for round in 0..thoroughness.of(ROUNDS) {
        let first_hop = find(ladder, Rung::FirstHop).send_many(packets);
        let host = find(ladder, Rung::Edited);
        for at in rounds::order(round, told.len()) {
            let (all, edits_per_second) = host.send_beside(Edited::ALL[at], packets, &mut number);
            told[at].times.push(all[0] - first_hop[0]);
            told[at].work.push(all[1] - first_hop[1]);
            told[at].edits_per_second.push(edits_per_second);
        }
    }
    // Who goes on measuring this host knows of no rule.
    ladder::edit(edited(find(ladder, Rung::Edited)).expect("it is edited"), 0);
    report(&told, &mix.name(family), results);
}

fn find(ladder: &mut [Standing], rung: Rung) -> &mut Standing {
    ladder.iter_mut().find(|standing| standing.rung == rung).expect("it is on the ladder")
}

impl Standing {
    /// What each of so many packets takes beside edits, and how many edits there were in a second.
    fn send_beside(&mut self, kind: Edited, packets: usize, number: &mut usize) -> ([f64; 2], f64) {
        if kind == Edited::Nothing {
            // Edits before this left judgements behind that do not stand.
            self.run(&(0..self.mix.flows as u32).collect::<Vec<_>>());
            return (self.send_many(packets), 0.0);
        }
        let editor = Editor::start(edited(self).expect("it is edited"), kind, *number);
        let told = self.send_many(packets);
        let (edits, edits_per_second) = editor.finish();
        *number += edits;
        (told, edits_per_second)
    }

    /// Nanoseconds of each of so many packets, and those that this thread worked on it.
    fn send_many(&mut self, packets: usize) -> [f64; 2] {
        self.send_drawn(packets / WARM_UP);
        self.send_drawn(packets).map(|took| took.as_nanos() as f64 / packets as f64)
    }

    fn send_drawn(&mut self, packets: usize) -> [Duration; 2] {
        let [mut took, mut worked] = [Duration::ZERO; 2];
        for begun in (0..packets).step_by(DRAWN) {
            let count = DRAWN.min(packets - begun);
            let drawn: Vec<u32> = (0..count).map(|_| self.chooser.next() as u32).collect();
            let before = own_work();
            took += self.run(&drawn);
            worked += own_work().saturating_sub(before);
        }
        [took, worked]
    }
}

/// Processor time of this thread.
fn own_work() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has such a clock").into()
}

fn report(told: &[Told; Edited::ALL.len()], mix: &str, results: &mut Results) {
    println!("  {mix}, edits meanwhile");
    let [nothing, ..] = told;
    let of = format!("{mix}, edits meanwhile");
    tell(&of, Unit::Nanoseconds, |at| [&told[at].times, &nothing.times], "that without edits", results);
    let of = format!("{of}: work of the sender's processor");
    tell(&of, Unit::Nanoseconds, |at| [&told[at].work, &nothing.work], "that without edits", results);
    let wanted = vec![EDITS_PER_SECOND; nothing.times.len()];
    let of = format!("{mix}, edits in a second");
    tell(&of, Unit::PerSecond, |at| [&told[at].edits_per_second, &wanted], "what was wanted", results);
    for (edited, Told { times, .. }) in Edited::ALL.into_iter().zip(told).skip(1) {
        let measured = Estimate::of(nothing.times.iter().zip(times).map(|(without, own)| without / own));
        let what = format!("throughput beside edits of {}, {mix}, of that without", edited.name());
        results.goals.push(Goal::at_least("forward", what, GOAL, measured));
    }
}

/// A table of all kinds of edits: what they told, and what that is a multiple of.
fn tell<'a>(
    of: &str,
    unit: Unit,
    told: impl Fn(usize) -> [&'a Vec<f64>; 2],
    of_what: &'static str,
    results: &mut Results,
) {
    for (at, edited) in Edited::ALL.into_iter().enumerate() {
        let [own, base] = told(at);
        results.tell(Row {
            part: "forward".into(),
            of: of.to_owned(),
            what: format!("enforcer, {}", edited.name()),
            unit,
            value: Estimate::of(own.iter().copied()),
            times: Estimate::of(own.iter().zip(base).map(|(own, base)| own / base)),
            of_what: of_what.into(),
        });
    }
}

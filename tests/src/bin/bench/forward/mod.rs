//! What forwarding costs: one packet's way through a host, from the workload that sends to the one that receives, on
//! every rung of the ladder. What the sender and the first hop take is measured beside it and subtracted.
//!
//! Every rung is a host of its own, and all exist at once; rounds go up the ladder and down again (A-B-B-A), and rungs are
//! compared within a round, so that what else the machine does falls on all of them alike.

mod sender;
mod stage;

use std::any::Any;
use std::rc::Rc;

use enforcer_tests::packet::Family;

use crate::Thoroughness;
use crate::ladder::{LADDER, Rung};
use crate::processor;
use crate::results::{Goal, Results, Row, Unit};
use crate::statistics::Estimate;
use stage::{Stage, TOWARDS_A, TOWARDS_B, Wiring};

/// Rounds, and packets of a rung in one.
const ROUNDS: usize = 400;
const PACKETS: usize = 2_000;
/// Of a rung where a packet takes very long.
const SLOW_PACKETS: usize = 50;

/// A rung with its host.
struct Standing {
    rung: Rung,
    stage: Stage,
    _kept: Option<Box<dyn Any>>,
    frames: Rc<[Vec<u8>]>,
    /// The next frame: rounds go on where the one before has ended.
    next: usize,
    /// Nanoseconds of a packet, by round.
    times: Vec<f64>,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!(
        "\nforward: nanoseconds per packet beyond sender and first hop, 64-byte UDP, and times plain routing"
    );
    let rungs: Vec<Rung> =
        LADDER.into_iter().filter(|rung| thoroughness.is_full() || !rung.is_slow()).collect();
    let mut ladder: Vec<Standing> =
        rungs.into_iter().enumerate().map(|(number, rung)| stand(number, rung)).collect();
    processor::stay_on(processor::SENDER);
    for family in Family::BOTH {
        let flows: &[u32] = if thoroughness.is_full() { &[1, 4_096, 65_536, 1 << 20] } else { &[1, 4_096] };
        for flows in flows {
            climb(&mut ladder, family, *flows, thoroughness.of(ROUNDS));
            report(&ladder, family, *flows, results);
        }
    }
}

fn stand(number: usize, rung: Rung) -> Standing {
    let wiring = if rung == Rung::Bridge { Wiring::Bridged } else { Wiring::Routed };
    let stage = Stage::new(&format!("rung{number}"), wiring);
    let kept: Option<Box<dyn Any>> = match rung {
        Rung::FirstHop => Some(Box::new(stage.end_at_the_host())),
        Rung::RedirectPeer => Some(Box::new(stage.redirect_all())),
        _ => rung.set_up(&stage.host, &[TOWARDS_A, TOWARDS_B]),
    };
    Standing { rung, stage, _kept: kept, frames: Rc::default(), next: 0, times: Vec::new() }
}

fn climb(ladder: &mut [Standing], family: Family, flows: u32, rounds: usize) {
    let frames: [Rc<[Vec<u8>]>; 2] =
        [Wiring::Routed, Wiring::Bridged].map(|wiring| stage::frames(wiring, family, flows).into());
    for standing in &mut *ladder {
        let wired = usize::from(standing.rung == Rung::Bridge);
        (standing.frames, standing.next) = (Rc::clone(&frames[wired]), 0);
        // Until tables hold what they can of these flows.
        let all = if standing.rung.is_slow() { SLOW_PACKETS } else { standing.frames.len() };
        standing.send(all);
        standing.times.clear();
    }
    for round in 0..rounds {
        let up = round % 2 == 0;
        let order: Vec<usize> =
            if up { (0..ladder.len()).collect() } else { (0..ladder.len()).rev().collect() };
        for at in order {
            let standing = &mut ladder[at];
            let count = if standing.rung.is_slow() { SLOW_PACKETS } else { PACKETS };
            let time = standing.send(count);
            standing.times.push(time);
        }
    }
}

impl Standing {
    /// Sends so many frames; returns the nanoseconds of each.
    fn send(&mut self, count: usize) -> f64 {
        let frames = self.frames.iter().map(Vec::as_slice).cycle().skip(self.next);
        let took = self.stage.run(frames, count, self.rung.forwards());
        self.next = (self.next + count) % self.frames.len();
        took.as_nanos() as f64 / count as f64
    }
}

fn report(ladder: &[Standing], family: Family, flows: u32, results: &mut Results) {
    let times =
        |rung| &ladder.iter().find(|standing| standing.rung == rung).expect("it is on the ladder").times;
    let first_hop = times(Rung::FirstHop);
    let beyond = |rung: Rung| -> Vec<f64> {
        times(rung).iter().zip(first_hop).map(|(all, first)| all - first).collect()
    };
    let ratio = |rung, of| Estimate::of(beyond(rung).iter().zip(beyond(of)).map(|(own, other)| own / other));
    let first = Estimate::of(first_hop.iter().copied()).median;
    println!("  {family:?}, {flows} flows; sender and first hop {first:.0} ns");
    for rung in ladder.iter().map(|standing| standing.rung).filter(|rung| rung.forwards()) {
        let row = Row {
            part: "forward",
            of: format!("{family:?}, {flows} flows"),
            what: rung.name(),
            unit: Unit::Nanoseconds,
            value: Estimate::of(beyond(rung)),
            to_routing: ratio(rung, Rung::Routing),
        };
        println!("    {row}");
        results.rows.push(row);
    }
    for (goal, flows_of_goal, of) in GOALS {
        if flows_of_goal == flows {
            let measured = ratio(Rung::Enforcer, of);
            let what = format!("forwarding, {family:?}, {flows} flows, against {}", of.name());
            results.goals.push(Goal::at_most(what, goal, measured));
        }
    }
}

/// At most so many times what another rung costs, with so many flows.
const GOALS: [(f64, u32, Rung); 5] = [
    (0.40, 4_096, Rung::Routing),
    (0.22, 4_096, Rung::IptablesLegacy(10)),
    (1.3, 4_096, Rung::RedirectPeer),
    (0.65, 65_536, Rung::Routing),
    (1.0, 1 << 20, Rung::Routing),
];

//! What forwarding costs: one packet's way through a host, from the workload that sends to the one that receives, on
//! every rung of the ladder. What the sender and the first hop take is measured beside it and subtracted.
//!
//! Every rung is a host of its own, and all exist at once; rounds go up the ladder and down again (A-B-B-A), and rungs are
//! compared within a round, so that what else the machine does falls on all of them alike.

mod chooser;
pub mod course;
mod editor;
mod edits;
pub mod mix;
mod sender;
pub mod stage;
mod template;
mod whole;

use std::any::Any;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use enforcer_tests::packet::Family;
use enforcer_tests::{Daemon, processor};

use crate::Thoroughness;
use crate::ladder::{self, Rung};
use crate::results::{Goal, Point, Results, Row, Unit};
use crate::rounds;
use crate::statistics::Estimate;
use chooser::Chooser;
use course::Course;
use mix::{Length, Mix};
use stage::{Stage, Wiring};
use template::Template;

/// Rounds, and packets of a rung in one.
const ROUNDS: usize = 80;
const PACKETS: usize = 4_000;
/// Rounds of the mixes that only some rungs are measured with, and super-packets of a rung in one.
const ROUNDS_OF_OTHERS: usize = 40;
const SUPER_PACKETS: usize = 500;
/// Of a rung where a packet takes very long.
const SLOW_PACKETS: usize = 50;
/// So many times that are sent first and not measured: the processor's caches hold what the rung before had use for.
const WARM_UP: usize = 2;
/// And before them a packet of each flow, unless there are more: a host meets all of them ever again, and its caches hold
/// as many as they can.
const ALL_IN_TURN: usize = 65_536;

/// What is sent to the outside and back.
const OUTSIDE: Mix = Mix::plain(4_096);

/// A rung with its host.
struct Standing {
    rung: Rung,
    stage: Stage,
    /// What must live on so that the rung stays what it is.
    kept: Option<Box<dyn Any>>,
    template: Option<Rc<Template>>,
    mix: Mix,
    chooser: Chooser,
    /// Nanoseconds of a packet, by round.
    times: Vec<f64>,
}

/// From one workload to another.
pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nforward: nanoseconds per packet beyond sender and first hop, UDP, and times plain routing");
    let mut ladder = raise(Course::Within, thoroughness);
    let flows: &[usize] = if thoroughness.is_full() { &[1, 4_096, 65_536, 1 << 20] } else { &[4_096] };
    // Many flows, and super-packets.
    let others = if thoroughness.is_full() { &mix::OTHERS[..] } else { &[mix::OTHERS[0], mix::OTHERS[3]] };
    let plain = flows.iter().map(|flows| (Mix::plain(*flows), ROUNDS));
    let mut mixes: Vec<_> = plain.chain(others.iter().map(|mix| (*mix, ROUNDS_OF_OTHERS))).collect();
    let edited_mix = Mix::plain(if thoroughness.is_full() { EDITED_FLOWS } else { flows[0] });
    // Few flows first: tables that grew for many stay large for a while.
    mixes.sort_by_key(|(mix, _)| mix.flows);
    for family in Family::BOTH {
        for &(mix, rounds) in &mixes {
            climb(&mut ladder, family, mix, thoroughness.of(rounds));
            report(Course::Within, &ladder, family, mix, results);
            if mix.is_whole() {
                whole::report(&ladder, family, mix, results);
            }
            if mix == edited_mix {
                edits::measure(&mut ladder, (family, mix), thoroughness, results);
            }
            if mix.is_plain() {
                goals(&ladder, family, mix.flows, results);
            }
        }
    }
}

/// The same by another binary beside this one's, in one run.
pub fn compare(other: &'static Path, thoroughness: Thoroughness, results: &mut Results) {
    println!("\nforward: nanoseconds per packet beyond sender and first hop, UDP, and times plain routing");
    let rungs = [Rung::FirstHop, Rung::RedirectPeer, Rung::Routing, Rung::Enforcer(2), Rung::Other(other)];
    let mut ladder = raise_to(Course::Within, rungs);
    for family in Family::BOTH {
        for flows in [1, 4_096, 65_536] {
            let mix = Mix::plain(flows);
            climb(&mut ladder, family, mix, thoroughness.of(ROUNDS));
            report(Course::Within, &ladder, family, mix, results);
            let Estimate { median, low, high } = ratio(&ladder, Rung::Enforcer(2), Rung::Other(other));
            println!("    of the other: {median:.2} ({low:.2}–{high:.2})");
        }
    }
}

/// Between a workload and a machine beyond an uplink.
pub fn measure_outside(thoroughness: Thoroughness, results: &mut Results) {
    println!("\noutside: the same between a workload and a machine beyond an uplink");
    let courses = if thoroughness.is_full() { &[Course::Out, Course::In][..] } else { &[Course::Out] };
    for &course in courses {
        let mut ladder = raise(course, thoroughness);
        for family in Family::BOTH {
            climb(&mut ladder, family, OUTSIDE, thoroughness.of(ROUNDS));
            report(course, &ladder, family, OUTSIDE, results);
        }
    }
}

/// All hosts of a ladder; from now on this thread only sends.
fn raise(course: Course, thoroughness: Thoroughness) -> Vec<Standing> {
    raise_to(course, course.rungs().filter(|rung| thoroughness.is_full() || rung.is_quick()))
}

fn raise_to(course: Course, rungs: impl IntoIterator<Item = Rung>) -> Vec<Standing> {
    processor::stay_on(processor::OTHERS);
    let ladder = rungs.into_iter().enumerate().map(|(number, rung)| stand(number, rung, course)).collect();
    processor::stay_on(processor::SENDER);
    ladder
}

fn stand(number: usize, rung: Rung, course: Course) -> Standing {
    let stage = Stage::new(&format!("rung{number}"), wiring(rung));
    let kept: Option<Box<dyn Any>> = match rung {
        Rung::FirstHop => Some(Box::new(stage.end_at_the_host())),
        Rung::RedirectPeer => Some(Box::new(stage.redirect_all())),
        _ => rung.set_up(&stage.host, course.doors()),
    };
    Standing {
        rung,
        stage,
        kept,
        template: None,
        mix: Mix::plain(1),
        chooser: Chooser::default(),
        times: Vec::new(),
    }
}

fn wiring(rung: Rung) -> Wiring {
    match rung {
        Rung::DirectVeth => Wiring::Direct,
        Rung::Bridge => Wiring::Bridged,
        _ => Wiring::Routed,
    }
}

fn climb(ladder: &mut [Standing], family: Family, mix: Mix, rounds: usize) {
    let mut climbing: Vec<&mut Standing> = Vec::new();
    for standing in ladder {
        standing.times.clear();
        if mix.is_for(standing.rung) {
            climbing.push(standing);
        }
    }
    for kind in [Wiring::Routed, Wiring::Bridged, Wiring::Direct] {
        let template = Rc::new(stage::template(kind, family, mix));
        for standing in climbing.iter_mut().filter(|standing| wiring(standing.rung) == kind) {
            standing.prepare(Rc::clone(&template), mix);
        }
    }
    for round in 0..rounds {
        for at in rounds::order(round, climbing.len()) {
            climbing[at].measure();
        }
    }
}

impl Standing {
    /// Sends a frame of each flow: until tables hold what they can of these flows.
    fn prepare(&mut self, template: Rc<Template>, mix: Mix) {
        (self.template, self.mix, self.chooser) = (Some(template), mix, Chooser::new(mix));
        self.stage.prepare(mix.length);
        self.run(&(0..mix.flows as u32).collect::<Vec<_>>());
    }

    /// One round.
    fn measure(&mut self) {
        let count = match self.mix.length {
            _ if self.rung.is_slow() => SLOW_PACKETS,
            Length::Frame(_) => PACKETS,
            Length::Super { .. } => SUPER_PACKETS,
        };
        let mut drawn = |count| -> Vec<u32> { (0..count).map(|_| self.chooser.next() as u32).collect() };
        let (first, drawn) = (drawn(WARM_UP * count), drawn(count));
        if let Some(daemon) = edited(self) {
            ladder::edit(daemon, self.times.len());
        }
        if self.mix.flows <= ALL_IN_TURN {
            self.run(&(0..self.mix.flows as u32).collect::<Vec<_>>());
        }
        self.run(&first);
        let took = self.run(&drawn);
        self.times.push(took.as_nanos() as f64 / count as f64);
    }

    fn run(&mut self, flows: &[u32]) -> Duration {
        let template = self.template.as_ref().expect("it was prepared");
        self.stage.run(template, flows, self.rung.arrives())
    }
}

/// The daemon of the rung that is edited.
fn edited(standing: &Standing) -> Option<&Daemon> {
    let kept = standing.kept.as_deref().filter(|_| standing.rung == Rung::Edited)?;
    kept.downcast_ref()
}

fn times(ladder: &[Standing], rung: Rung) -> &[f64] {
    &ladder.iter().find(|standing| standing.rung == rung).expect("it is on the ladder").times
}

/// What a rung takes beyond the sender and the first hop.
fn beyond(ladder: &[Standing], rung: Rung) -> Vec<f64> {
    let first_hop = times(ladder, Rung::FirstHop);
    times(ladder, rung).iter().zip(first_hop).map(|(all, first)| all - first).collect()
}

fn ratio(ladder: &[Standing], rung: Rung, of: Rung) -> Estimate {
    Estimate::of(beyond(ladder, rung).iter().zip(beyond(ladder, of)).map(|(own, other)| own / other))
}

fn report(course: Course, ladder: &[Standing], family: Family, mix: Mix, results: &mut Results) {
    let first = Estimate::of(times(ladder, Rung::FirstHop).iter().copied()).median;
    let of = format!("{}{}", course.name(), mix.name(family));
    println!("  {of}; sender and first hop {first:.0} ns");
    let measured = ladder.iter().filter(|standing| standing.rung.forwards() && !standing.times.is_empty());
    for rung in measured.map(|standing| standing.rung) {
        let row = Row {
            part: course.part().into(),
            of: of.clone(),
            what: rung.name(),
            unit: Unit::Nanoseconds,
            value: Estimate::of(beyond(ladder, rung)),
            times: ratio(ladder, rung, Rung::Routing),
            of_what: "plain routing".into(),
        };
        println!("    {row}");
        if course == Course::Within && mix.is_plain() {
            results.points.extend(points(rung, family, mix.flows, row.value));
        }
        results.rows.push(row);
    }
}

fn goals(ladder: &[Standing], family: Family, flows: usize, results: &mut Results) {
    if flows == EDITED_FLOWS {
        let measured = ratio(ladder, Rung::Enforcer(2), Rung::Edited);
        let what = format!("throughput right after an edit, {family:?}, {flows} flows, of that without");
        results.goals.push(Goal::at_least("forward", what, 0.8, measured));
    }
    for (goal, flows_of_goal, of) in GOALS {
        if flows_of_goal == flows {
            let measured = ratio(ladder, Rung::Enforcer(2), of);
            let what = format!("forwarding, {family:?}, {flows} flows, against {}", of.name());
            results.goals.push(Goal::at_most("forward", what, goal, measured));
        }
    }
}

/// Where a figure lies in the pictures: against flows, unless its rung is measured with one alone; and with one flow, against
/// rules.
fn points(rung: Rung, family: Family, flows: usize, y: Estimate) -> Vec<Point> {
    let point = |against: &'static str, series, x| Point {
        part: "forward".into(),
        plot: format!("forwarding, {family:?}, against {against}"),
        series,
        against: against.into(),
        x,
        unit: Unit::Nanoseconds,
        y,
    };
    let mut points = Vec::new();
    if !rung.is_for_one_flow() {
        points.push(point("flows", rung.name(), flows as f64));
    }
    if let (1, Some((series, entries))) = (flows, rung.entries()) {
        points.push(point("rules, networks or addresses", series.to_owned(), entries.into()));
    }
    points
}

/// Flows of the goal about edits. Between two edits 12,000 packets go, some hundredth of all flows: nearly each packet finds
/// a judgement of another generation, as it would with ten edits a second.
const EDITED_FLOWS: usize = 1 << 20;

/// At most so many times what another rung costs, with so many flows.
const GOALS: [(f64, usize, Rung); 7] = [
    (0.40, 4_096, Rung::Routing),
    (0.22, 4_096, Rung::IptablesLegacy(10)),
    (1.3, 4_096, Rung::RedirectPeer),
    (0.65, 65_536, Rung::Routing),
    (0.7, 65_536, Rung::KernelTables),
    (1.0, 1 << 20, Rung::Routing),
    (0.6, 1 << 20, Rung::KernelTables),
];

//! What `enforcer flows` takes to read all flows that are known, few and very many: from the start of the command to its
//! last line.

use std::any::Any;
use std::time::Instant;

use enforcer_tests::packet::Family;
use enforcer_tests::{Daemon, processor};

use crate::forward::course::Course;
use crate::forward::mix::Mix;
use crate::forward::stage::{self, Stage, Wiring};
use crate::ladder::Rung;
use crate::results::{Point, Results, Row, Unit};
use crate::statistics::Estimate;
use crate::{Thoroughness, rounds};

const FLOWS: [usize; 3] = [1, 65_536, 1 << 20];
const QUICK_FLOWS: [usize; 2] = [1, 4_096];
const ROUNDS: usize = 6;

/// A host that knows so many flows.
struct Standing {
    flows: usize,
    kept: Box<dyn Any>,
    _stage: Stage,
    /// Milliseconds of a readout, by round.
    times: Vec<f64>,
}

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nreadout: `enforcer flows --limit 1`, which reads all flows and shows one");
    let flows = if thoroughness.is_full() { &FLOWS[..] } else { &QUICK_FLOWS };
    let mut hosts: Vec<Standing> = flows.iter().copied().map(stand).collect();
    // The command; the daemons have the other one.
    processor::stay_on(processor::SENDER);
    for round in 0..thoroughness.of(ROUNDS) {
        for at in rounds::order(round, hosts.len()) {
            hosts[at].read();
        }
    }
    let one = &hosts[0].times;
    for host in &hosts {
        report(host, one, results);
    }
}

fn stand(flows: usize) -> Standing {
    processor::stay_on(processor::OTHERS);
    let mut stage = Stage::new(&format!("readout{flows}"), Wiring::Routed);
    let kept = Rung::Enforcer(2).set_up(&stage.host, Course::Within.doors()).expect("a daemon");
    let template = stage::template(Wiring::Routed, Family::V4, Mix::plain(flows));
    processor::stay_on(processor::SENDER);
    stage.run(&template, &(0..flows as u32).collect::<Vec<_>>(), true);
    Standing { flows, kept, _stage: stage, times: Vec::new() }
}

impl Standing {
    /// One round.
    fn read(&mut self) {
        let daemon: &Daemon = self.kept.downcast_ref().expect("the rung's daemon");
        let start = Instant::now();
        let output = daemon.cli(&["flows", "--limit", "1"]);
        self.times.push(start.elapsed().as_secs_f64() * 1e3);
        assert!(output.status.success(), "enforcer flows, {} known: {output:?}", self.flows);
    }
}

fn report(host: &Standing, one: &[f64], results: &mut Results) {
    let value = Estimate::of(host.times.iter().copied());
    let row = Row {
        part: "readout".into(),
        of: "enforcer flows".into(),
        what: format!("{} flows known", host.flows),
        unit: Unit::Milliseconds,
        value,
        times: Estimate::of(host.times.iter().zip(one).map(|(own, one)| own / one)),
        of_what: "that with 1 flow".into(),
    };
    println!("    {row}");
    results.rows.push(row);
    results.points.push(Point {
        part: "readout".into(),
        plot: "readout of all flows".into(),
        series: "enforcer flows".into(),
        against: "flows".into(),
        x: host.flows as f64,
        unit: Unit::Milliseconds,
        y: value,
    });
}

//! Rungs whose workloads take turns at the same task, and are compared within a round.

use anyhow::Result;
use enforcer_tests::packet::Family;

use crate::ladder::Rung;
use crate::pair::Pair;
use crate::results::{Goal, Results, Row, Unit};
use crate::rounds;
use crate::statistics::Estimate;

/// What a task tells, and how many times plain routing's it should be.
pub struct Figure {
    pub what: &'static str,
    pub unit: Unit,
    pub goal: Option<f64>,
}

/// What is done between two workloads once in a round.
pub struct Task {
    /// What is measured by it, in order.
    pub figures: &'static [Figure],
    pub measure: fn(&Pair, Family) -> Result<Vec<f64>>,
}

/// Adds what the task tells of all pairs; the first one's are what the others are compared with.
pub fn hold(
    part: &'static str,
    pairs: &[Pair],
    (task, family): (&Task, Family),
    rounds: usize,
    results: &mut Results,
) {
    // By pair, round and figure.
    let mut values: Vec<Vec<Vec<f64>>> = vec![Vec::new(); pairs.len()];
    for round in 0..rounds {
        for at in rounds::order(round, pairs.len()) {
            let (what, rung) = (task.figures[0].what, pairs[at].rung.name());
            let told = (task.measure)(&pairs[at], family);
            values[at].push(told.unwrap_or_else(|error| panic!("{what}, {rung}: {error:#}")));
        }
    }
    for (at, figure) in task.figures.iter().enumerate() {
        let of_figure = |rounds: &Vec<Vec<f64>>| rounds.iter().map(|told| told[at]).collect();
        let values: Vec<Vec<f64>> = values.iter().map(of_figure).collect();
        report(part, (figure, family), pairs, &values, results);
    }
}

fn report(
    part: &'static str,
    (figure, family): (&Figure, Family),
    pairs: &[Pair],
    values: &[Vec<f64>],
    results: &mut Results,
) {
    println!("  {family:?}, {}", figure.what);
    let of = format!("{}, {family:?}", figure.what);
    for (pair, own) in pairs.iter().zip(values) {
        let times = Estimate::of(own.iter().zip(&values[0]).map(|(own, first)| own / first));
        let row = Row {
            part: part.into(),
            of: of.clone(),
            what: pair.rung.name(),
            unit: figure.unit,
            value: Estimate::of(own.iter().copied()),
            times,
            of_what: "plain routing".into(),
        };
        println!("    {row}");
        results.rows.push(row);
        if let (Some(goal), Rung::Enforcer(2)) = (figure.goal, pair.rung) {
            let what = format!("TCP: {of}, against {}", Rung::Routing.name());
            results.goals.push(Goal::at_least(part, what, goal, times));
        }
    }
}

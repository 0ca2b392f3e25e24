//! The last of what an order takes: one record of a generation, behind which one store lets it decide. No prefix is
//! written then, nor ever in place: the tables that the record names were built whole.

use enforcer_tests::cost::NETWORKS;
use enforcer_tests::prog_run::Lab;

use super::OF_WHAT;
use crate::Thoroughness;
use crate::results::{Goal, Results, Unit};
use crate::statistics::{Estimate, quantile};

/// Records that are written, and microseconds that 99 of 100 may take.
const WRITES: usize = 20_000;
const GOAL: f64 = 5.0;

/// Beside what whole orders take, in milliseconds.
pub fn measure(thoroughness: Thoroughness, orders: &[f64], results: &mut Results) {
    let (what, writes) = ("one generation record, no prefix", writes(thoroughness.of(WRITES)));
    let orders: Vec<f64> = orders.iter().map(|milliseconds| milliseconds * 1e3).collect();
    results.waits(("update", what), "written", Unit::Microseconds, [&writes, &orders], OF_WHAT);
    let what = format!("{what}: µs to write it, tables built whole before, 99 of 100");
    results.goals.push(Goal::at_most("update", what, GOAL, Estimate::of([quantile(&writes, 0.99)])));
}

/// Microseconds that each write took.
fn writes(count: usize) -> Vec<f64> {
    let mut lab = Lab::new();
    lab.apply(NETWORKS);
    std::iter::repeat_with(|| lab.record_again().as_secs_f64() * 1e6).take(count).collect()
}

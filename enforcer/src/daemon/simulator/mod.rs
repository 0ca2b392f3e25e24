//! The daemon's whole life, simulated: the core on a kernel, a disk and a host of our own making, where
//! anything may fail, die or be reused at any moment. A seed is a life; the same seed is the same life.
//!
//! Other seeds: `ENFORCER_SIM_SEEDS=100000 ENFORCER_SIM_FIRST=10000`.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use self::{trace::Step, world::Effects};

mod disk;
mod faults;
mod flows;
mod found;
mod host;
mod invariants;
mod kernel;
mod ledger;
mod machine;
mod members;
mod pool;
mod trace;
mod world;

/// Failures that are shown at once.
const FAILURES: usize = 3;

#[test]
fn whatever_happens_only_what_was_asked_for_passes() {
    let (first, count) = (number("ENFORCER_SIM_FIRST", 0), number("ENFORCER_SIM_SEEDS", 10_000));
    let started = Instant::now();
    let mut effects = Effects::default();
    let failures: Vec<String> =
        (first..first + count).filter_map(|seed| failure(seed, &mut effects)).take(FAILURES).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let Effects { faults, applies, confirms } = effects;
    // A few lives may have little of it.
    assert!(count < 100 || (faults > 0 && applies > 0 && confirms > 0), "of {count} lives came {effects:?}");
    println!("{count} lives, {:.0} a second", count as f64 / started.elapsed().as_secs_f64());
}

fn number(variable: &str, otherwise: u64) -> u64 {
    env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// What goes wrong, and the shortest life in which it does, as far as leaving out steps finds it. Of what goes well the
/// effects are added.
fn failure(seed: u64, effects: &mut Effects) -> Option<String> {
    let steps = trace::steps(seed);
    if let Ok(life) = live(&steps) {
        *effects += life;
        return None;
    }
    let shortest = shortened(steps);
    let violation = live(&shortest).expect_err("it fails still");
    let lines: Vec<String> = shortest.iter().map(|step| format!("    {step:?}")).collect();
    Some(format!("seed {seed}: {violation}\n{}", lines.join("\n")))
}

/// A panic is a failure like any other.
fn live(steps: &[Step]) -> Result<Effects, String> {
    catch_unwind(AssertUnwindSafe(|| world::live(steps)))
        .unwrap_or_else(|_| Err("a panic, see above".to_owned()))
}

/// Leaves out what is not needed to fail, larger parts first.
fn shortened(mut steps: Vec<Step>) -> Vec<Step> {
    let mut size = steps.len();
    while size > 0 {
        let mut start = 0;
        while start < steps.len() {
            let end = (start + size).min(steps.len());
            let without: Vec<Step> = [&steps[..start], &steps[end..]].concat();
            if live(&without).is_err() {
                steps = without;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    steps
}

//! Nanoseconds per packet of each program, in rounds that take turns.

use enforcer::datapath::{load::PROGRAMS, sizes::TableKind};
use enforcer_tests::{
    cost::{self, Effort, Law, SCENARIOS},
    packet::Family,
    prog_run::Lab,
};

use crate::Thoroughness;
use crate::results::{Results, Row, Unit};
use crate::statistics::{Estimate, quantile};

/// Rounds; each measures every scenario once.
const ROUNDS: usize = 21;
const EFFORT: Effort = Effort { runs: 100_000, misses: 300 };

/// What the kernel tells of a program; nothing is 0.
const TOLD: [(&str, Unit); 3] = [
    ("programs, verified", Unit::Instructions),
    ("programs, translated", Unit::Bytes),
    ("programs, machine code", Unit::Bytes),
];

/// Nanoseconds that a scenario took in each round, by family.
type Times = [Vec<f64>; 2];

/// Which of the rounds count.
type Pick = fn(&[f64]) -> Vec<f64>;
const PICKS: [(&str, Pick); 2] = [("all rounds", <[f64]>::to_vec), ("the quickest round", quickest)];

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\npackets: what the kernel tells of the programs, and nanoseconds of a packet");
    let mut lab = cost::lab(TableKind::Own);
    report_programs(&mut lab, results);
    let laws = Law::ALL.map(|law| (law, law.policy()));
    let mut times: Vec<Times> = vec![Times::default(); SCENARIOS.len()];
    let rounds = thoroughness.of(ROUNDS);
    for _ in 0..rounds {
        for (law, policy) in &laws {
            lab.apply(policy);
            measure_under(*law, &mut lab, &mut times);
        }
    }
    print_times(&times, rounds);
    add_times(&times, results);
}

fn measure_under(law: Law, lab: &mut Lab, times: &mut [Times]) {
    for (scenario, times) in SCENARIOS.iter().zip(times) {
        if scenario.law == law {
            for (column, family) in Family::BOTH.into_iter().enumerate() {
                times[column].push(scenario.measure(lab, family, EFFORT).as_nanos() as f64);
            }
        }
    }
}

fn report_programs(lab: &mut Lab, results: &mut Results) {
    let programs = PROGRAMS.map(|name| {
        let program = lab.program(name);
        let verified = program.verified_instruction_count().unwrap_or(0);
        (name, [verified, program.size_translated().unwrap_or(0), program.size_jitted()])
    });
    for (at, (of, unit)) in TOLD.into_iter().enumerate() {
        let values = programs.map(|(name, told)| (name.to_owned(), Estimate::of([f64::from(told[at])])));
        results.table(("packets", of), unit, &values);
    }
}

fn print_times(times: &[Times], rounds: usize) {
    println!("\n  nanoseconds: minimum and median of {rounds} rounds of {} packets", EFFORT.runs);
    println!("  {:<62} {:>6} {:>6}   {:>6} {:>6}", "", "v4 min", "median", "v6 min", "median");
    for (scenario, times) in SCENARIOS.iter().zip(times) {
        let [(v4_min, v4_median), (v6_min, v6_median)] =
            times.each_ref().map(|times| least_and_median(times));
        println!("  {:<62} {v4_min:>6.0} {v4_median:>6.0}   {v6_min:>6.0} {v6_median:>6.0}", scenario.name);
    }
    println!("  * {} packets a round, each measured alone: the clock's own cost is in these", EFFORT.misses);
}

fn least_and_median(times: &[f64]) -> (f64, f64) {
    (quantile(times, 0.0), quantile(times, 0.5))
}

fn quickest(times: &[f64]) -> Vec<f64> {
    vec![quantile(times, 0.0)]
}

/// Each beside the first, which most packets are like.
fn add_times(times: &[Times], results: &mut Results) {
    let names = names();
    for (column, family) in Family::BOTH.into_iter().enumerate() {
        for (rounds, pick) in PICKS {
            let picked: Vec<Vec<f64>> = times.iter().map(|times| pick(&times[column])).collect();
            results.rows.extend(names.iter().zip(&picked).map(|(name, own)| Row {
                part: "packets".into(),
                of: format!("{family:?}, {rounds}"),
                what: name.clone(),
                unit: Unit::Nanoseconds,
                value: Estimate::of(own.iter().copied()),
                times: Estimate::of(own.iter().zip(&picked[0]).map(|(own, first)| own / first)),
                of_what: head(SCENARIOS[0].name).into(),
            }));
        }
    }
}

/// Of all scenarios. In the table some go on where one before them began.
fn names() -> Vec<String> {
    SCENARIOS
        .iter()
        .scan("", |began, scenario| {
            let more = scenario.name.strip_prefix("  ");
            if more.is_none() {
                *began = head(scenario.name);
            }
            Some(more.map_or_else(|| scenario.name.to_owned(), |more| format!("{began}, {more}")))
        })
        .collect()
}

/// Up to the colon: which program, and which packet.
fn head(name: &'static str) -> &'static str {
    name.split_once(':').map_or(name, |(head, _)| head)
}

//! Nanoseconds per packet of each program, in rounds that take turns.

use std::time::Duration;

use enforcer::datapath::load::PROGRAMS;
use enforcer_tests::{
    cost::{self, Effort, Law, SCENARIOS},
    packet::Family,
    prog_run::Lab,
};

use crate::Thoroughness;
use crate::results::Results;

/// Rounds; each measures every scenario once.
const ROUNDS: usize = 21;
const EFFORT: Effort = Effort { runs: 100_000, misses: 300 };

/// What a scenario took in each round, by family.
type Times = [Vec<Duration>; 2];

pub fn measure(thoroughness: Thoroughness, _: &mut Results) {
    let mut lab = cost::lab();
    print_programs(&mut lab);
    let laws = Law::ALL.map(|law| (law, law.policy()));
    let mut times: Vec<Times> = vec![Times::default(); SCENARIOS.len()];
    let rounds = thoroughness.of(ROUNDS);
    for _ in 0..rounds {
        for (law, policy) in &laws {
            lab.apply(policy);
            measure_under(*law, &mut lab, &mut times);
        }
    }
    print_times(times, rounds);
}

fn measure_under(law: Law, lab: &mut Lab, times: &mut [Times]) {
    for (scenario, times) in SCENARIOS.iter().zip(times) {
        if scenario.law == law {
            for (column, family) in Family::BOTH.into_iter().enumerate() {
                times[column].push(scenario.measure(lab, family, EFFORT));
            }
        }
    }
}

fn print_programs(lab: &mut Lab) {
    println!("programs");
    for name in PROGRAMS {
        let program = lab.program(name);
        println!(
            "  {name:<16} {:>7} instructions verified, {:>6} bytes translated, {:>6} bytes of machine code",
            program.verified_instruction_count().unwrap_or(0),
            program.size_translated().unwrap_or(0),
            program.size_jitted(),
        );
    }
}

fn print_times(times: Vec<Times>, rounds: usize) {
    println!("\nnanoseconds per packet: minimum and median of {rounds} rounds of {} packets", EFFORT.runs);
    println!("  {:<62} {:>6} {:>6}   {:>6} {:>6}", "", "v4 min", "median", "v6 min", "median");
    for (scenario, [mut v4, mut v6]) in SCENARIOS.iter().zip(times) {
        let ((v4_min, v4_median), (v6_min, v6_median)) =
            (least_and_median(&mut v4), least_and_median(&mut v6));
        println!("  {:<62} {v4_min:>6} {v4_median:>6}   {v6_min:>6} {v6_median:>6}", scenario.name);
    }
    println!("  * {} packets a round, each measured alone: the clock's own cost is in these", EFFORT.misses);
}

fn least_and_median(times: &mut [Duration]) -> (u128, u128) {
    times.sort_unstable();
    (times[0].as_nanos(), times[times.len() / 2].as_nanos())
}

//! What packets cost; in a virtual machine that counts instructions a record is kept of it.

use enforcer_guest::figure::{Figure, Quantity};
use enforcer_tests::{
    cost::{self, Effort, Law, SCENARIOS, Scenario},
    kernel,
    packet::Family,
    prog_run::Lab,
};

/// Few: where instructions are counted each run takes as many as the one before, and where time is taken, it is
/// only looked whether each scenario is what it says.
const EFFORT: Effort = Effort { runs: 100, misses: 5 };
/// The least of so many is what no interrupt disturbed.
const ROUNDS: usize = 5;

#[test]
fn each_scenario_is_what_it_says() {
    let mut lab = cost::lab();
    for law in [Law::Networks, Law::OneRule] {
        lab.apply(&law.policy());
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.law == law) {
            match scenario.wants().filter(|feature| kernel::may_lack(*feature)) {
                Some(feature) => kernel::leave_out(feature),
                None => measure(scenario, &mut lab),
            }
        }
    }
}

fn measure(scenario: &Scenario, lab: &mut Lab) {
    for family in Family::BOTH {
        let rounds = (0..ROUNDS).map(|_| scenario.measure(lab, family, EFFORT));
        let value = rounds.min().expect("there are some").as_nanos() as u64;
        let name = format!("{}, {family:?}", scenario.name.trim_end_matches(" *"));
        Figure { quantity: Quantity::PerPacket, name, value }.say();
    }
}

//! What packets cost; in a virtual machine that counts instructions a record is kept of it.

use enforcer::datapath::sizes::TableKind;
use enforcer_guest::figure::{Figure, Quantity};
use enforcer_tests::{
    cost::{self, Effort, Law, SCENARIOS, Scenario},
    kernel,
    packet::Family,
    prog_run::Lab,
};
use rstest::rstest;

/// Few: where instructions are counted each run takes as many as the one before, and where time is taken, it is
/// only looked whether each scenario is what it says.
const EFFORT: Effort = Effort { runs: 100, misses: 5 };
/// The least of so many is what no interrupt disturbed.
const ROUNDS: usize = 5;

#[rstest]
#[case::own("", TableKind::Own)]
#[case::kernel(", tables = \"kernel\"", TableKind::Kernel)]
fn each_scenario_is_what_it_says(#[case] of: &str, #[case] tables: TableKind) {
    let mut lab = cost::lab(tables);
    for law in [Law::Networks, Law::OneRule] {
        lab.apply(&law.policy());
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.law == law) {
            match scenario.wants().filter(|feature| kernel::may_lack(*feature)) {
                Some(feature) => kernel::leave_out(feature),
                None => measure(scenario, &mut lab, of),
            }
        }
    }
}

/// `of` tells tables that are not ours.
fn measure(scenario: &Scenario, lab: &mut Lab, of: &str) {
    for family in Family::BOTH {
        let rounds = (0..ROUNDS).map(|_| scenario.measure(lab, family, EFFORT));
        let value = rounds.min().expect("there are some").as_nanos() as u64;
        let name = format!("{}, {family:?}{of}", scenario.name.trim_end_matches(" *"));
        Figure { quantity: Quantity::PerPacket, name, value }.say();
    }
}

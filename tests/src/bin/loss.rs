//! `cargo xtask soak --loss`: the loss trial in its full length.

use std::process::ExitCode;
use std::time::Instant;

use enforcer_tests::loss::{self, Plan, Rates, Scene};

const PLAN: Plan = Plan { kills: 50, upgrades: 40, relayouts: 10, applies: 200, rollbacks: 10 };
/// Per route; there are two allowed pairs, each over both families.
const RATES: Rates = Rates { datagrams: 10_000, records: 1000 };

fn main() -> ExitCode {
    let mut scene = Scene::build("loss");
    let disturbances = PLAN.disturbances(&scene.versions());
    let started = Instant::now();
    let report = loss::run(&mut scene, RATES, &disturbances);
    let Plan { kills, upgrades, relayouts, applies, rollbacks } = PLAN;
    println!(
        "{kills} kills, {upgrades} upgrades and {relayouts} to another layout and back, {applies} policies, \
         {rollbacks} rollbacks in {:.0?}",
        started.elapsed()
    );
    println!("{report}");
    let faults = report.faults();
    for fault in &faults {
        eprintln!("{fault}");
    }
    let (verdict, code) = match (faults.is_empty(), report.is_machines()) {
        (true, _) => ("nothing lost, doubled, reordered or let through", ExitCode::SUCCESS),
        (false, true) => (
            "the machine had no room for as much, which shows nothing; try again when it is idle",
            ExitCode::FAILURE,
        ),
        (false, false) => ("see above", ExitCode::FAILURE),
    };
    println!("loss: {verdict}");
    code
}

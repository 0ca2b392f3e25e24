//! Nothing that happens to the daemon costs a packet; the long form is `cargo xtask soak --loss`.

use enforcer_tests::loss::{self, Plan, Rates, Scene};
use enforcer_tests::wait;

/// So often at most where the machine had no room for packets, which shows nothing.
const TRIALS: usize = 3;

#[test]
fn kills_upgrades_and_policies_lose_no_packet_and_let_none_through() {
    let mut scene = Scene::build("loss");
    let slowness = wait::slowness();
    let plan = match slowness {
        1 => Plan { kills: 6, upgrades: 6, relayouts: 2, applies: 30, rollbacks: 4 },
        _ => Plan { kills: 1, upgrades: 1, relayouts: 0, applies: 3, rollbacks: 1 },
    };
    let rates = Rates { datagrams: 5000 / slowness.pow(3), records: 500 / slowness.pow(3) };
    let disturbances = plan.disturbances(&scene.versions());
    for trial in 1..=TRIALS {
        let report = loss::run(&mut scene, rates, &disturbances);
        println!("{report}");
        if trial == TRIALS || report.faults().is_empty() || !report.is_machines() {
            return report.verify();
        }
    }
}

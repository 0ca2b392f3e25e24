//! One prefix comes into a network, and everything else stays or makes room for others: from the order at the daemon's
//! socket to the first packet that passes for it; and what of that the last step takes, a generation's record.

mod load;
pub mod order;
mod record;
mod scene;

use enforcer_tests::packet::Family;

use crate::Thoroughness;
use crate::results::{Goal, Results, Unit};
use crate::scale::{self, Extent};
use crate::statistics::{Estimate, quantile};
use scene::Scene;

/// Changes of each row.
const CHANGES: usize = 200;
/// What may take so long for 99 of 100 changes.
const GOAL: f64 = 5.0;
/// What takes the place of a small policy at once, and how often.
const BULKS: [(Extent, usize); 3] = [(scale::THOUSAND, 10), (scale::LARGE, 5), (scale::MILLION, 3)];
/// What they are called that are changed as a whole.
const REPLACED: &str = "all others replaced";
/// What waits are multiples of.
const OF_WHAT: &str = "one prefix more with 2 networks, V4";

pub fn measure(thoroughness: Thoroughness, results: &mut Results) {
    println!("\nupdate: one prefix more, from the order to the first packet that it lets pass");
    let changes = |family, others| Scene::new(family, others).changes(thoroughness.of(CHANGES));
    let few = changes(Family::V4, [""; 2]);
    one_more(&few, "2 networks, V4", &few, results);
    one_more(&changes(Family::V6, [""; 2]), "2 networks, V6", &few, results);
    if thoroughness.is_full() {
        let large = networks_of(scale::LARGE);
        let name = format!("and {}", scale::LARGE.name);
        one_more(&changes(Family::V4, [&large; 2]), &name, &few, results);
        let replaced = changes(Family::V4, [&large, &scale::others(&large)]);
        waits(REPLACED, scale::LARGE.name, [&replaced, &few], results);
    }
    load::measure(thoroughness, &few, results);
    bulks(thoroughness, results);
    record::measure(thoroughness, &few, results);
}

fn one_more(times: &[f64], name: &str, few: &[f64], results: &mut Results) {
    let what = "one prefix more";
    waits(what, name, [times, few], results);
    let what = format!("{what}, {name}: ms to the first packet, 99 of 100");
    results.goals.push(Goal::at_most("update", what, GOAL, Estimate::of([quantile(times, 0.99)])));
}

fn waits(of: &'static str, name: &str, times: [&[f64]; 2], results: &mut Results) {
    results.waits(("update", of), name, Unit::Milliseconds, times, OF_WHAT);
}

/// A large policy takes the place of one of two networks.
fn bulks(thoroughness: Thoroughness, results: &mut Results) {
    let bulks = if thoroughness.is_full() { &BULKS[..] } else { &BULKS[..1] };
    let measured = bulks.iter().map(|(extent, count)| {
        let policy = networks_of(*extent);
        let times = Scene::new(Family::V4, ["", &policy]).changes(thoroughness.of(*count));
        (extent.name.to_owned(), Estimate::of(times))
    });
    let of = "many prefixes in place of few";
    results.table(("update", of), Unit::Milliseconds, &measured.collect::<Vec<_>>());
}

/// The networks of a large policy, to be put behind others.
fn networks_of(extent: Extent) -> String {
    scale::policy(extent).replacen("version = 1\n", "", 1)
}

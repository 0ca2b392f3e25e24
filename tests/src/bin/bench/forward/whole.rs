//! The whole way, with sender and first hop: beside workloads without a host between them, which is the least that a
//! packet into another namespace takes.

use enforcer_tests::packet::Family;

use super::mix::Mix;
use super::{Standing, times};
use crate::ladder::Rung;
use crate::results::{Results, Row, Unit};
use crate::statistics::Estimate;

/// All are compared with the first.
const RUNGS: [Rung; 5] =
    [Rung::DirectVeth, Rung::FirstHop, Rung::RedirectPeer, Rung::Routing, Rung::Enforcer(2)];

/// Adds what was measured of these rungs, with nothing subtracted.
pub fn report(ladder: &[Standing], family: Family, mix: Mix, results: &mut Results) {
    let of = format!("{}, the whole way", mix.name(family));
    println!("  {of}");
    let least = times(ladder, RUNGS[0]);
    for rung in RUNGS {
        let own = times(ladder, rung);
        results.tell(Row {
            part: "forward".into(),
            of: of.clone(),
            what: rung.name(),
            unit: Unit::Nanoseconds,
            value: Estimate::of(own.iter().copied()),
            times: Estimate::of(own.iter().zip(least).map(|(own, least)| own / least)),
            of_what: "one veth between both".into(),
        });
    }
}

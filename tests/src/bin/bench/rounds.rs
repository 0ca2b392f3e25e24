//! Rounds: what is compared takes turns, up and down (A-B-B-A), so that nobody is always the first.

/// The order of a round among so many.
pub fn order(round: usize, count: usize) -> Vec<usize> {
    let up = 0..count;
    if round.is_multiple_of(2) { up.collect() } else { up.rev().collect() }
}

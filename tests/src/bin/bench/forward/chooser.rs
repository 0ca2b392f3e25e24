//! Which flow comes next.

use std::rc::Rc;

use super::mix::{Mix, Popularity};
use crate::draw::Draw;

/// Parts that a share of all packets is told in.
const FINE: usize = 1 << 53;

/// Chooses flows of a mix one after the other, in an order that is the same for all rungs.
#[derive(Clone, Default)]
pub struct Chooser {
    flows: usize,
    /// By Zipf's law: what is sent of the flow and of all before it, of all that is sent.
    shares: Option<Rc<[f64]>>,
    draw: Draw,
}

impl Chooser {
    /// From the beginning.
    pub fn new(mix: Mix) -> Self {
        let shares = (mix.popularity == Popularity::Zipf).then(|| zipf(mix.flows));
        Self { flows: mix.flows, shares, draw: Draw::default() }
    }

    /// The next one's number.
    pub fn next(&mut self) -> usize {
        let Some(shares) = &self.shares else { return self.draw.below(self.flows) };
        let share = self.draw.below(FINE) as f64 / FINE as f64;
        shares.partition_point(|until| *until <= share).min(self.flows - 1)
    }
}

fn zipf(flows: usize) -> Rc<[f64]> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (1..=flows)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    for share in &mut shares {
        *share /= sum;
    }
    shares.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_flow_comes_half_as_often_as_the_first() {
        let mut chooser = Chooser::new(Mix { popularity: Popularity::Zipf, ..Mix::plain(1_000) });
        let mut times = vec![0_u32; 1_000];
        for _ in 0..100_000 {
            times[chooser.next()] += 1;
        }
        let ratio = f64::from(times[0]) / f64::from(times[1]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
        assert!(times[999] < times[9], "{times:?}");
    }
}

//! Medians, and how sure they are.

use serde::{Deserialize, Serialize};

/// A median with the interval that holds the true one in 95 of 100 runs; of fewer than six values, with the extremes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// Of values of any distribution, at least one: the interval lies between two of them, whose ranks follow from the
    /// binomial distribution (here its normal approximation).
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (count, last) = (sorted.len() as f64, sorted.len() - 1);
        let reach = 1.96 * count.sqrt() / 2.0;
        let low = (count / 2.0 - reach).floor().max(0.0) as usize;
        let high = ((count / 2.0 + reach).ceil() as usize).min(last);
        Self {
            median: f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]),
            low: sorted[low],
            high: sorted[high],
        }
    }
}

impl Estimate {
    /// How many times `other` this is: of what was not measured in the same rounds, and of small differences, of which
    /// those of single rounds are mostly noise, and so are ratios of them.
    pub fn times(self, other: Self) -> Self {
        let [median, low, high] = [other.median, other.low, other.high].map(|value| value.max(0.1));
        Self { median: self.median / median, low: self.low / high, high: self.high / low }
    }
}

/// The value that so large a part of all are not beyond; `values` are at least one.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let ranks = [0.0, 0.5, 0.99, 1.0].map(|part| quantile(&values, part) as u32);
        assert_eq!(ranks, [1, 100, 198, 200]);
        assert_eq!(quantile(&[7.0], 0.99) as u32, 7);
    }

    #[test]
    fn few_values_are_their_own_interval() {
        assert_eq!(Estimate::of([7.0, 1.0, 3.0]), Estimate { median: 3.0, low: 1.0, high: 7.0 });
        assert_eq!(Estimate::of([4.0, 1.0]), Estimate { median: 2.5, low: 1.0, high: 4.0 });
        assert_eq!(Estimate::of([5.0]), Estimate { median: 5.0, low: 5.0, high: 5.0 });
    }

    #[test]
    fn the_interval_narrows_with_more_values() {
        let of = |count: u32| Estimate::of((0..count).map(f64::from));
        assert_eq!(of(100), Estimate { median: 49.5, low: 40.0, high: 60.0 });
        assert_eq!(of(10_000), Estimate { median: 4_999.5, low: 4_902.0, high: 5_098.0 });
    }
}

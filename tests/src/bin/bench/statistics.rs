//! Medians, and how sure they are.

use serde::Serialize;

/// A median with the interval that holds the true one in 95 of 100 runs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_of_any_order() {
        assert_eq!(Estimate::of([7.0, 1.0, 3.0]).median, 3.0);
        assert_eq!(Estimate::of([4.0, 1.0, 2.0, 7.0]).median, 3.0);
        assert_eq!(Estimate::of([5.0]), Estimate { median: 5.0, low: 5.0, high: 5.0 });
    }

    #[test]
    fn the_interval_narrows_with_more_values() {
        let of = |count: u32| Estimate::of((0..count).map(f64::from));
        let Estimate { low, high, .. } = of(100);
        assert_eq!((low, high), (40.0, 60.0));
        assert!((of(10_000).high - of(10_000).low) / 10_000.0 < (high - low) / 100.0);
    }
}

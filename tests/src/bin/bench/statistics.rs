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
            median: (sorted[last / 2] + sorted[sorted.len() / 2]) / 2.0,
            low: sorted[low],
            high: sorted[high],
        }
    }
}

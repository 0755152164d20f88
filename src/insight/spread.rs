//! How far values lie apart.

use serde::{Deserialize, Serialize};

/// The value below which the share `q` (0..=1) of `sorted` lies, between two neighbours linearly (numpy's default,
/// type 7 of Hyndman and Fan 1996). `None` without values.
pub fn percentile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor();
    let (low, high) = (sorted[below as usize], sorted[position.ceil() as usize]);
    Some(low + (high - low) * (position - below))
}

/// How many values lie in each of equally wide bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Lower edge of the first bin.
    pub low: f64,
    /// Upper edge of the last.
    pub high: f64,
    /// A value on an edge counts in the bin above it; `high` itself in the last.
    pub counts: Vec<usize>,
}

impl Histogram {
    /// Over the range of the values; those that are not finite are left out. `None` without values.
    pub fn of(values: &[f64], bins: usize) -> Option<Histogram> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let low = finite().reduce(f64::min)?;
        let high = finite().reduce(f64::max)?;
        let mut counts = vec![0; bins.max(1)];
        for value in finite() {
            // Equal values have no width: all are in the first bin.
            let share = if high > low { (value - low) / (high - low) } else { 0.0 };
            let bin = (share * counts.len() as f64) as usize;
            let last = counts.len() - 1;
            counts[bin.min(last)] += 1;
        }
        Some(Histogram { low, high, counts })
    }
}

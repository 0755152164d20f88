//! Columnar series behind the charts: appended as events arrive. Beside the values stand the extremes and the sum of
//! every whole block, so that a reduction for drawing reads a few numbers a pixel however long the run is.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values of one metric of one arm by step, steps ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    steps: Vec<u32>,
    values: Vec<f64>,
    /// One for every whole [`BLOCK`] of values.
    blocks: Vec<Block>,
    /// Sum of all whole blocks.
    sum: f64,
    /// Unlike that of any other state of any series; the key of the caches.
    generation: u64,
}

static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Values in a block.
pub const BLOCK: usize = 32;

/// So many values in a row. Its values are copied, not looked up: reducing a long series is a walk over its blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    pub first_step: u32,
    /// Indices of its lowest and its highest value.
    pub low_at: u32,
    pub high_at: u32,
    pub low: f64,
    pub high: f64,
    /// Sum of all values before it.
    sum_before: f64,
}

impl Series {
    /// Appends `value` at `step`. Going back (a resumed run) forgets what lay at or after `step`.
    /// Values that are not finite are left out: they would break axis bounds.
    pub fn push(&mut self, step: usize, value: f64) {
        let (Ok(step), true) = (u32::try_from(step), value.is_finite()) else { return };
        if self.steps.last().is_some_and(|&last| last >= step) {
            self.truncate(self.steps.partition_point(|&at| at < step));
        }
        self.steps.push(step);
        self.values.push(value);
        self.generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        if self.values.len().is_multiple_of(BLOCK) {
            let from = self.values.len() - BLOCK;
            let (low, high) = self.scan(from..self.values.len());
            self.blocks.push(Block {
                first_step: self.steps[from],
                low_at: low as u32,
                high_at: high as u32,
                low: self.values[low],
                high: self.values[high],
                sum_before: self.sum,
            });
            self.sum += self.values[from..].iter().sum::<f64>();
        }
    }

    fn truncate(&mut self, length: usize) {
        self.steps.truncate(length);
        self.values.truncate(length);
        let whole = length / BLOCK;
        if let Some(first_gone) = self.blocks.get(whole) {
            self.sum = first_gone.sum_before;
            self.blocks.truncate(whole);
        }
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn steps(&self) -> &[u32] {
        &self.steps
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The point at `index`, which must be below [`Self::len`].
    pub fn at(&self, index: usize) -> (f64, f64) {
        (f64::from(self.steps[index]), self.values[index])
    }

    pub fn first(&self) -> Option<(f64, f64)> {
        (!self.is_empty()).then(|| self.at(0))
    }

    pub fn last(&self) -> Option<(f64, f64)> {
        Some(self.at(self.len().checked_sub(1)?))
    }

    /// How many points lie before `step`.
    pub fn before(&self, step: f64) -> usize {
        self.steps.partition_point(|&at| f64::from(at) < step)
    }

    /// The recorded point nearest to `step`.
    pub fn nearest(&self, step: f64) -> Option<(f64, f64)> {
        let right = self.before(step);
        let candidates = [right.checked_sub(1), (right < self.len()).then_some(right)];
        let distance = |index: &usize| (f64::from(self.steps[*index]) - step).abs();
        let nearer = |a: &usize, b: &usize| distance(a).total_cmp(&distance(b));
        Some(self.at(candidates.into_iter().flatten().min_by(nearer)?))
    }

    /// The whole blocks; values behind the last of them belong to none yet.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Indices of the lowest and the highest value of a range that is not empty.
    fn scan(&self, range: Range<usize>) -> (usize, usize) {
        let mut best = (range.start, range.start);
        for index in range {
            if self.values[index] < self.values[best.0] {
                best.0 = index;
            }
            if self.values[index] > self.values[best.1] {
                best.1 = index;
            }
        }
        best
    }

    /// Mean of a range that is not empty.
    pub fn mean(&self, range: Range<usize>) -> f64 {
        let count = range.len() as f64;
        let (first, last) = (range.start.div_ceil(BLOCK), range.end / BLOCK);
        let sum: f64 = if first >= last {
            self.values[range].iter().sum()
        } else {
            let before = |block: usize| self.blocks.get(block).map_or(self.sum, |b| b.sum_before);
            let head: f64 = self.values[range.start..first * BLOCK].iter().sum();
            let tail: f64 = self.values[last * BLOCK..range.end].iter().sum();
            head + (before(last) - before(first)) + tail
        };
        sum / count
    }
}

/// Where a series comes from: single batches or the fixed probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    Step,
    Probe,
}

impl Source {
    pub fn word(self) -> &'static str {
        match self {
            Source::Step => "step",
            Source::Probe => "probe",
        }
    }
}

/// Names one series of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub source: Source,
    pub arm: String,
    pub metric: String,
}

/// All series of one run.
#[derive(Clone, Debug, Default)]
pub struct Store {
    series: Vec<(Key, Series)>,
    index: HashMap<Source, HashMap<String, HashMap<String, usize>>>,
}

impl Store {
    /// The number of a series, which is begun if need be. It stays the same as long as the store lives.
    pub fn column(&mut self, source: Source, arm: &str, metric: &str) -> usize {
        if let Some(found) = self.find(source, arm, metric) {
            return found;
        }
        let number = self.series.len();
        let key = Key { source, arm: arm.to_owned(), metric: metric.to_owned() };
        let arms = self.index.entry(source).or_default();
        arms.entry(key.arm.clone()).or_default().insert(key.metric.clone(), number);
        self.series.push((key, Series::default()));
        number
    }

    fn find(&self, source: Source, arm: &str, metric: &str) -> Option<usize> {
        self.index.get(&source)?.get(arm)?.get(metric).copied()
    }

    /// The metric that [`Self::column`] numbered.
    pub fn metric(&self, column: usize) -> &str {
        self.series.get(column).map_or("", |(key, _)| &key.metric)
    }

    pub fn push_at(&mut self, column: usize, step: usize, value: f64) {
        if let Some((_, series)) = self.series.get_mut(column) {
            series.push(step, value);
        }
    }

    pub fn push(&mut self, source: Source, arm: &str, metric: &str, step: usize, value: f64) {
        let column = self.column(source, arm, metric);
        self.push_at(column, step, value);
    }

    pub fn get(&self, source: Source, arm: &str, metric: &str) -> Option<&Series> {
        self.series.get(self.find(source, arm, metric)?).map(|(_, series)| series)
    }

    pub fn series(&self, key: &Key) -> Option<&Series> {
        self.get(key.source, &key.arm, &key.metric)
    }

    /// Every series, in the order of their names.
    pub fn all(&self) -> Vec<(&Key, &Series)> {
        let mut all: Vec<_> = self.series.iter().map(|(key, series)| (key, series)).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(n: usize) -> Series {
        let mut series = Series::default();
        for i in 0..n {
            series.push(i, (i as f64 * 0.37).sin() * (1.0 + i as f64 * 1e-3));
        }
        series
    }

    #[test]
    fn blocks_say_what_a_look_at_every_value_says() {
        let series = noisy(1000);
        for (from, to) in [(0, 1000), (1, 999), (63, 65), (64, 128), (60, 700), (5, 6), (128, 960)]
        {
            let plain = series.values[from..to].iter().sum::<f64>() / (to - from) as f64;
            assert!((series.mean(from..to) - plain).abs() < 1e-12, "{from}..{to}");
        }
    }

    #[test]
    fn going_back_forgets_later_points_and_their_blocks() {
        let mut series = noisy(300);
        series.push(100, 9.0);
        assert_eq!((series.len(), series.last()), (101, Some((100.0, 9.0))));
        for i in 101..300 {
            series.push(i, 1.0);
        }
        let plain = series.values.iter().sum::<f64>() / 300.0;
        assert!((series.mean(0..300) - plain).abs() < 1e-12);
        assert_eq!(series.blocks.len(), 300 / BLOCK);
        assert_eq!(series.blocks[4].high, 1.0);
    }

    #[test]
    fn nearest_and_not_finite() {
        let mut s = Series::default();
        assert_eq!(s.nearest(1.0), None);
        s.push(0, 1.0);
        s.push(10, f64::NAN);
        s.push(20, 3.0);
        assert_eq!(s.len(), 2);
        assert_eq!(s.nearest(9.0), Some((0.0, 1.0)));
        assert_eq!(s.nearest(11.0), Some((20.0, 3.0)));
        assert_eq!(s.nearest(-5.0), Some((0.0, 1.0)));
    }
}

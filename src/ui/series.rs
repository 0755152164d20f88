//! Columnar series behind the charts: appended as events arrive, reduced for drawing when the data or
//! the visible range change, never re-scanned in between.

use std::collections::HashMap;

use egui_plot::PlotPoint;

/// Values of one metric of one arm by step, steps ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    xs: Vec<f64>,
    ys: Vec<f64>,
    /// Exponential moving average of `ys`, kept up to date on append.
    smooth: Vec<f64>,
    /// Grows with every change; the key of the caches.
    generation: u64,
}

/// Weight of the newest value in the moving average.
const EMA_WEIGHT: f64 = 0.15;

impl Series {
    /// Appends `y` at step `x`. Going back (a resumed run) forgets what lay at or after `x`.
    /// Values that are not finite are left out: they would break axis bounds.
    pub fn push(&mut self, x: f64, y: f64) {
        if !x.is_finite() || !y.is_finite() {
            return;
        }
        if self.xs.last().is_some_and(|&last| last >= x) {
            let keep = self.xs.partition_point(|&v| v < x);
            self.xs.truncate(keep);
            self.ys.truncate(keep);
            self.smooth.truncate(keep);
        }
        let smooth = self.smooth.last().map_or(y, |&s| s + EMA_WEIGHT * (y - s));
        self.xs.push(x);
        self.ys.push(y);
        self.smooth.push(smooth);
        self.generation += 1;
    }

    pub fn len(&self) -> usize {
        self.xs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.xs.is_empty()
    }

    pub fn first(&self) -> Option<(f64, f64)> {
        Some((*self.xs.first()?, *self.ys.first()?))
    }

    pub fn last(&self) -> Option<(f64, f64)> {
        Some((*self.xs.last()?, *self.ys.last()?))
    }

    /// The recorded point nearest to step `x`.
    pub fn nearest(&self, x: f64) -> Option<(f64, f64)> {
        let right = self.xs.partition_point(|&v| v < x);
        let candidates = [right.checked_sub(1), (right < self.xs.len()).then_some(right)];
        let index = candidates
            .into_iter()
            .flatten()
            .min_by(|&a, &b| (self.xs[a] - x).abs().total_cmp(&(self.xs[b] - x).abs()))?;
        Some((self.xs[index], self.ys[index]))
    }

    fn values(&self, smooth: bool) -> &[f64] {
        if smooth { &self.smooth } else { &self.ys }
    }
}

/// At most two points (lowest and highest) for each of `buckets` equal slices of `[lo, hi]`, in the
/// order of steps; one neighbour on either side is kept so that lines run to the edge.
pub fn reduce_min_max(xs: &[f64], ys: &[f64], lo: f64, hi: f64, buckets: usize) -> Vec<PlotPoint> {
    let start = xs.partition_point(|&x| x < lo).saturating_sub(1);
    let end = (xs.partition_point(|&x| x <= hi) + 1).min(xs.len());
    if start >= end {
        return Vec::new();
    }
    let (xs, ys) = (&xs[start..end], &ys[start..end]);
    let buckets = buckets.max(1);
    if xs.len() <= 2 * buckets {
        return xs.iter().zip(ys).map(|(&x, &y)| PlotPoint::new(x, y)).collect();
    }
    let (first, last) = (xs[0], xs[xs.len() - 1]);
    let width = ((last - first) / buckets as f64).max(f64::MIN_POSITIVE);
    let mut points = Vec::with_capacity(2 * buckets);
    let mut begin = 0;
    for bucket in 0..buckets {
        let edge =
            if bucket + 1 == buckets { f64::INFINITY } else { first + width * (bucket + 1) as f64 };
        let stop = begin + xs[begin..].partition_point(|&x| x < edge);
        push_extremes(&xs[begin..stop], &ys[begin..stop], &mut points);
        begin = stop;
    }
    points
}

fn push_extremes(xs: &[f64], ys: &[f64], points: &mut Vec<PlotPoint>) {
    if xs.is_empty() {
        return;
    }
    let (mut low, mut high) = (0, 0);
    for (index, y) in ys.iter().enumerate() {
        if *y < ys[low] {
            low = index;
        }
        if *y > ys[high] {
            high = index;
        }
    }
    points.push(PlotPoint::new(xs[low.min(high)], ys[low.min(high)]));
    if low != high {
        points.push(PlotPoint::new(xs[low.max(high)], ys[low.max(high)]));
    }
}

/// Where a series comes from: single batches or the fixed probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    Step,
    Probe,
}

/// Names one series of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub source: Source,
    pub arm: String,
    pub metric: String,
}

/// All series of one run.
#[derive(Clone, Debug, Default)]
pub struct Store {
    series: HashMap<Source, HashMap<String, HashMap<String, Series>>>,
}

impl Store {
    pub fn push(&mut self, source: Source, arm: &str, metric: &str, x: f64, y: f64) {
        let arms = self.series.entry(source).or_default();
        if !arms.contains_key(arm) {
            arms.insert(arm.to_owned(), HashMap::new());
        }
        if let Some(metrics) = arms.get_mut(arm) {
            if !metrics.contains_key(metric) {
                metrics.insert(metric.to_owned(), Series::default());
            }
            if let Some(series) = metrics.get_mut(metric) {
                series.push(x, y);
            }
        }
    }

    pub fn get(&self, source: Source, arm: &str, metric: &str) -> Option<&Series> {
        self.series.get(&source)?.get(arm)?.get(metric)
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// What a cached reduction was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Made {
    generation: u64,
    lo: f64,
    hi: f64,
    buckets: usize,
}

/// A chart line: where its values come from, arm, metric, and whether it is smoothed.
type LineKey = (Source, String, String, bool);

/// Reduced points by chart line; one entry is remade only when its series or range changed.
#[derive(Debug, Default)]
pub struct ReducedCache {
    entries: HashMap<LineKey, (Made, Vec<PlotPoint>)>,
    /// Reductions made so far; tests watch it.
    pub made: u64,
}

impl ReducedCache {
    /// Brings the entry of one line up to date for the range `[lo, hi]` on `pixels` pixels.
    pub fn update(
        &mut self,
        store: &Store,
        key: &Key,
        smooth: bool,
        (lo, hi): (f64, f64),
        pixels: f32,
    ) {
        let Some(series) = store.get(key.source, &key.arm, &key.metric) else {
            self.entries.remove(&entry_key(key, smooth));
            return;
        };
        let buckets = (pixels.max(16.0)) as usize;
        let made = Made { generation: series.generation, lo, hi, buckets };
        let id = entry_key(key, smooth);
        if self.entries.get(&id).is_some_and(|(old, _)| *old == made) {
            return;
        }
        let points = reduce_min_max(&series.xs, series.values(smooth), lo, hi, buckets);
        self.made += 1;
        self.entries.insert(id, (made, points));
    }

    /// The points of a line that [`Self::update`] prepared.
    pub fn points(&self, key: &Key, smooth: bool) -> &[PlotPoint] {
        self.entries.get(&entry_key(key, smooth)).map_or(&[], |(_, points)| points)
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn entry_key(key: &Key, smooth: bool) -> LineKey {
    (key.source, key.arm.clone(), key.metric.clone(), smooth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(n: usize) -> Series {
        let mut series = Series::default();
        for i in 0..n {
            let x = i as f64;
            series.push(x, (x * 0.37).sin() + if i == n / 3 { 50.0 } else { 0.0 });
        }
        series
    }

    #[test]
    fn reduction_keeps_extremes_and_at_most_two_points_a_pixel() {
        let s = noisy(100_000);
        let points = reduce_min_max(&s.xs, &s.ys, 0.0, 99_999.0, 500);
        assert!(points.len() <= 1000);
        assert!(points.iter().any(|p| p.y > 49.0), "the one spike must survive");
        assert!(points.windows(2).all(|w| w[0].x < w[1].x), "steps must ascend");
    }

    #[test]
    fn reduction_of_a_window_keeps_one_neighbour_on_each_side() {
        let s = noisy(100);
        let points = reduce_min_max(&s.xs, &s.ys, 10.5, 20.5, 500);
        assert_eq!((points[0].x, points[points.len() - 1].x), (10.0, 21.0));
    }

    #[test]
    fn going_back_forgets_later_points() {
        let mut s = noisy(10);
        s.push(4.0, 9.0);
        assert_eq!(s.len(), 5);
        assert_eq!(s.last(), Some((4.0, 9.0)));
        assert_eq!(s.smooth.len(), 5);
    }

    #[test]
    fn nearest_and_not_finite() {
        let mut s = Series::default();
        assert_eq!(s.nearest(1.0), None);
        s.push(0.0, 1.0);
        s.push(10.0, f64::NAN);
        s.push(20.0, 3.0);
        assert_eq!(s.len(), 2);
        assert_eq!(s.nearest(9.0), Some((0.0, 1.0)));
        assert_eq!(s.nearest(11.0), Some((20.0, 3.0)));
        assert_eq!(s.nearest(-5.0), Some((0.0, 1.0)));
    }

    #[test]
    fn cache_reduces_again_only_after_a_change() {
        let mut store = Store::default();
        let key = Key { source: Source::Step, arm: "dpop".into(), metric: "loss".into() };
        for i in 0..5000 {
            store.push(Source::Step, "dpop", "loss", f64::from(i), 1.0);
        }
        let mut cache = ReducedCache::default();
        for _ in 0..3 {
            cache.update(&store, &key, false, (0.0, 5000.0), 300.0);
        }
        assert_eq!(cache.made, 1);
        assert!(cache.points(&key, false).len() <= 600);
        store.push(Source::Step, "dpop", "loss", 5000.0, 2.0);
        cache.update(&store, &key, false, (0.0, 5000.0), 300.0);
        assert_eq!(cache.made, 2);
    }
}

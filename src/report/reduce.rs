//! At most two points for each pixel, whatever the length of the run.

use std::cell::OnceCell;
use std::ops::Range;

use super::ruler::Ruler;
use super::series::{BLOCK, Series};

/// What is seen of a chart: a stretch of its axis on so many pixels.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    pub ruler: Ruler<'a>,
    /// Ends of the axis, in its own unit.
    pub lo: f64,
    pub hi: f64,
    pub pixels: usize,
    /// Steps at the pixels' edges, once they were needed.
    edges: OnceCell<Vec<f64>>,
}

impl<'a> Sight<'a> {
    pub fn new(ruler: Ruler<'a>, (lo, hi): (f64, f64), pixels: usize) -> Self {
        Self { ruler, lo, hi, pixels: pixels.max(1), edges: OnceCell::new() }
    }

    fn edges(&self) -> &[f64] {
        let width = (self.hi - self.lo) / self.pixels as f64;
        let edge = |pixel| self.ruler.step(self.lo + width * pixel as f64);
        self.edges.get_or_init(|| (0..=self.pixels).map(edge).collect())
    }

    /// A place within a pixel, from 0 to 1. Where exactly a value stands within its pixel cannot be seen, and
    /// looking it up in a long series costs more than all the rest.
    fn x_in(&self, pixel: usize, share: f64) -> f64 {
        let width = (self.hi - self.lo) / self.pixels as f64;
        self.lo + width * (pixel as f64 + share)
    }
}

/// The lowest and the highest value within each pixel, in the order of steps; one neighbour on either side is kept so
/// that lines run to the edge. A short series comes out as it is.
pub fn extremes(series: &Series, sight: &Sight<'_>) -> Vec<(f64, f64)> {
    let seen = seen(series, sight);
    if seen.len() <= 2 * sight.pixels {
        let point = |index| series.at(index);
        return seen.map(point).map(|(step, y)| (sight.ruler.x(step), y)).collect();
    }
    let mut points = Vec::with_capacity(2 * sight.pixels);
    buckets(series, seen, sight, |bucket| {
        let Bucket { pixel, low, high, .. } = bucket;
        let (first, last) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        points.push((sight.x_in(pixel, 0.25), first.1));
        if last.0 != first.0 {
            points.push((sight.x_in(pixel, 0.75), last.1));
        }
    });
    points
}

/// The moving average over `window` values (centred; at either end over what there is, and at the start evenly on both
/// sides, so that the line begins where the series does), once for each pixel.
pub fn smoothed(series: &Series, sight: &Sight<'_>, window: usize) -> Vec<(f64, f64)> {
    let seen = seen(series, sight);
    let half = window / 2;
    let average = |index: usize| {
        let half = half.min(index);
        series.mean(index - half..(index + half + 1).min(series.len()))
    };
    if seen.len() <= 2 * sight.pixels {
        return seen.map(|index| (sight.ruler.x(series.at(index).0), average(index))).collect();
    }
    let mut points = Vec::with_capacity(sight.pixels);
    buckets(series, seen, sight, |bucket| {
        let middle = (bucket.range.start + bucket.range.end) / 2;
        points.push((sight.x_in(bucket.pixel, 0.5), average(middle)));
    });
    points
}

/// A place of a band: x, its lower and its upper edge.
pub type BandPoint = (f64, f64, f64);

/// What lies between two series: the lowest of `lower` and the highest of `upper` for each pixel.
pub fn band(lower: &Series, upper: &Series, sight: &Sight<'_>) -> Vec<BandPoint> {
    if lower.steps() != upper.steps() {
        return Vec::new();
    }
    let seen = seen(lower, sight);
    if seen.len() <= 2 * sight.pixels {
        let x = |index: usize| sight.ruler.x(lower.at(index).0);
        return seen.map(|i| (x(i), lower.values()[i], upper.values()[i])).collect();
    }
    let mut points = Vec::with_capacity(sight.pixels);
    buckets(lower, seen.clone(), sight, |bucket| {
        points.push((sight.x_in(bucket.pixel, 0.5), bucket.low.1, f64::NEG_INFINITY));
    });
    // Equal steps fall into equal buckets.
    let mut of_upper = points.iter_mut();
    buckets(upper, seen, sight, |bucket| {
        if let Some(point) = of_upper.next() {
            point.2 = bucket.high.1;
        }
    });
    points
}

/// Indices of the points in sight, with one neighbour on either side.
fn seen(series: &Series, sight: &Sight<'_>) -> Range<usize> {
    let (lo, hi) = (sight.ruler.step(sight.lo), sight.ruler.step(sight.hi));
    let start = series.before(lo).saturating_sub(1);
    let end = (series.before(hi) + 1).min(series.len());
    start.min(end)..end
}

/// The values within one pixel.
struct Bucket {
    pixel: usize,
    range: Range<usize>,
    /// The lowest and the highest, each with its index.
    low: (usize, f64),
    high: (usize, f64),
}

/// Gathers `seen` pixel by pixel and passes on what is not empty. Where a pixel holds many blocks, whole blocks are
/// gathered: a block that lies across an edge counts to the pixel it begins in.
fn buckets(series: &Series, seen: Range<usize>, sight: &Sight<'_>, each: impl FnMut(Bucket)) {
    let edges = sight.edges();
    let mut gather = Gather { edges, pixel: 0, now: None, each };
    let by_blocks = seen.len() >= 2 * BLOCK * sight.pixels;
    let (first, last) =
        if by_blocks { (seen.start.div_ceil(BLOCK), seen.end / BLOCK) } else { (0, 0) };
    let (head, tail) =
        if by_blocks { (seen.start..first * BLOCK, last * BLOCK..seen.end) } else { (seen, 0..0) };
    for index in head {
        gather.value(series, index);
    }
    for (number, block) in (first..last).zip(&series.blocks()[first..last]) {
        let range = number * BLOCK..(number + 1) * BLOCK;
        let (low, high) = (block.low_at as usize, block.high_at as usize);
        gather.add(range, block.first_step, (low, block.low), (high, block.high));
    }
    for index in tail {
        gather.value(series, index);
    }
    gather.end();
}

struct Gather<'a, F> {
    edges: &'a [f64],
    pixel: usize,
    now: Option<Bucket>,
    each: F,
}

impl<F: FnMut(Bucket)> Gather<'_, F> {
    fn value(&mut self, series: &Series, index: usize) {
        let value = (index, series.values()[index]);
        self.add(index..index + 1, series.steps()[index], value, value);
    }

    /// Adds values in a row, of which the lowest and the highest are known.
    fn add(&mut self, range: Range<usize>, step: u32, low: (usize, f64), high: (usize, f64)) {
        while self.pixel + 2 < self.edges.len() && f64::from(step) >= self.edges[self.pixel + 1] {
            self.pixel += 1;
        }
        match &mut self.now {
            Some(bucket) if bucket.pixel == self.pixel => {
                bucket.range.end = range.end;
                if low.1 < bucket.low.1 {
                    bucket.low = low;
                }
                if high.1 > bucket.high.1 {
                    bucket.high = high;
                }
            }
            _ => {
                let bucket = Bucket { pixel: self.pixel, range, low, high };
                if let Some(done) = self.now.replace(bucket) {
                    (self.each)(done);
                }
            }
        }
    }

    fn end(mut self) {
        if let Some(done) = self.now.take() {
            (self.each)(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ruler::Axis;

    fn noisy(n: usize) -> Series {
        let mut series = Series::default();
        for i in 0..n {
            series.push(i, (i as f64 * 0.37).sin() + if i == n / 3 { 50.0 } else { 0.0 });
        }
        series
    }

    fn sight(clock: &Series, axis: Axis, lo: f64, hi: f64, pixels: usize) -> Sight<'_> {
        Sight::new(Ruler::new(axis, 10.0, clock), (lo, hi), pixels)
    }

    #[test]
    fn at_most_two_points_a_pixel_and_no_extreme_is_lost_on_any_axis() {
        let s = noisy(100_000);
        let mut clock = Series::default();
        for step in 1..100_000 {
            clock.push(step, (step as f64).powf(1.3));
        }
        for (axis, hi) in [(Axis::Step, 1e5), (Axis::Epoch, 1e4), (Axis::Time, 1e5f64.powf(1.3))] {
            let points = extremes(&s, &sight(&clock, axis, 0.0, hi, 500));
            assert!(points.len() <= 1000 && points.len() > 400, "{axis:?}: {}", points.len());
            assert!(points.iter().any(|p| p.1 > 49.0), "{axis:?}: the one spike must survive");
            assert!(points.windows(2).all(|w| w[0].0 <= w[1].0), "{axis:?}: order");
            let mean = smoothed(&s, &sight(&clock, axis, 0.0, hi, 500), 101);
            assert!(mean.len() <= 500 && mean.iter().all(|p| p.1.abs() < 1.0), "{axis:?}");
        }
    }

    #[test]
    fn a_stretch_keeps_one_neighbour_on_each_side() {
        let (s, clock) = (noisy(100), Series::default());
        let points = extremes(&s, &sight(&clock, Axis::Step, 10.5, 20.5, 500));
        assert_eq!((points[0].0, points[points.len() - 1].0), (10.0, 21.0));
        let beyond = extremes(&s, &sight(&clock, Axis::Step, 500.0, 600.0, 50));
        assert!(beyond.len() <= 1);
    }

    #[test]
    fn a_smoothed_line_begins_where_the_series_does_and_keeps_straight_lines() {
        let (mut line, clock) = (Series::default(), Series::default());
        for i in 0..50 {
            line.push(i, 2.0 * i as f64);
        }
        let points = smoothed(&line, &sight(&clock, Axis::Step, 0.0, 49.0, 300), 9);
        assert_eq!((points[0], points[2], points[30]), ((0.0, 0.0), (2.0, 4.0), (30.0, 60.0)));
        assert_eq!(points[49].1, (45..50).map(|i| 2.0 * f64::from(i)).sum::<f64>() / 5.0);
    }

    #[test]
    fn a_band_holds_both_of_its_edges() {
        let (mut lower, mut upper, clock) = (noisy(9000), noisy(9000), Series::default());
        lower.push(9000, -80.0);
        upper.push(9000, 80.0);
        let points = band(&lower, &upper, &sight(&clock, Axis::Step, 0.0, 9000.0, 300));
        assert!(points.len() <= 300);
        assert!(points.iter().all(|(_, low, high)| low <= high));
        assert!(points.iter().any(|p| p.1 == -80.0) && points.iter().any(|p| p.2 == 80.0));
    }
}

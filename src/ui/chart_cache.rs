//! What charts keep between frames: reduced lines, remade only when their data or the stretch in sight changed, and
//! that stretch, which all charts of one view share.

use std::collections::HashMap;

use egui_plot::PlotPoint;

use crate::report::charts::Curve;
use crate::report::reduce::{self, BandPoint, Sight};
use crate::report::ruler::Axis;
use crate::report::series::{Key, Store};

/// Which line of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Raw,
    Smooth,
}

impl Kind {
    /// The line that stands for the curve.
    pub fn of(curve: &Curve) -> Kind {
        if curve.smooth.is_some() { Kind::Smooth } else { Kind::Raw }
    }
}

/// What a cached reduction was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Made {
    generation: u64,
    axis: Axis,
    lo: f64,
    hi: f64,
    pixels: usize,
    /// Where the end of the sight lies in steps: the time axis moves under the same numbers.
    end: f64,
    window: Option<usize>,
}

/// Reduced lines, and the stretch of the x axis in sight.
#[derive(Debug, Default)]
pub struct ChartCache {
    lines: HashMap<(usize, Key, Kind), (Made, Vec<PlotPoint>)>,
    bands: HashMap<(usize, Key), (Made, Vec<BandPoint>)>,
    /// Reductions made so far; tests watch it.
    pub made: u64,
    /// `None`: everything.
    sight: Option<(f64, f64)>,
}

/// Less than this part of the whole is not shown.
const LEAST_PART: f64 = 1e-5;

impl ChartCache {
    /// Brings the lines of one curve up to date.
    pub fn update(&mut self, store: &Store, curve: &Curve, sight: &Sight<'_>) {
        let kinds = [Some(Kind::Raw), curve.smooth.map(|_| Kind::Smooth)];
        for kind in kinds.into_iter().flatten() {
            self.update_line(store, curve, kind, sight);
        }
        self.update_band(store, curve, sight);
    }

    fn update_line(&mut self, store: &Store, curve: &Curve, kind: Kind, sight: &Sight<'_>) {
        let id = (curve.run, curve.key.clone(), kind);
        let Some(series) = store.series(&curve.key) else {
            self.lines.remove(&id);
            return;
        };
        let window = curve.smooth.filter(|_| kind == Kind::Smooth);
        let made = made(series.generation(), sight, window);
        if self.lines.get(&id).is_some_and(|(old, _)| *old == made) {
            return;
        }
        let points = match window {
            Some(window) => reduce::smoothed(series, sight, window),
            None => reduce::extremes(series, sight),
        };
        self.made += 1;
        let points = points.into_iter().map(|(x, y)| PlotPoint::new(x, y)).collect();
        self.lines.insert(id, (made, points));
    }

    fn update_band(&mut self, store: &Store, curve: &Curve, sight: &Sight<'_>) {
        let id = (curve.run, curve.key.clone());
        let edges = curve.band.as_ref();
        let edges = edges.and_then(|[low, high]| Some((store.series(low)?, store.series(high)?)));
        let Some((lower, upper)) = edges else {
            self.bands.remove(&id);
            return;
        };
        let made = made(lower.generation().max(upper.generation()), sight, None);
        if self.bands.get(&id).is_none_or(|(old, _)| *old != made) {
            self.bands.insert(id, (made, reduce::band(lower, upper, sight)));
            self.made += 1;
        }
    }

    /// The points of a line that [`Self::update`] prepared.
    pub fn line(&self, curve: &Curve, kind: Kind) -> &[PlotPoint] {
        let id = (curve.run, curve.key.clone(), kind);
        self.lines.get(&id).map_or(&[], |(_, points)| points)
    }

    /// The band of a curve, as (x, low, high).
    pub fn band(&self, curve: &Curve) -> &[BandPoint] {
        let id = (curve.run, curve.key.clone());
        self.bands.get(&id).map_or(&[], |(_, points)| points)
    }

    /// The stretch in sight, of the `whole` axis.
    pub fn sight(&self, whole: (f64, f64)) -> (f64, f64) {
        self.sight.unwrap_or(whole)
    }

    pub fn is_zoomed(&self) -> bool {
        self.sight.is_some()
    }

    /// Shows everything again.
    pub fn reset(&mut self) {
        self.sight = None;
    }

    /// Shows `1 / factor` of what is in sight, around `centre` or the middle.
    pub fn zoom(&mut self, factor: f64, centre: Option<f64>, whole: (f64, f64)) {
        let (lo, hi) = self.sight(whole);
        let centre = centre.unwrap_or((lo + hi) / 2.0);
        let widest = whole.1 - whole.0;
        let factor = factor.min((hi - lo) / (widest * LEAST_PART));
        self.show(centre - (centre - lo) / factor, centre + (hi - centre) / factor, whole);
    }

    /// Moves along the axis.
    pub fn shift(&mut self, by: f64, whole: (f64, f64)) {
        let (lo, hi) = self.sight(whole);
        let by = by.clamp(whole.0 - lo, whole.1 - hi);
        if by != 0.0 {
            self.show(lo + by, hi + by, whole);
        }
    }

    /// Moves by a part of what is in sight.
    pub fn shift_by_part(&mut self, part: f64, whole: (f64, f64)) {
        let (lo, hi) = self.sight(whole);
        self.shift((hi - lo) * part, whole);
    }

    fn show(&mut self, lo: f64, hi: f64, whole: (f64, f64)) {
        let (lo, hi) = (lo.max(whole.0), hi.min(whole.1));
        let everything = hi - lo >= (whole.1 - whole.0) * 0.999;
        self.sight = (!everything && hi > lo).then_some((lo, hi));
    }
}

fn made(generation: u64, sight: &Sight<'_>, window: Option<usize>) -> Made {
    Made {
        generation,
        axis: sight.ruler.axis(),
        lo: sight.lo,
        hi: sight.hi,
        pixels: sight.pixels,
        end: sight.ruler.step(sight.hi),
        window,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::palette::Ink;
    use crate::report::ruler::Ruler;
    use crate::report::series::{Series, Source};
    use crate::report::trace::Trace;

    const WHOLE: (f64, f64) = (0.0, 1000.0);

    #[test]
    fn a_line_is_reduced_again_only_after_a_change() {
        let mut store = Store::default();
        for i in 0..5000 {
            store.push(Source::Step, "dpop", "loss", i, 1.0);
        }
        let key = Key { source: Source::Step, arm: "dpop".into(), metric: "loss".into() };
        let curve = Curve {
            label: String::new(),
            trace: Trace { ink: Ink::Kept, dashed: false, kept: true },
            run: 0,
            key,
            smooth: Some(9),
            band: None,
        };
        let clock = Series::default();
        let ruler = Ruler::new(Axis::Step, 1.0, &clock);
        let sight = |hi| Sight::new(ruler, (0.0, hi), 300);
        let mut cache = ChartCache::default();
        for _ in 0..3 {
            cache.update(&store, &curve, &sight(5000.0));
        }
        assert_eq!(cache.made, 2, "one raw line and one smooth");
        assert!(cache.line(&curve, Kind::Raw).len() <= 600);
        cache.update(&store, &curve, &sight(4000.0));
        assert_eq!(cache.made, 4);
        store.push(Source::Step, "dpop", "loss", 5000, 2.0);
        cache.update(&store, &curve, &sight(4000.0));
        assert_eq!(cache.made, 6);
    }

    #[test]
    fn the_sight_stays_within_the_whole() {
        let mut cache = ChartCache::default();
        cache.zoom(2.0, None, WHOLE);
        assert_eq!(cache.sight(WHOLE), (250.0, 750.0));
        cache.shift(9000.0, WHOLE);
        assert_eq!(cache.sight(WHOLE), (500.0, 1000.0));
        cache.shift_by_part(-0.5, WHOLE);
        assert_eq!(cache.sight(WHOLE), (250.0, 750.0));
        cache.zoom(2.0, Some(250.0), WHOLE);
        assert_eq!(cache.sight(WHOLE), (250.0, 500.0));
        cache.zoom(1e9, None, WHOLE);
        let (lo, hi) = cache.sight(WHOLE);
        assert!(hi > lo, "there is always something in sight");
        cache.zoom(1e-9, None, WHOLE);
        assert!(!cache.is_zoomed());
        cache.shift(5.0, WHOLE);
        assert!(!cache.is_zoomed(), "the whole cannot be moved");
    }
}

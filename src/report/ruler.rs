//! The x axis of a run's charts: steps, epochs or training time.

use super::format;
use super::series::Series;

/// What lies along the x axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Axis {
    #[default]
    Step,
    Epoch,
    Time,
}

impl Axis {
    pub const ALL: [Axis; 3] = [Axis::Step, Axis::Epoch, Axis::Time];

    pub fn label(self) -> &'static str {
        match self {
            Axis::Step => "Step",
            Axis::Epoch => "Epoch",
            Axis::Time => "Time",
        }
    }
}

impl Axis {
    /// What a reading calls a place on the axis.
    pub fn words(self, x: f64) -> String {
        match self {
            Axis::Step => format!("Step {x:.0}"),
            Axis::Epoch => format!("Epoch {x:.2}"),
            Axis::Time => format::duration(x),
        }
    }

    /// Round places between `lo` and `hi`, about `least` apart or more, and their labels.
    pub fn ticks(self, lo: f64, hi: f64, least: f64) -> Vec<(f64, String)> {
        let step = match self {
            Axis::Step => format::round_step(least).max(1.0),
            Axis::Epoch => format::round_step(least),
            Axis::Time => round_seconds(least),
        };
        let marks = (hi - lo) / step;
        if step <= 0.0 || !marks.is_finite() || marks > 200.0 {
            return Vec::new();
        }
        let label = |x: f64| match self {
            Axis::Step | Axis::Epoch => format::tick(x, step),
            Axis::Time => format::clock(x, step),
        };
        // Before 0 nothing happened.
        let first = (lo / step).ceil().max(0.0) as i64;
        let last = (hi / step).floor() as i64;
        (first..=last).map(|k| k as f64 * step).map(|x| (x, label(x))).collect()
    }
}

/// The next number of seconds at or above `least` that clocks are divided in.
fn round_seconds(least: f64) -> f64 {
    const STEPS: [f64; 15] = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
        14400.0,
    ];
    let rounded = STEPS.into_iter().find(|step| *step >= least * 0.999);
    rounded.unwrap_or_else(|| format::round_step(least / 3600.0) * 3600.0)
}

/// Turns steps of one run into places on an axis and back.
#[derive(Clone, Copy, Debug)]
pub struct Ruler<'a> {
    axis: Axis,
    steps_per_epoch: f64,
    /// Training seconds by step.
    clock: &'a Series,
}

impl<'a> Ruler<'a> {
    pub fn new(axis: Axis, steps_per_epoch: f64, clock: &'a Series) -> Self {
        Self { axis, steps_per_epoch: steps_per_epoch.max(1e-9), clock }
    }

    pub fn axis(&self) -> Axis {
        self.axis
    }

    /// Where `step` stands.
    pub fn x(&self, step: f64) -> f64 {
        match self.axis {
            Axis::Step => step,
            Axis::Epoch => step / self.steps_per_epoch,
            Axis::Time => self.seconds(step),
        }
    }

    /// The step at `x`.
    pub fn step(&self, x: f64) -> f64 {
        match self.axis {
            Axis::Step => x,
            Axis::Epoch => x * self.steps_per_epoch,
            Axis::Time => self.step_at(x),
        }
    }

    /// Between two recorded steps time passes evenly; after the last it goes on at the mean pace.
    fn seconds(&self, step: f64) -> f64 {
        let right = self.clock.before(step);
        let left = if right == 0 { (0.0, 0.0) } else { self.clock.at(right - 1) };
        match (right < self.clock.len()).then(|| self.clock.at(right)) {
            Some(next) if next.0 > left.0 => {
                left.1 + (next.1 - left.1) * (step - left.0) / (next.0 - left.0)
            }
            Some(next) => next.1,
            None if left.0 > 0.0 => left.1 * step / left.0,
            None => step,
        }
    }

    fn step_at(&self, seconds: f64) -> f64 {
        let right = self.clock.values().partition_point(|&at| at < seconds);
        let left = if right == 0 { (0.0, 0.0) } else { self.clock.at(right - 1) };
        match (right < self.clock.len()).then(|| self.clock.at(right)) {
            Some(next) if next.1 > left.1 => {
                left.0 + (next.0 - left.0) * (seconds - left.1) / (next.1 - left.1)
            }
            Some(next) => next.0,
            None if left.1 > 0.0 => left.0 * seconds / left.1,
            None => seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_on_every_axis() {
        let labels = |axis: Axis, hi, least| -> Vec<String> {
            axis.ticks(-3.0, hi, least).into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(Axis::Step, 3.0, 0.2), ["0", "1", "2", "3"]);
        assert_eq!(labels(Axis::Epoch, 1.1, 0.4), ["0", "0.5", "1.0"]);
        assert_eq!(labels(Axis::Time, 70.0, 25.0), ["0 s", "30 s", "60 s"]);
        assert_eq!(labels(Axis::Time, 5000.0, 1500.0), ["0 min", "30 min", "60 min"]);
        assert_eq!(labels(Axis::Time, 9000.0, 3000.0), ["0 h", "1 h", "2 h"]);
    }

    #[test]
    fn time_and_steps_turn_into_each_other() {
        let mut clock = Series::default();
        for (step, seconds) in [(1, 2.0), (2, 3.0), (10, 19.0)] {
            clock.push(step, seconds);
        }
        let ruler = Ruler::new(Axis::Time, 4.0, &clock);
        for (step, seconds) in [(0.0, 0.0), (0.5, 1.0), (2.0, 3.0), (6.0, 11.0), (20.0, 38.0)] {
            assert!((ruler.x(step) - seconds).abs() < 1e-9, "step {step}");
            assert!((ruler.step(seconds) - step).abs() < 1e-9, "second {seconds}");
        }
        let epochs = Ruler::new(Axis::Epoch, 4.0, &clock);
        assert_eq!((epochs.x(6.0), epochs.step(1.5)), (1.5, 6.0));
        let empty = Series::default();
        assert_eq!(Ruler::new(Axis::Time, 4.0, &empty).step(7.0), 7.0);
    }
}

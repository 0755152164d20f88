//! What a run's events add up to, for everybody who looks at one: window, command line, advice.

use std::collections::BTreeMap;

use super::event::{Event, Metrics, PairGradients, ProbePair};
use crate::insight::gradients::Calibration;

/// The course of every arm.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub arms: BTreeMap<String, ArmHistory>,
}

/// The course of one arm.
#[derive(Clone, Debug, Default)]
pub struct ArmHistory {
    /// Step and metrics of every update.
    pub steps: Vec<(usize, Metrics)>,
    /// Step and metrics of every probe.
    pub probes: Vec<(usize, Metrics)>,
    pub checked: Checked,
}

/// The forecasts of one arm, held against what came.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// How often they were right that a step on the pair itself lowers it.
    pub calibration: Calibration,
    /// How often they were right that the optimiser is heading down.
    pub heading: Calibration,
    /// The latest, which the next probe answers.
    forecast: Vec<PairGradients>,
    /// Chosen log-probability by row at the latest probe.
    chosen: BTreeMap<usize, f64>,
}

impl History {
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> History {
        let mut history = History::default();
        events.into_iter().for_each(|event| history.apply(event));
        history
    }

    pub fn apply(&mut self, event: &Event) {
        match event {
            // What lies beyond the checkpoint that a run goes on from did not happen.
            Event::Started { from_step, .. } => {
                for arm in self.arms.values_mut() {
                    arm.steps.retain(|(step, _)| step <= from_step);
                    arm.probes.retain(|(step, _)| step <= from_step);
                }
            }
            Event::Step { step, arms, .. } => {
                for (name, metrics) in arms {
                    self.arm(name).steps.push((*step, metrics.clone()));
                }
            }
            Event::Probe { step, arms, pairs } => {
                for (name, metrics) in arms {
                    self.arm(name).probes.push((*step, metrics.clone()));
                }
                for (name, pairs) in pairs {
                    self.arm(name).checked.probe(pairs);
                }
            }
            Event::Forecast { arm, pairs, .. } => self.arm(arm).checked.forecast(pairs),
            _ => {}
        }
    }

    fn arm(&mut self, name: &str) -> &mut ArmHistory {
        self.arms.entry(name.to_owned()).or_default()
    }
}

impl Checked {
    pub fn forecast(&mut self, pairs: &[PairGradients]) {
        self.forecast = pairs.to_vec();
    }

    /// Holds the latest forecast against what came.
    pub fn probe(&mut self, pairs: &[ProbePair]) {
        let now: BTreeMap<usize, f64> = pairs.iter().map(|pair| (pair.row, pair.chosen)).collect();
        for pair in std::mem::take(&mut self.forecast) {
            if let (Some(before), Some(after)) = (self.chosen.get(&pair.row), now.get(&pair.row)) {
                self.calibration.count(pair.falls, after < before);
                if pair.heading != 0.0 {
                    self.heading.count(pair.heading < 0.0, after < before);
                }
            }
        }
        self.chosen = now;
    }
}

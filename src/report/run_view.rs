//! What is known of one run: folded from its events, whether they come from the worker's pipe or from a run folder.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crate::train::event::{ArmInfo, ArmMetrics, Event, PairGradients, ProbePair};
use crate::train::history::Checked;

use super::ruler::{Axis, Ruler};
use super::samples::Samples;
use super::series::{Series, Source, Store};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Status {
    /// Nothing ran yet.
    #[default]
    Idle,
    /// The worker loads model and data; the text of its last heartbeat.
    Starting(String),
    Running,
    Paused,
    Finished {
        adapter: PathBuf,
        message: String,
    },
    Stopped {
        checkpoint: PathBuf,
    },
    Failed {
        message: String,
    },
    /// The events end without an ending: the worker was killed or the machine went down.
    Interrupted,
}

impl Status {
    /// A worker is at it: a second run cannot start.
    pub fn is_active(&self) -> bool {
        matches!(self, Status::Starting(_) | Status::Running | Status::Paused)
    }

    pub fn word(&self) -> &'static str {
        match self {
            Status::Idle => "Ready",
            Status::Starting(_) => "Starting",
            Status::Running => "Training",
            Status::Paused => "Paused",
            Status::Finished { .. } => "Finished",
            Status::Stopped { .. } => "Stopped",
            Status::Failed { .. } => "Failed",
            Status::Interrupted => "Interrupted",
        }
    }
}

/// An arm's collapse as the event tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Collapse {
    pub step: usize,
    pub arm: String,
    pub chosen_per_token: f64,
    pub reference_per_token: f64,
    pub message: String,
}

/// Figures of the last step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    pub epoch: f64,
    /// Training seconds, pauses left out.
    pub elapsed: f64,
    pub tokens_per_second: f64,
    pub memory_bytes: u64,
}

/// What the next update would do to an arm's probe pairs, as of its newest forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    pub step: usize,
    /// Share of the pairs whose chosen answer a step of plain DPO would lower.
    pub share: f64,
    pub pairs: Vec<PairGradients>,
}

impl Forecast {
    /// How many chosen answers a step of the arm's own loss would lower.
    pub fn falling(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.falls).count()
    }

    /// How many chosen answers the optimiser is heading down on.
    pub fn heading_down(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.heading < 0.0).count()
    }

    /// Share of the pairs whose push ratio lies in their own band; `None` where no pair has both.
    pub fn in_band(&self) -> Option<f64> {
        let judged = self.pairs.iter().filter_map(|pair| {
            let (band, ratio) = (pair.products.band()?, pair.ratio?);
            Some(band.holds(ratio))
        });
        let judged: Vec<bool> = judged.collect();
        let inside = judged.iter().filter(|inside| **inside).count();
        (!judged.is_empty()).then(|| inside as f64 / judged.len() as f64)
    }
}

/// One run, folded from events.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    pub status: Status,
    pub folder: Option<PathBuf>,
    pub time: String,
    pub device: String,
    /// The kept arm first.
    pub arms: Vec<ArmInfo>,
    pub steps: usize,
    pub step: usize,
    pub from_step: usize,
    pub train_pairs: usize,
    pub probe_pairs: usize,
    pub trainable_parameters: usize,
    pub steps_per_epoch: f64,
    pub store: Store,
    /// Training seconds by step.
    pub clock: Series,
    pub pace: Pace,
    /// (step, training seconds) of recent steps, for the remaining time.
    recent: VecDeque<(usize, f64)>,
    pub collapses: Vec<Collapse>,
    /// By arm.
    pub forecasts: BTreeMap<String, Forecast>,
    /// What earlier forecasts were worth, by arm.
    pub checked: BTreeMap<String, Checked>,
    pub warnings: Vec<String>,
    pub last_checkpoint: Option<(usize, PathBuf)>,
    /// Probe pairs by arm, from the newest probe that carried them, and its step.
    pub pairs: BTreeMap<String, Vec<ProbePair>>,
    pub pairs_step: usize,
    /// Answers written during training.
    pub samples: Samples,
}

/// Steps over which the remaining time is estimated.
const RECENT_STEPS: usize = 40;

impl RunView {
    /// Folds one event in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Started { .. } => self.started(event),
            Event::Step { step, epoch, elapsed, tokens_per_second, memory_bytes, arms, .. } => {
                self.stepped(step, Pace { epoch, elapsed, tokens_per_second, memory_bytes });
                self.record(Source::Step, step, &arms);
            }
            Event::Probe { step, arms, pairs } => {
                self.record(Source::Probe, step, &arms);
                if !pairs.is_empty() {
                    for (arm, pairs) in &pairs {
                        self.checked.entry(arm.clone()).or_default().probe(pairs);
                    }
                    self.pairs = pairs;
                    self.pairs_step = step;
                }
            }
            Event::Forecast { step, arm, share, pairs, .. } => {
                self.forecast(arm, Forecast { step, share, pairs });
            }
            event @ Event::Sample { .. } => self.samples.apply(event),
            Event::Checkpoint { step, path } => self.last_checkpoint = Some((step, path)),
            Event::Warning { message } => self.warnings.push(message),
            Event::Collapse { step, arm, chosen_per_token, reference_per_token, message } => {
                self.collapses.retain(|c| c.arm != arm);
                self.collapses.push(Collapse {
                    step,
                    arm,
                    chosen_per_token,
                    reference_per_token,
                    message,
                });
            }
            Event::Paused { step } => {
                self.step = step;
                self.status = Status::Paused;
            }
            Event::Resumed { step } => {
                self.step = step;
                self.recent.clear();
                self.status = Status::Running;
            }
            Event::Finished { step, adapter, message } => {
                self.step = step;
                self.status = Status::Finished { adapter, message };
            }
            Event::Stopped { step, checkpoint } => {
                self.step = step;
                self.status = Status::Stopped { checkpoint };
            }
            Event::Failed { message } => self.status = Status::Failed { message },
            Event::Heartbeat { phase } => {
                if let Status::Starting(text) = &mut self.status {
                    *text = phase;
                }
            }
        }
    }

    fn started(&mut self, event: Event) {
        let Event::Started {
            run,
            time,
            steps,
            arms,
            device,
            train_pairs,
            probe_pairs,
            trainable_parameters,
            from_step,
            steps_per_epoch,
        } = event
        else {
            return;
        };
        self.steps_per_epoch = steps_per_epoch;
        self.status = Status::Running;
        self.folder = Some(run);
        self.time = time;
        self.steps = steps;
        self.device = device;
        self.train_pairs = train_pairs;
        self.probe_pairs = probe_pairs;
        self.trainable_parameters = trainable_parameters;
        self.from_step = from_step;
        self.step = from_step;
        self.recent.clear();
        self.collapses.retain(|c| c.step <= from_step);
        self.forecasts.retain(|_, forecast| forecast.step <= from_step);
        self.samples.go_back(from_step);
        self.arms = arms;
        self.arms.sort_by_key(|arm| !arm.kept);
    }

    fn forecast(&mut self, arm: String, forecast: Forecast) {
        let step = forecast.step;
        self.store.push(Source::Probe, &arm, "forecast/dpo_lowers", step, forecast.share);
        if let Some(share) = forecast.in_band() {
            self.store.push(Source::Probe, &arm, "forecast/in_band", step, share);
        }
        self.checked.entry(arm.clone()).or_default().forecast(&forecast.pairs);
        self.forecasts.insert(arm, forecast);
    }

    /// An update was made.
    pub(super) fn stepped(&mut self, step: usize, pace: Pace) {
        self.status = Status::Running;
        self.step = step;
        self.pace = pace;
        self.clock.push(step, pace.elapsed);
        self.recent.push_back((step, pace.elapsed));
        if self.recent.len() > RECENT_STEPS {
            self.recent.pop_front();
        }
    }

    fn record(&mut self, source: Source, step: usize, arms: &ArmMetrics) {
        for (arm, metrics) in arms {
            for (metric, &value) in metrics {
                self.store.push(source, arm, metric, step, value);
            }
            self.derive(source, arm, step);
        }
    }

    /// `logps - reference` of both answers in nats: the r of the formulas.
    pub(super) fn derive(&mut self, source: Source, arm: &str, step: usize) {
        for [policy, reference, change] in [
            ["logps/chosen", "reference/chosen", "change/chosen"],
            ["logps/rejected", "reference/rejected", "change/rejected"],
        ] {
            let now = |metric: &str| {
                let (at, value) = self.store.get(source, arm, metric)?.last()?;
                (at == step as f64).then_some(value)
            };
            if let (Some(policy), Some(reference)) = (now(policy), now(reference)) {
                self.store.push(source, arm, change, step, policy - reference);
            }
        }
    }

    /// The x axis of this run's charts.
    pub fn ruler(&self, axis: Axis) -> Ruler<'_> {
        Ruler::new(axis, self.steps_per_epoch, &self.clock)
    }

    /// Training seconds left at the recent pace; `None` while unknown.
    pub fn seconds_left(&self) -> Option<f64> {
        let (&(first, since), &(last, now)) = (self.recent.front()?, self.recent.back()?);
        let steps = last.checked_sub(first).filter(|&n| n > 0)?;
        let per_step = (now - since) / steps as f64;
        Some(per_step * self.steps.saturating_sub(self.step) as f64)
    }

    /// Done share of the run, in 0..=1.
    pub fn progress(&self) -> f32 {
        if self.steps == 0 { 0.0 } else { (self.step as f32 / self.steps as f32).clamp(0.0, 1.0) }
    }

    /// Updates made at the newest probe.
    pub fn last_probe(&self) -> Option<usize> {
        let kept = self.kept()?;
        Some(self.store.get(Source::Probe, &kept.name, "logps/chosen")?.last()?.0 as usize)
    }

    /// The arm whose adapter is exported.
    pub fn kept(&self) -> Option<&ArmInfo> {
        self.arms.iter().find(|arm| arm.kept).or_else(|| self.arms.first())
    }

    /// The newest value of a metric.
    pub fn last(&self, source: Source, arm: &str, metric: &str) -> Option<f64> {
        Some(self.store.get(source, arm, metric)?.last()?.1)
    }

    /// Folds the events of a finished or abandoned run.
    pub fn from_events(events: impl IntoIterator<Item = Event>) -> Self {
        let mut view = RunView::default();
        for event in events {
            view.apply(event);
        }
        view.ended();
        view
    }

    /// There will be no more events; without an ending among them the run was interrupted.
    pub(super) fn ended(&mut self) {
        if self.status.is_active() {
            self.status = Status::Interrupted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(chosen: f64, reference: f64) -> ArmMetrics {
        let m = BTreeMap::from([
            ("logps/chosen".to_owned(), chosen),
            ("reference/chosen".to_owned(), reference),
        ]);
        BTreeMap::from([("dpop".to_owned(), m)])
    }

    fn step(step: usize, elapsed: f64) -> Event {
        Event::Step {
            step,
            epoch: 0.0,
            elapsed,
            tokens_per_second: 10.0,
            num_tokens: 0,
            memory_bytes: 0,
            arms: metrics(-1.0, -0.5),
        }
    }

    fn started(steps: usize, from_step: usize) -> Event {
        let arm = |name: &str, kept| ArmInfo { name: name.into(), objective: name.into(), kept };
        Event::Started {
            run: "r".into(),
            time: String::new(),
            steps,
            steps_per_epoch: 10.0,
            arms: vec![arm("dpo", false), arm("dpop", true)],
            device: "cpu".into(),
            train_pairs: 1,
            probe_pairs: 1,
            trainable_parameters: 1,
            from_step,
        }
    }

    #[test]
    fn the_kept_arm_comes_first_and_change_is_derived() {
        let mut run = RunView::default();
        run.apply(started(10, 0));
        run.apply(Event::Probe { step: 0, arms: metrics(-1.5, -0.5), pairs: BTreeMap::new() });
        assert_eq!(run.arms[0].name, "dpop");
        assert_eq!(run.last(Source::Probe, "dpop", "change/chosen"), Some(-1.0));
    }

    #[test]
    fn remaining_time_follows_the_recent_pace() {
        let mut run = RunView::default();
        run.apply(started(100, 0));
        assert_eq!(run.seconds_left(), None);
        for n in 1..=50 {
            run.apply(step(n, n as f64 * 0.5));
        }
        assert!((run.seconds_left().unwrap() - 25.0).abs() < 1e-9);
        assert!((run.progress() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn events_without_an_ending_mean_interrupted() {
        let run = RunView::from_events([started(100, 0), step(1, 1.0)]);
        assert_eq!(run.status, Status::Interrupted);
        let run = RunView::from_events([started(100, 0), Event::Failed { message: "no".into() }]);
        assert_eq!(run.status, Status::Failed { message: "no".into() });
    }

    #[test]
    fn a_resumed_run_overwrites_later_steps() {
        let mut run = RunView::default();
        run.apply(started(10, 0));
        for n in 1..=6 {
            run.apply(step(n, n as f64));
        }
        run.apply(started(10, 4));
        run.apply(step(5, 9.0));
        let series = run.store.get(Source::Step, "dpop", "logps/chosen").unwrap();
        assert_eq!(series.len(), 5);
        assert_eq!(series.last().unwrap().0, 5.0);
    }
}

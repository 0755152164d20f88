//! Sentences that belong beneath the charts: forecasts, and advice on what to change.

use std::collections::BTreeMap;

use super::run_view::{Forecast, RunView};
use super::series::{Series, Source};
use super::trace;
use crate::config::{RunConfig, arm_title};
use crate::insight::advice::{Course, METRICS, advise};
use crate::insight::gradients::Calibration;
use crate::train::event::Metrics;
use crate::train::history::Checked;

/// A sentence, and what kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: Kind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Forecast,
    /// What earlier forecasts were worth.
    Record,
    Advice,
    Warning,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Forecast => "Forecast",
            Kind::Record => "Record",
            Kind::Advice => "Advice",
            Kind::Warning => "Warning",
        }
    }
}

/// Updates that advice looks at: the newest.
const RECENT_UPDATES: usize = 400;

/// What is to be said of a run now; without its configuration there is no advice.
pub fn notes(run: &RunView, config: Option<&RunConfig>) -> Vec<Note> {
    let mut notes = forecasts(run);
    notes.extend(config.map(|config| advice(run, config)).unwrap_or_default());
    let warning = |text: &String| Note { kind: Kind::Warning, text: text.clone() };
    notes.extend(run.warnings.iter().rev().take(3).map(warning));
    notes
}

/// What the newest forecasts say of the kept arm and its twin, and what earlier ones were worth.
fn forecasts(run: &RunView) -> Vec<Note> {
    let spoken_of = if trace::many(run) { 1 } else { 2 };
    let arms: Vec<&str> = run.arms.iter().take(spoken_of).map(|arm| arm.name.as_str()).collect();
    let kinds: [(&str, Of); 2] = [
        ("of headings down", |checked| checked.heading),
        ("of steps on the pair itself", |checked| checked.calibration),
    ];
    let records = kinds.into_iter().filter_map(|(kind, of)| record(run, &arms, kind, of));
    let record = records.collect::<Vec<_>>().join(" ");
    let note = |kind, text: String| (!text.is_empty()).then_some(Note { kind, text });
    let forecast = note(Kind::Forecast, heading(run, &arms).unwrap_or_default());
    [forecast, note(Kind::Record, record)].into_iter().flatten().collect()
}

/// Where the optimiser is heading; `None` where it is nowhere downwards.
fn heading(run: &RunView, arms: &[&str]) -> Option<String> {
    let newest = arms.iter().filter_map(|arm| Some((*arm, run.forecasts.get(*arm)?)));
    let newest: Vec<_> = newest.collect();
    let (_, first) = newest.first()?;
    let down = |(number, (arm, forecast)): (usize, &(&str, &Forecast))| {
        let all = forecast.pairs.len();
        if number > 0 {
            return format!("{} of {all} under {}", forecast.heading_down(), arm_title(arm));
        }
        format!(
            "{} of {all} held-out chosen answers under {}",
            forecast.heading_down(),
            arm_title(arm)
        )
    };
    newest.iter().any(|(_, forecast)| forecast.heading_down() > 0).then(|| {
        let told: Vec<String> = newest.iter().enumerate().map(down).collect();
        format!("At step {} the optimiser heads down on {}.", first.step, told.join(", on "))
    })
}

/// One kind of an arm's forecasts.
type Of = fn(&Checked) -> Calibration;

/// Which share of one kind of warnings came true in this run; `None` while none could be checked.
fn record(run: &RunView, arms: &[&str], kind: &str, of: Of) -> Option<String> {
    let percent = |part: usize, all: usize| (100.0 * part as f64 / all as f64).round();
    let said = |arm: &&str| {
        let Calibration { warnings, came_true, quiet, fell_anyway } = of(run.checked.get(*arm)?);
        let without = match quiet {
            0 => String::new(),
            _ => format!(", without a warning {} % fell", percent(fell_anyway, quiet)),
        };
        let share = (warnings > 0).then(|| percent(came_true, warnings))?;
        Some(format!("{} {came_true} of {warnings} ({share} %{without})", arm_title(arm)))
    };
    let said: Vec<String> = arms.iter().filter_map(said).collect();
    (!said.is_empty()).then(|| format!("Warnings {kind} that came true: {}.", said.join(", ")))
}

fn advice(run: &RunView, config: &RunConfig) -> Vec<Note> {
    let Some(arm) = run.kept().map(|arm| arm.name.as_str()) else { return Vec::new() };
    let probes = rows(run, Source::Probe, arm, usize::MAX);
    let updates = rows(run, Source::Step, arm, RECENT_UPDATES);
    let course = Course {
        objective: config.objective,
        lambda: config.lambda,
        learning_rate: config.learning_rate,
        max_grad_norm: config.max_grad_norm,
        steps: run.steps,
        probes: &probes,
        updates: &updates,
    };
    let hints = advise(&course).into_iter();
    hints.map(|hint| Note { kind: Kind::Advice, text: hint.message }).collect()
}

/// The newest `most` steps of an arm with what advice looks at.
fn rows(run: &RunView, source: Source, arm: &str, most: usize) -> Vec<(usize, Metrics)> {
    let own: Vec<(&str, &Series)> = METRICS
        .into_iter()
        .filter_map(|metric| Some((metric, run.store.get(source, arm, metric)?)))
        .collect();
    let mut rows: BTreeMap<u32, Metrics> = BTreeMap::new();
    for (metric, series) in own {
        let from = series.len().saturating_sub(most);
        for (step, value) in series.steps()[from..].iter().zip(&series.values()[from..]) {
            rows.entry(*step).or_default().insert(metric.to_owned(), *value);
        }
    }
    rows.into_iter().map(|(step, metrics)| (step as usize, metrics)).collect()
}

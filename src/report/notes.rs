//! Sentences that belong beneath the charts: forecasts, and advice on what to change.

use std::collections::BTreeMap;

use super::run_view::RunView;
use super::series::{Series, Source};
use crate::config::{RunConfig, arm_title};
use crate::insight::advice::{Course, advise};
use crate::train::event::Metrics;

/// A sentence, and what kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: Kind,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Forecast,
    Advice,
    Warning,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Forecast => "Forecast",
            Kind::Advice => "Advice",
            Kind::Warning => "Warning",
        }
    }
}

/// Updates that advice looks at: the newest.
const RECENT_UPDATES: usize = 400;

/// What is to be said of a run now; without its configuration there is no advice.
pub fn notes(run: &RunView, config: Option<&RunConfig>) -> Vec<Note> {
    let forecasts = run.arms.iter().filter_map(|arm| {
        let forecast = run.forecasts.get(&arm.name)?;
        let (falling, all) = (forecast.falling(), forecast.pairs.len());
        (falling > 0).then(|| Note {
            kind: Kind::Forecast,
            text: format!(
                "At step {} the next update of {} would lower {falling} of {all} chosen answers, \
                 one of plain DPO {:.0}.",
                forecast.step,
                arm_title(&arm.name),
                forecast.share * all as f64
            ),
        })
    });
    let warning = |text: &String| Note { kind: Kind::Warning, text: text.clone() };
    let mut notes: Vec<Note> = forecasts.collect();
    notes.extend(config.map(|config| advice(run, config)).unwrap_or_default());
    notes.extend(run.warnings.iter().rev().take(3).map(warning));
    notes
}

fn advice(run: &RunView, config: &RunConfig) -> Vec<Note> {
    let Some(arm) = run.kept().map(|arm| arm.name.as_str()) else { return Vec::new() };
    let probes = rows(run, Source::Probe, arm, usize::MAX);
    let updates = rows(run, Source::Step, arm, RECENT_UPDATES);
    let course = Course {
        objective: config.objective,
        lambda: config.lambda,
        learning_rate: config.learning_rate,
        steps: run.steps,
        probes: &probes,
        updates: &updates,
    };
    let hints = advise(&course).into_iter();
    hints.map(|hint| Note { kind: Kind::Advice, text: hint.message }).collect()
}

/// The newest `most` steps of an arm with their metrics.
fn rows(run: &RunView, source: Source, arm: &str, most: usize) -> Vec<(usize, Metrics)> {
    let own = run.store.all().into_iter().filter(|(k, _)| k.source == source && k.arm == arm);
    let own: Vec<(&str, &Series)> = own.map(|(key, s)| (key.metric.as_str(), s)).collect();
    let mut rows: BTreeMap<u32, Metrics> = BTreeMap::new();
    for (metric, series) in own {
        let from = series.len().saturating_sub(most);
        for (step, value) in series.steps()[from..].iter().zip(&series.values()[from..]) {
            rows.entry(*step).or_default().insert(metric.to_owned(), *value);
        }
    }
    rows.into_iter().map(|(step, metrics)| (step as usize, metrics)).collect()
}

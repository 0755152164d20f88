//! What a run's folder says when it is asked: the course of its arms, where likelihood was lost, what to try next.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::events;
use super::folder::{FolderError, read_record};
use super::probe_records::{ProbeRecords, ProbeRecordsError};
use crate::config::RunConfig;
use crate::insight::EditProfile;
use crate::insight::advice::{Course, Hint, advise};
use crate::insight::gradients::Calibration;
use crate::train::event::Event;
use crate::train::history::History;

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Records(#[from] ProbeRecordsError),
}

/// A run, finished or going on.
#[derive(Clone, Debug, Serialize)]
pub struct Review {
    pub hints: Vec<Hint>,
    /// By arm: how often its pair-by-pair forecasts were right.
    pub calibration: BTreeMap<String, Calibration>,
    /// By arm: how often the optimiser's heading was right.
    pub heading: BTreeMap<String, Calibration>,
    /// By arm and `reference`: the chosen answers' tokens at the latest recorded probe. Empty for a run without records.
    pub profiles: BTreeMap<String, EditProfile>,
    /// The probe of `profiles`.
    pub step: Option<usize>,
}

/// Reads a run folder.
pub fn review(run: &Path) -> Result<Review, ReviewError> {
    let record = read_record(run)?;
    let events = events::read(run).map_err(FolderError::from)?;
    let steps = events.iter().rev().find_map(|event| match event {
        Event::Started { steps, .. } => Some(*steps),
        _ => None,
    });
    let history = History::of(&events);
    let mut profiles = BTreeMap::new();
    let mut latest = None;
    if let Some(records) = ProbeRecords::open(run)?
        && let Some(&step) = records.steps()?.last()
    {
        latest = Some(step);
        profiles.insert("reference".to_owned(), records.profile(&records.reference()?));
        for (arm, scores) in records.step(step)?.arms {
            profiles.insert(arm, records.profile(&scores));
        }
    }
    Ok(Review {
        hints: hints(&record.config, steps.unwrap_or(0), &history),
        calibration: history
            .arms
            .iter()
            .map(|(arm, own)| (arm.clone(), own.checked.calibration))
            .collect(),
        heading: history.arms.iter().map(|(arm, own)| (arm.clone(), own.checked.heading)).collect(),
        profiles,
        step: latest,
    })
}

/// Advice on a run of `steps` updates, from the course of its kept arm.
pub fn hints(config: &RunConfig, steps: usize, history: &History) -> Vec<Hint> {
    let kept = config.arms().into_iter().next();
    kept.and_then(|arm| history.arms.get(&arm.name)).map_or_else(Vec::new, |kept| {
        advise(&Course {
            objective: config.objective,
            lambda: config.lambda,
            learning_rate: config.learning_rate,
            max_grad_norm: config.max_grad_norm,
            steps,
            probes: &kept.probes,
            updates: &kept.steps,
        })
    })
}

//! The probe of one run, token by token, as Inspect shows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::insight::EditProfile;
use crate::insight::displacement::WrongWay;
use crate::model::PairScore;
use crate::report::run_view::{Forecast, RunView};
use crate::run::probe_records::{ProbeRecords, RecordedPair, StepRecord, standing};
use crate::train::event::ProbePair;

use super::state::PairColumn;

/// What stays the same over the steps of a run.
#[derive(Debug)]
pub struct ProbeSource {
    pub folder: PathBuf,
    records: ProbeRecords,
    pub reference: Vec<PairScore>,
    /// The arms before their first update: an adapter may be trained on.
    start: StepRecord,
}

/// The probe after so many updates.
#[derive(Clone, Debug)]
pub struct ProbeView {
    pub source: Arc<ProbeSource>,
    /// Steps with a record, rising.
    pub steps: Vec<usize>,
    pub now: StepRecord,
    /// Where in the chosen answers likelihood lies: under the reference, and by arm.
    pub reference_profile: EditProfile,
    pub profiles: BTreeMap<String, EditProfile>,
}

/// Reads the probe after `step` updates, or the newest; `None` for a run without records. `known` spares the reading of
/// what does not change.
pub fn load(
    folder: &Path,
    step: Option<usize>,
    known: Option<Arc<ProbeSource>>,
) -> Result<Option<ProbeView>, String> {
    let words = |error: crate::run::probe_records::ProbeRecordsError| error.to_string();
    let source = match known {
        Some(source) => source,
        None => {
            let Some(records) = ProbeRecords::open(folder).map_err(words)? else { return Ok(None) };
            if records.steps().map_err(words)?.is_empty() {
                return Ok(None);
            }
            let reference = records.reference().map_err(words)?;
            let start = records.step(0).map_err(words)?;
            Arc::new(ProbeSource { folder: folder.to_owned(), records, reference, start })
        }
    };
    let steps = source.records.steps().map_err(words)?;
    let at = step.map_or(steps.len(), |step| steps.partition_point(|&at| at <= step));
    let Some(&step) = steps.get(at.saturating_sub(1)) else { return Ok(None) };
    let now = source.records.step(step).map_err(words)?;
    let profile = |scores: &[PairScore]| source.records.profile(scores);
    let reference_profile = profile(&source.reference);
    let profiles = now.arms.iter().map(|(arm, scores)| (arm.clone(), profile(scores))).collect();
    Ok(Some(ProbeView { steps, now, reference_profile, profiles, source }))
}

impl ProbeView {
    pub fn pairs(&self) -> &[RecordedPair] {
        self.source.records.pairs()
    }

    /// The change of each token of one answer from the reference (nats), under one arm.
    pub fn changes(&self, arm: &str, pair: usize, chosen: bool) -> Vec<f32> {
        let side = |score: &PairScore| {
            if chosen { score.chosen.clone() } else { score.rejected.clone() }
        };
        let own = self.now.arms.get(arm).and_then(|scores| scores.get(pair)).map(side);
        let reference = self.source.reference.get(pair).map(side);
        let (Some(own), Some(reference)) = (own, reference) else { return Vec::new() };
        own.iter().zip(&reference).map(|(own, reference)| own - reference).collect()
    }
}

/// One row of the table of pairs, under one arm. Nats where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairRow {
    pub row: usize,
    /// Token of the answers that differs first.
    pub first_difference: Option<usize>,
    /// Levenshtein distance in tokens.
    pub edits: Option<usize>,
    /// Changes from the reference.
    pub chosen: f64,
    pub rejected: f64,
    /// Change of the chosen answer since the run began.
    pub since: Option<f64>,
    /// Similarity of the answers' hidden states under the base model.
    pub ches: Option<f64>,
    /// Share of the common tokens behind the first difference that DPO pushes the wrong way.
    pub wrong_way: Option<f64>,
    /// Change of the chosen answer by one more update, to first order.
    pub heading: Option<f64>,
}

impl PairRow {
    pub fn margin(&self) -> f64 {
        self.chosen - self.rejected
    }

    /// The chosen answer lies below the reference: DPOP's penalty is on.
    pub fn penalty(&self) -> bool {
        self.chosen < 0.0
    }

    pub fn value(&self, column: PairColumn) -> Option<f64> {
        match column {
            PairColumn::Row => Some(self.row as f64),
            PairColumn::FirstDifference => self.first_difference.map(|v| v as f64),
            PairColumn::Edits => self.edits.map(|v| v as f64),
            PairColumn::Chosen => Some(self.chosen),
            PairColumn::Rejected => Some(self.rejected),
            PairColumn::Margin => Some(self.margin()),
            PairColumn::Penalty => Some(f64::from(u8::from(self.penalty()))),
            PairColumn::Since => self.since,
            PairColumn::Ches => self.ches,
            PairColumn::WrongWay => self.wrong_way,
            PairColumn::Heading => self.heading,
        }
    }
}

/// The pairs of one arm: from the records of tokens, or from the sums of the newest probe's event.
pub fn rows(run: &RunView, probe: Option<&ProbeView>, arm: &str) -> Vec<PairRow> {
    match probe.and_then(|probe| Some((probe, probe.now.arms.get(arm)?))) {
        Some((probe, scores)) => recorded_rows(probe, scores, arm, run.forecasts.get(arm)),
        None => run.pairs.get(arm).map_or(Vec::new(), |pairs| pairs.iter().map(told).collect()),
    }
}

fn told(pair: &ProbePair) -> PairRow {
    PairRow {
        row: pair.row,
        chosen: pair.chosen - pair.ref_chosen,
        rejected: pair.rejected - pair.ref_rejected,
        ..PairRow::default()
    }
}

fn recorded_rows(
    probe: &ProbeView,
    scores: &[PairScore],
    arm: &str,
    forecast: Option<&Forecast>,
) -> Vec<PairRow> {
    let source = &probe.source;
    let start = source.start.arms.get(arm);
    let newest = forecast.filter(|forecast| forecast.step == probe.now.step);
    let heading = |row: usize| {
        let pair = newest?.pairs.iter().find(|pair| pair.row == row)?;
        Some(pair.heading)
    };
    let stands = standing(scores, &source.reference);
    let pairs = probe.pairs().iter().zip(&stands).enumerate();
    pairs
        .map(|(index, (pair, now))| {
            let begun = start.and_then(|scores| scores.get(index)).map(|score| score.sums().0);
            let wrong_way = source.reference.get(index).and_then(|score| {
                let chosen = (&pair.chosen.ids[..], &score.chosen[..]);
                WrongWay::of(chosen, (&pair.rejected.ids, &score.rejected)).share()
            });
            PairRow {
                row: pair.row,
                first_difference: Some(pair.distance.first_difference),
                edits: Some(pair.distance.edits),
                chosen: now.chosen - now.ref_chosen,
                rejected: now.rejected - now.ref_rejected,
                since: begun.map(|begun| now.chosen - begun),
                ches: pair.ches,
                wrong_way,
                heading: heading(pair.row),
            }
        })
        .collect()
}

/// Numbers of the rows in the asked order; equal ones stay in the order of the file, missing values come last.
pub fn sorted(rows: &[PairRow], (column, descending): (PairColumn, bool)) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| match (rows[a].value(column), rows[b].value(column)) {
        (Some(a), Some(b)) if descending => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    order
}

/// Whether the words of `filter` stand in the pair's prompt or answers, or name its row.
pub fn holds(pair: &RecordedPair, filter: &str) -> bool {
    let filter = filter.trim().to_lowercase();
    let said = |texts: &[String]| texts.concat().to_lowercase().contains(&filter);
    filter.is_empty()
        || pair.row.to_string() == filter
        || said(&pair.prompt.texts)
        || said(&pair.chosen.texts)
        || said(&pair.rejected.texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sort_by_any_column_both_ways_and_gaps_come_last() {
        let row = |row, chosen, rejected, since| PairRow {
            row,
            chosen,
            rejected,
            since,
            ..PairRow::default()
        };
        let rows =
            [row(7, 0.1, -3.0, None), row(3, -2.0, -1.0, Some(1.0)), row(5, 0.0, -9.0, Some(2.0))];
        assert_eq!(sorted(&rows, (PairColumn::Row, false)), [1, 2, 0]);
        assert_eq!(sorted(&rows, (PairColumn::Chosen, false)), [1, 2, 0]);
        assert_eq!(sorted(&rows, (PairColumn::Margin, true)), [2, 0, 1]);
        assert_eq!(sorted(&rows, (PairColumn::Penalty, true)), [1, 0, 2]);
        assert_eq!(sorted(&rows, (PairColumn::Since, true)), [2, 1, 0]);
        assert_eq!(sorted(&rows, (PairColumn::Since, false)), [1, 2, 0]);
        assert!(!rows[2].penalty(), "at zero the penalty is off: the inequality is strict");
    }
}

//! The probe: fixed held-out pairs, scored again and again under every arm.

use std::collections::BTreeMap;

use super::event::{ArmMetrics, Event, Metrics};
use super::metrics::{PairResult, metrics, spread};
use super::state::Reference;
use super::trainer::Trainer;
use super::{Observer, ProbeScores};
use crate::config::arm_title;
use crate::model::PairScore;

/// An arm has collapsed when its mean chosen log-likelihood per token lies this far (nats) below the reference
/// while its mean margin is positive.
pub const COLLAPSE_DEPTH: f64 = 0.05;

impl Trainer {
    /// Scores the probe pairs under every arm and reports; marks arms that collapse.
    pub(super) fn probe(&mut self, observer: &mut dyn Observer) -> anyhow::Result<()> {
        if self.probe.is_empty() {
            return Ok(());
        }
        let step = self.state.step;
        let reference = self.fill_probe_references()?;
        let mut arms = ArmMetrics::new();
        let mut pairs = BTreeMap::new();
        let mut scores = Vec::with_capacity(self.arms.len());
        let mut forecasts = Vec::new();
        for (i, (arm, state)) in self.arms.iter().zip(&self.state.arms).enumerate() {
            let layers = self.model.config.num_layers;
            let updates = state.adapter.upload(layers, self.model.device(), None);
            let own = self.model.score(&self.probe, Some(&updates))?;
            let with_reference =
                self.probe.iter().zip(&own).zip(self.state.probe_references.values());
            let results: Vec<PairResult> = with_reference
                .map(|((pair, score), &reference)| {
                    self.result(&arm.objective, pair, score, reference)
                })
                .collect();
            let mut values = metrics(&results, arm.beta);
            values.extend(spread(&results));
            arms.insert(arm.name.clone(), values);
            pairs.insert(arm.name.clone(), results.iter().map(PairResult::probe_pair).collect());
            scores.push((arm.name.as_str(), own));
            forecasts.extend(self.forecast(i, &updates)?);
        }
        observer.probe(&ProbeScores { step, reference: reference.as_deref(), arms: scores })?;
        let collapses = self.find_collapses(&arms);
        self.note_kept(&arms);
        observer.event(Event::Probe { step, arms, pairs })?;
        forecasts.into_iter().chain(collapses).try_for_each(|event| observer.event(event))
    }

    /// The base model's log-probabilities at the first probe; `None` later. (A run that was stopped before its first
    /// update and goes on begins with its first probe again.)
    fn fill_probe_references(&mut self) -> anyhow::Result<Option<Vec<PairScore>>> {
        let known = self.state.probe_references.len() == self.probe.len();
        if known && self.state.step > 0 {
            return Ok(None);
        }
        let scores = self.model.score(&self.probe, None)?;
        let references = scores.iter().map(|score| {
            let (chosen, rejected) = score.sums();
            Reference { chosen, rejected }
        });
        self.state.probe_references = references.enumerate().collect();
        Ok(Some(scores))
    }

    fn find_collapses(&mut self, arms: &ArmMetrics) -> Vec<Event> {
        let step = self.state.step;
        let mut events = Vec::new();
        for state in self.state.arms.iter_mut().filter(|arm| arm.collapsed_at.is_none()) {
            let Some(values) = arms.get(&state.name) else { continue };
            let value = |name: &str| values.get(name).copied().unwrap_or(0.0);
            let chosen = value("logps_per_token/chosen");
            let reference = value("reference_per_token/chosen");
            if reference - chosen > COLLAPSE_DEPTH && value("rewards/margins") > 0.0 {
                state.collapsed_at = Some(step);
                events.push(collapse_event(step, &state.name, chosen, reference, values));
            }
        }
        events
    }
}

fn collapse_event(step: usize, arm: &str, chosen: f64, reference: f64, values: &Metrics) -> Event {
    let percent = values.get("rewards/accuracies").copied().unwrap_or(0.0) * 100.0;
    let message = format!(
        "{} collapses at step {step}: the preferred answers had {chosen:.3} nats per token there, {:.3} below \
         the base model's {reference:.3}, although {percent:.0} % of the pairs were ranked right.",
        arm_title(arm),
        reference - chosen,
    );
    Event::Collapse {
        step,
        arm: arm.to_owned(),
        chosen_per_token: chosen,
        reference_per_token: reference,
        message,
    }
}

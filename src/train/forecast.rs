//! The forecast during training: on a few probe pairs, what the next update would do to the chosen answer.

use super::event::{Event, PairGradients};
use super::optimizer::heading;
use super::schedule::learning_rate;
use super::state::Reference;
use super::trainer::Trainer;
use crate::data::pair::TokenizedPair;
use crate::insight::gradients::{Band, GradientProducts, push_ratio};
use crate::model::layout::PackedBatch;
use crate::model::{Updates, entry_weights, pair_scores, read};

impl Trainer {
    /// The forecast of one arm on the first `forecast_pairs` of the probe; `None` where that is none.
    pub(super) fn forecast(&self, arm: usize, updates: &Updates) -> anyhow::Result<Option<Event>> {
        let count = self.config.forecast_pairs.min(self.probe.len());
        if count == 0 {
            return Ok(None);
        }
        let mut pairs = Vec::with_capacity(count);
        for (pair, &reference) in
            self.probe.iter().zip(self.state.probe_references.values()).take(count)
        {
            let gradients = self.pair_gradients(arm, updates, pair, reference)?;
            // A gradient that is no number tells nothing; the update that follows will name it.
            pairs.extend(
                Some(gradients)
                    .filter(|pair| pair.products.are_finite() && pair.heading.is_finite()),
            );
        }
        if pairs.is_empty() {
            return Ok(None);
        }
        let lowered = pairs.iter().filter(|pair| pair.products.dpo_lowers_chosen()).count();
        Ok(Some(Event::Forecast {
            step: self.state.step,
            arm: self.arms[arm].name.clone(),
            share: lowered as f64 / pairs.len() as f64,
            band: common_band(&pairs),
            pairs,
        }))
    }

    /// Learning rate of the update to come.
    fn present_rate(&self) -> f64 {
        learning_rate(&self.config, self.state.step, self.steps())
    }

    /// Two backward passes: the gradients of the chosen and of the rejected sum.
    fn pair_gradients(
        &self,
        arm: usize,
        updates: &Updates,
        pair: &TokenizedPair,
        reference: Reference,
    ) -> anyhow::Result<PairGradients> {
        let packed = PackedBatch::new([pair]);
        let batch = self.model.upload(&packed);
        let mut sides = Vec::with_capacity(2);
        let mut loss = None;
        for derivatives in [(1.0, 0.0), (0.0, 1.0)] {
            let (logps, saved) = self.model.forward(&batch, updates)?;
            if loss.is_none() {
                let score = pair_scores(&packed, &read(logps)?).into_iter().next();
                let objective = &self.arms[arm].objective;
                let logps =
                    score.map(|score| self.result(objective, pair, &score, reference).logps);
                loss = logps.map(|logps| objective.evaluate(&logps));
            }
            let weights = entry_weights(&packed, &[derivatives]);
            let grads = self.model.backward(&batch, updates, saved, &weights)?;
            sides.push(self.state.arms[arm].adapter.read_grads(grads)?);
        }
        let loss = loss.ok_or_else(|| anyhow::anyhow!("probe row {} has no tokens", pair.row))?;
        let products = GradientProducts::of(&sides[0], &sides[1]);
        Ok(PairGradients {
            row: pair.row,
            products,
            ratio: push_ratio(&loss),
            falls: products.chosen_change(&loss) < 0.0,
            heading: heading(
                &self.state.arms[arm],
                &sides[0],
                self.state.step,
                self.present_rate(),
            ),
        })
    }
}

/// The ratios that are in every pair's band; `low` may lie above `high`: then no ratio suits all.
fn common_band(pairs: &[PairGradients]) -> Option<Band> {
    let bands = pairs.iter().filter_map(|pair| pair.products.band());
    bands.reduce(|a, b| Band {
        low: a.low.max(b.low),
        high: match (a.high, b.high) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (high, None) | (None, high) => high,
        },
    })
}

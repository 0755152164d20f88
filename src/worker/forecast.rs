//! The forecast before training: every pair goes once through the base model.

use crate::data::analysis::PairDistance;
use crate::data::pair::TokenizedPair;
use crate::insight::displacement::{WrongWay, ches, surprise};
use crate::insight::forecast::PairForecast;
use crate::model::layout::{PackedBatch, PairEntries};
use crate::model::{Model, PairScore, pair_scores, read};

/// Pairs in one pass: their answer tokens' hidden states come to the host.
const CHUNK: usize = 8;

/// Scores every pair. `done` hears how many are.
///
/// # Errors
/// When the device fails.
pub fn score_pairs(
    model: &Model,
    pairs: &[TokenizedPair],
    mut done: impl FnMut(usize),
) -> anyhow::Result<Vec<PairForecast>> {
    let mut forecasts = Vec::with_capacity(pairs.len());
    for chunk in pairs.chunks(CHUNK) {
        let packed = PackedBatch::new(chunk);
        let (states, logps) = model.entry_states(&model.upload(&packed), None)?;
        let width = states.dims()[1];
        let (states, logps) = (read(states)?, read(logps)?);
        let scores = pair_scores(&packed, &logps);
        for ((pair, entries), score) in chunk.iter().zip(&packed.pairs).zip(&scores) {
            forecasts.push(pair_forecast(pair, entries, score, &states, width));
        }
        done(forecasts.len());
    }
    Ok(forecasts)
}

/// `states`: `[E, width]`, row-major.
fn pair_forecast(
    pair: &TokenizedPair,
    entries: &PairEntries,
    score: &PairScore,
    states: &[f32],
    width: usize,
) -> PairForecast {
    let mean = |own: &std::ops::Range<usize>| {
        let mut mean = vec![0.0f64; width];
        let rows = entries.shared.clone().chain(own.clone());
        let count = (entries.shared.len() + own.len()).max(1) as f64;
        for row in rows {
            for (sum, &value) in mean.iter_mut().zip(&states[row * width..][..width]) {
                *sum += f64::from(value) / count;
            }
        }
        mean
    };
    let distance = PairDistance::of(pair);
    let (chosen, rejected) = score.sums();
    PairForecast {
        row: pair.row,
        distance,
        ches: ches(&mean(&entries.chosen), &mean(&entries.rejected)),
        wrong_way: WrongWay::of(
            (&pair.chosen_ids, &score.chosen),
            (&pair.rejected_ids, &score.rejected),
        ),
        surprise: surprise(&score.chosen, distance.first_difference),
        chosen_per_token: chosen / pair.chosen_ids.len().max(1) as f64,
        rejected_per_token: rejected / pair.rejected_ids.len().max(1) as f64,
    }
}

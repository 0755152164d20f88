//! Rows of logits to log-probabilities and their gradients.

use rayon::prelude::*;

use super::simd::{exp_shifted, max, vectorized};

/// logits `[E, V]`, targets `[E]` -> log-probabilities `[E]`; the logits become scratch, or with `gradient`
/// `onehot(target) - softmax(logits)`.
pub fn log_prob_rows(logits: &mut [f32], targets: &[i32], gradient: bool) -> Vec<f32> {
    let vocabulary = logits.len() / targets.len().max(1);
    let mut out = vec![0.0; targets.len()];
    logits
        .par_chunks_mut(vocabulary.max(1))
        .zip(&mut out)
        .zip(targets)
        .for_each(|((row, logp), &target)| *logp = finish_row(row, target as usize, gradient));
    out
}

/// Turns a row of logits into `onehot(target) - softmax` where wanted; answers the target's log-probability.
fn finish_row(row: &mut [f32], target: usize, gradient: bool) -> f32 {
    vectorized(|| {
        let top = max(row);
        let logit = row[target];
        let sum = exp_shifted(row, top);
        if gradient {
            let factor = -1.0 / sum;
            for v in row.iter_mut() {
                *v *= factor;
            }
            row[target] += 1.0;
        }
        logit - top - sum.ln()
    })
}

//! Rows of logits to log-probabilities and their gradients.

use rayon::prelude::*;

use super::simd::{exp, exp_shifted, max, softcap, sum2, vectorized};

/// logits `[E, V]`, targets `[E]` -> log-probabilities `[E]` of the (soft-capped) logits; they become scratch, or with
/// `gradient` the derivative by the given logits: `onehot(target) - softmax`, times the cap's derivative.
pub fn log_prob_rows(
    logits: &mut [f32],
    targets: &[i32],
    cap: Option<f32>,
    gradient: bool,
) -> Vec<f32> {
    let vocabulary = logits.len() / targets.len().max(1);
    let mut out = vec![0.0; targets.len()];
    logits.par_chunks_mut(vocabulary.max(1)).zip(&mut out).zip(targets).for_each(
        |((row, logp), &target)| {
            let target = target as usize;
            *logp = match cap {
                Some(cap) => finish_capped_row(row, target, cap, gradient),
                None => finish_row(row, target, gradient),
            };
        },
    );
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

/// [`finish_row`] behind a soft cap. The exponentials are computed twice, because the cap's derivative needs the
/// capped logits after their sum is known.
fn finish_capped_row(row: &mut [f32], target: usize, cap: f32, gradient: bool) -> f32 {
    vectorized(|| {
        for v in row.iter_mut() {
            *v = softcap(*v, cap).0;
        }
        let top = max(row);
        let logit = row[target];
        let sum = sum2(row, row, |v, _| exp(v - top));
        if gradient {
            let factor = 1.0 / sum;
            let slope = |v: f32| 1.0 - (v / cap) * (v / cap);
            for v in row.iter_mut() {
                *v = -exp(*v - top) * factor * slope(*v);
            }
            row[target] += slope(logit);
        }
        logit - top - sum.ln()
    })
}

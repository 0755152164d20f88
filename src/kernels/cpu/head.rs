//! Log-probabilities of the language-model head, a block of logit rows at a time.

use gemm::Parallelism;
use rayon::prelude::*;

use super::matmul::{View, gemm_view};
use super::simd::{exp_shifted, max, vectorized};

/// Floats of one block of logits (32 MiB): large enough for the matrix product, small enough for the cache
/// hierarchy and for a vocabulary of 150,000.
const BLOCK: usize = 8 << 20;

/// hidden `[E, d]`, weight `[V, d]`, targets `[E]` -> log-probabilities `[E]`; with `grads` `[E, d]` also
/// `W[target] - softmax(W h) W` for each entry.
pub fn log_probs(
    hidden: &[f32],
    weight: &[f32],
    targets: &[i32],
    d: usize,
    mut grads: Option<&mut [f32]>,
) -> Vec<f32> {
    let vocab = weight.len() / d;
    let rows = (BLOCK / vocab).clamp(1, targets.len().max(1));
    let mut logits = vec![0.0; rows * vocab];
    let mut out = vec![0.0; targets.len()];
    for start in (0..targets.len()).step_by(rows) {
        let count = rows.min(targets.len() - start);
        let logits = &mut logits[..count * vocab];
        let block = View { values: &hidden[start * d..], stride: d, transposed: false };
        let table = View { values: weight, stride: d, transposed: true };
        let all = Parallelism::Rayon(0);
        gemm_view(logits, vocab, [count, vocab, d], block, table, 1.0, false, all);
        let wanted = grads.is_some();
        logits
            .par_chunks_mut(vocab)
            .zip(&mut out[start..start + count])
            .zip(&targets[start..start + count])
            .for_each(|((row, logp), &target)| *logp = finish_row(row, target as usize, wanted));
        if let Some(grads) = grads.as_deref_mut() {
            let dst = &mut grads[start * d..(start + count) * d];
            let probs = View { values: logits, stride: vocab, transposed: false };
            let table = View { values: weight, stride: d, transposed: false };
            gemm_view(dst, d, [count, d, vocab], probs, table, 1.0, false, all);
        }
    }
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

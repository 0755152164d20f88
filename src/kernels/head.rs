//! Log-probabilities under the language-model head, a block of logit rows at a time: the whole matrix
//! `[E, V]` never exists.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use super::{DecoderOps, Dispatch, Weight, wrap};

/// Floats of one block of logits. On the CPU 16 MiB, which its allocator gives back without new pages; on a GPU 64 MiB, half
/// of the smallest storage-binding limit: each block reads the whole head, so there should be few.
pub fn logits_block(on_cpu: bool) -> usize {
    if on_cpu { 4 << 20 } else { 16 << 20 }
}

/// Rows of a block: hidden `[E, D]` under a vocabulary.
fn blocks(hidden: &Tensor<2>, vocabulary: usize) -> impl Iterator<Item = Range<usize>> {
    let entries = hidden.dims()[0];
    let block = logits_block(hidden.device() == Device::flex());
    let rows = (block / vocabulary.max(1)).clamp(1, entries.max(1));
    (0..entries).step_by(rows).map(move |start| start..entries.min(start + rows))
}

fn rows(hidden: &Tensor<2>, range: &Range<usize>) -> Tensor<2> {
    let [entries, width] = hidden.dims();
    if *range == (0..entries) {
        hidden.clone()
    } else {
        hidden.clone().slice([range.clone(), 0..width])
    }
}

/// Log-probability (nats) of each target; with `gradient` also its derivative by the logits, in their memory.
fn log_prob_rows(
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f32>,
    gradient: bool,
) -> (Tensor<1>, Tensor<2>) {
    let (logps, dlogits) =
        Dispatch::log_prob_rows(logits.into_dispatch(), targets.into_dispatch(), softcap, gradient);
    (wrap(logps), wrap(dlogits))
}

/// Log-probability of each target under the head: hidden `[E, D]`, weight `[V, D]`, targets `[E]` -> `[E]` (nats).
/// With `softcap` the logits become `cap tanh(logit / cap)` first (Gemma 2).
pub fn head_log_probs(
    hidden: &Tensor<2>,
    weight: &Weight,
    targets: &Tensor<1, Int>,
    softcap: Option<f32>,
) -> Tensor<1> {
    let parts = blocks(hidden, weight.dims()[0]).map(|range| {
        let logits = weight.forward(&rows(hidden, &range));
        log_prob_rows(logits, targets.clone().slice([range]), softcap, false).0
    });
    Tensor::cat(parts.collect(), 0)
}

/// [`head_log_probs`] and, in the same pass, each entry's own gradient by its hidden state, `[E, D]`:
/// `d logp_e / d h_e = W[target_e] - softmax(W h_e) W` (without a cap).
///
/// The loss reaches an entry only through one number, so scaling this row by that number later is the whole
/// backward, and the logits are neither kept nor computed twice.
pub fn head_log_probs_grad(
    hidden: &Tensor<2>,
    weight: &Weight,
    targets: &Tensor<1, Int>,
    softcap: Option<f32>,
) -> (Tensor<1>, Tensor<2>) {
    let parts = blocks(hidden, weight.dims()[0]).map(|range| {
        let targets = targets.clone().slice([range.clone()]);
        let logits = weight.forward(&rows(hidden, &range));
        let (logps, dlogits) = log_prob_rows(logits, targets, softcap, true);
        (logps, weight.backward(&dlogits))
    });
    let (logps, grads): (Vec<_>, Vec<_>) = parts.unzip();
    (Tensor::cat(logps, 0), Tensor::cat(grads, 0))
}

//! The decoder: embeddings, blocks, head; forward with scores, backward to adapter gradients.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::attention::Context;
use super::block::BlockSaved;
use super::blocks::{Blocks, Order};
use super::cache::Cache;
use super::config::{ModelConfig, Rope};
use super::error::ModelError;
use super::layout::{Continuation, PackedBatch, PairEntries};
use super::norm::Norm;
use super::updates::{BlockGrads, BlockUpdates};
use crate::kernels::{SPAN_COLUMNS, Weight, combine_rows, head_log_probs, head_log_probs_grad};

/// A Llama-family language model on one device, frozen.
pub struct Model {
    pub config: ModelConfig,
    pub(super) device: Device,
    /// `[V, D]`
    pub(super) embedding: Weight,
    pub(super) blocks: Blocks,
    pub(super) norm: Norm,
    /// `[V, D]`; the embedding itself where the two are tied.
    pub(super) head: Weight,
    /// Whether the backward pass computes each block again from its input.
    pub(super) recompute: bool,
}

/// The trainable updates of the whole model on its device, a block's after the other.
pub struct Updates(pub Vec<BlockUpdates>);

/// A batch on the device.
pub struct DeviceBatch {
    ids: Tensor<1, Int>,
    context: Context,
    entry_rows: Tensor<1, Int>,
    targets: Tensor<1, Int>,
    map: Tensor<2, Int>,
}

/// What one block leaves for the backward pass.
#[expect(
    clippy::large_enum_variant,
    reason = "one a block; a tensor is what the other would be boxed for"
)]
enum Kept {
    Activations(Box<BlockSaved>),
    /// `[N, D]`
    Input(Tensor<2>),
}

/// Activations of one forward pass; consumed by the backward pass.
pub struct Saved {
    blocks: Vec<Kept>,
    /// `d logp_e / d x` by the last block's output at the entry's token, `[E, D]`.
    entry_grads: Tensor<2>,
}

/// Per-token log-probabilities (nats) of both answers of a pair, in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct PairScore {
    pub chosen: Vec<f32>,
    pub rejected: Vec<f32>,
}

impl PairScore {
    fn new(entries: &PairEntries, logps: &[f32]) -> Self {
        let side = |own: &std::ops::Range<usize>| {
            let mut all = Vec::new();
            // A first token without context has no prediction; when nothing is shared it is the side's own.
            all.resize(entries.unscored, 0.0);
            all.extend_from_slice(&logps[entries.shared.clone()]);
            all.extend_from_slice(&logps[own.clone()]);
            all
        };
        PairScore { chosen: side(&entries.chosen), rejected: side(&entries.rejected) }
    }

    /// Summed log-probabilities of the chosen and the rejected answer, added in f64.
    pub fn sums(&self) -> (f64, f64) {
        let sum = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum();
        (sum(&self.chosen), sum(&self.rejected))
    }
}

/// Splits a batch's log-probabilities `[E]` into its pairs.
pub fn pair_scores(batch: &PackedBatch, logps: &[f32]) -> Vec<PairScore> {
    batch.pairs.iter().map(|entries| PairScore::new(entries, logps)).collect()
}

/// Each entry's factor in the loss gradient, `[E]`: the derivative by the chosen sum, by the rejected sum, or
/// by both where the answers share the token. `derivatives`: (by chosen, by rejected) for each pair.
pub fn entry_weights(batch: &PackedBatch, derivatives: &[(f64, f64)]) -> Vec<f32> {
    let mut weights = vec![0.0; batch.targets.len()];
    for (entries, &(chosen, rejected)) in batch.pairs.iter().zip(derivatives) {
        weights[entries.shared.clone()].fill((chosen + rejected) as f32);
        weights[entries.chosen.clone()].fill(chosen as f32);
        weights[entries.rejected.clone()].fill(rejected as f32);
    }
    weights
}

fn int_tensor<const D: usize>(
    values: &[i32],
    shape: [usize; D],
    device: &Device,
) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// Tables of `[N, half]` for the batch's positions.
fn rope_tables(rope: &Rope, batch: &PackedBatch) -> (Vec<f32>, Vec<f32>) {
    let angles = batch.positions.iter().zip(&batch.lengths).flat_map(|(&p, &length)| {
        rope.inv_freq(length).iter().map(move |&f| f64::from(p as f32 * f))
    });
    let scale = f64::from(rope.attention_scaling);
    angles.map(|a| ((a.cos() * scale) as f32, (a.sin() * scale) as f32)).unzip()
}

impl Model {
    /// Uploads a batch.
    pub fn upload(&self, batch: &PackedBatch) -> DeviceBatch {
        let device = &self.device;
        let (n, e) = (batch.tokens(), batch.targets.len());
        let half = self.config.rope.inv_freq.len();
        let (cos, sin) = rope_tables(&self.config.rope, batch);
        let context = Context {
            cos: Tensor::from_data(TensorData::new(cos, [n, half]), device),
            sin: Tensor::from_data(TensorData::new(sin, [n, half]), device),
            spans: int_tensor(&batch.spans, [n, SPAN_COLUMNS], device),
        };
        DeviceBatch {
            ids: int_tensor(&batch.ids, [n], device),
            context,
            entry_rows: int_tensor(&batch.entry_rows, [e], device),
            targets: int_tensor(&batch.targets, [e], device),
            map: int_tensor(&batch.map, [n, 2], device),
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The last block's output at the entries, `[E, D]`; `keep` sees every block's activations.
    fn hidden(
        &self,
        batch: &DeviceBatch,
        updates: Option<&Updates>,
        mut cache: Option<&mut Cache>,
        mut keep: impl FnMut(BlockSaved),
    ) -> Result<Tensor<2>, ModelError> {
        let mut x = self.embedding.rows(&batch.ids); // [N, D]
        if self.config.embedding_scale != 1.0 {
            x = x * self.config.embedding_scale;
        }
        let x = self.blocks.fold(Order::Forward, x, |x, layer, block| {
            let own = updates.map(|all| &all.0[layer]);
            let cache = cache.as_deref_mut().map(|cache| cache.layer(layer));
            let (next, saved) = block.forward(x, &batch.context, own, cache)?;
            keep(saved);
            Ok(next)
        })?;
        Ok(x.select(0, batch.entry_rows.clone()))
    }

    /// Log-probabilities of the batch's entries, `[E]` (nats).
    ///
    /// # Errors
    /// Here and below: when a streamed block cannot be read.
    pub fn log_probs(
        &self,
        batch: &DeviceBatch,
        updates: Option<&Updates>,
    ) -> Result<Tensor<1>, ModelError> {
        Ok(self.entry_states(batch, updates)?.1)
    }

    /// The hidden states from which the batch's entries are predicted, as the head sees them (behind the final norm),
    /// `[E, D]`, and the entries' log-probabilities, `[E]` (nats).
    pub fn entry_states(
        &self,
        batch: &DeviceBatch,
        updates: Option<&Updates>,
    ) -> Result<(Tensor<2>, Tensor<1>), ModelError> {
        let x = self.hidden(batch, updates, None, drop)?;
        let h = self.norm.forward(&x);
        let softcap = self.config.logit_softcap;
        let logps = head_log_probs(&h, &self.head, &batch.targets, softcap);
        Ok((h, logps))
    }

    /// [`Self::log_probs`], keeping what [`Self::backward`] needs.
    pub fn forward(
        &self,
        batch: &DeviceBatch,
        updates: &Updates,
    ) -> Result<(Tensor<1>, Saved), ModelError> {
        let mut blocks = Vec::with_capacity(self.config.num_layers);
        let x = self.hidden(batch, Some(updates), None, |saved| {
            blocks.push(if self.recompute {
                Kept::Input(saved.into_input())
            } else {
                Kept::Activations(Box::new(saved))
            });
        })?;
        let h = self.norm.forward(&x); // [E, D]
        let softcap = self.config.logit_softcap;
        let (logps, grads) = head_log_probs_grad(&h, &self.head, &batch.targets, softcap);
        let entry_grads = self.norm.backward(&x, grads);
        Ok((logps, Saved { blocks, entry_grads }))
    }

    /// Gradients of the updates, given each entry's factor `[E]` (see [`entry_weights`]).
    pub fn backward(
        &self,
        batch: &DeviceBatch,
        updates: &Updates,
        mut saved: Saved,
        weights: &[f32],
    ) -> Result<Vec<BlockGrads>, ModelError> {
        let weights = TensorData::new(weights.to_vec(), [weights.len()]);
        let weights: Tensor<1> = Tensor::from_data(weights, &self.device);
        let dx = combine_rows(saved.entry_grads, weights, &batch.map); // [N, D]
        let mut grads = Vec::with_capacity(self.config.num_layers);
        self.blocks.fold(Order::Backward, dx, |dx, layer, block| {
            let Some(kept) = saved.blocks.pop() else { return Ok(dx) };
            let (context, own) = (&batch.context, &updates.0[layer]);
            let saved = match kept {
                Kept::Activations(saved) => *saved,
                Kept::Input(x) => block.forward(x, context, Some(own), None)?.1,
            };
            let (next, own) = block.backward(saved, dx, context, own);
            grads.push(own);
            Ok(next)
        })?;
        grads.reverse();
        Ok(grads)
    }

    /// Logits `[N, V]` at every token of one plain sequence.
    pub fn logits(&self, ids: &[u32], updates: Option<&Updates>) -> Result<Tensor<2>, ModelError> {
        let whole = Continuation { ids, position: 0, row: 0, longest: ids.len() };
        let mut packed = PackedBatch::continuing(&[whole]);
        packed.entry_rows = (0..ids.len() as i32).collect();
        packed.targets = vec![0; ids.len()];
        self.entry_logits(&packed, updates, None)
    }

    /// Logits `[E, V]`, soft-capped where the model does, at the batch's entries.
    pub(super) fn entry_logits(
        &self,
        packed: &PackedBatch,
        updates: Option<&Updates>,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor<2>, ModelError> {
        let x = self.hidden(&self.upload(packed), updates, cache, drop)?;
        let logits = self.head.forward(&self.norm.forward(&x));
        Ok(match self.config.logit_softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        })
    }
}

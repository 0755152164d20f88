//! How many bytes a training step needs, from the same sizes the engine allocates.

use super::checkpoint::{READ_PANEL, expected_tensors};
use super::config::ModelConfig;
use super::experts_config::ExpertsConfig;
use crate::kernels::{DECODED_PANEL, logits_block};
use crate::quant::QuantFormat;

/// The largest pass of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassSize {
    /// Tokens of the packed layout (shared beginnings once).
    pub tokens: usize,
    /// Predictions that enter the head.
    pub entries: usize,
}

/// What a forecast is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInput {
    pub format: Option<QuantFormat>,
    pub streamed: bool,
    /// Blocks are computed again in the backward pass.
    pub recompute: bool,
    /// The largest micro-batch.
    pub training: PassSize,
    /// The largest scoring pass (probe), which keeps nothing for a backward pass.
    pub scoring: PassSize,
    /// The largest pass of prompts that are answered, and all tokens whose keys and values are cached meanwhile.
    pub answers: PassSize,
    pub cached_tokens: usize,
    pub arms: usize,
    /// Parameters of one adapter.
    pub adapter_parameters: usize,
    pub rank: usize,
    /// Optimiser and gradients share the memory of the weights (CPU), or lie in the host's (GPU).
    pub on_host: bool,
    /// Linear layers multiply in f16.
    pub half: bool,
}

/// Bytes by part; they are in use at the same time at the peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemoryForecast {
    /// Frozen weights: embedding, head, norms, and the blocks (streamed: two of them).
    pub weights: u64,
    /// Adapters on the device, and their gradients.
    pub adapters: u64,
    /// Parameters, moments and gradient sums of the optimiser, where they share the device's memory.
    pub optimizer: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
    /// One block of logits and its companions.
    pub logits: u64,
    /// Temporaries of the block or head that computes.
    pub workspace: u64,
    /// Weights and the values that are being quantised beside them: what loading needs, before training starts. 0 where
    /// that is the host's memory and not the device's.
    pub loading: u64,
}

impl MemoryForecast {
    /// Training's parts together, or loading, whichever is more.
    pub fn total(&self) -> u64 {
        let training = self.weights
            + self.adapters
            + self.optimizer
            + self.activations
            + self.logits
            + self.workspace;
        training.max(self.loading)
    }
}

const FLOAT: u64 = 4;

/// Bytes of the frozen weights: tables and norms, then all blocks, then the largest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightBytes {
    pub tables: u64,
    pub blocks: u64,
    pub largest_block: u64,
    /// The largest matrix in f32.
    pub largest_matrix: u64,
    /// The largest linear layer in f32.
    pub largest_linear: u64,
}

impl WeightBytes {
    /// Most f32 values that are read at a time to be quantised: some rows of a matrix, or a whole linear layer where they
    /// do not lie one after the other (packed checkpoints).
    fn read(&self) -> u64 {
        self.largest_matrix.min(FLOAT * READ_PANEL as u64).max(self.largest_linear)
    }

    /// Of a model stored in `format` (`None`: f32).
    pub fn of(config: &ModelConfig, format: Option<QuantFormat>) -> WeightBytes {
        let mut bytes = WeightBytes::default();
        let mut layers = vec![0; config.num_layers];
        for (name, shape) in expected_tensors(config) {
            let full = FLOAT * shape.iter().product::<usize>() as u64;
            let layer = name
                .strip_prefix("model.layers.")
                .and_then(|rest| rest.split('.').next())
                .and_then(|number| number.parse::<usize>().ok());
            let format = match layer {
                // A router stays in f32.
                Some(layer)
                    if name.strip_suffix(".weight") == Some(&config.router_module(layer)) =>
                {
                    None
                }
                Some(_) => format,
                None => format.map(QuantFormat::of_tables),
            };
            let stored = match (format, shape.as_slice()) {
                (Some(format), &[rows, cols]) => format.bytes(rows, cols),
                _ => full,
            };
            bytes.largest_matrix = bytes.largest_matrix.max(full);
            match layer.and_then(|layer| layers.get_mut(layer)) {
                Some(sum) => {
                    *sum += stored;
                    bytes.largest_linear = bytes.largest_linear.max(full);
                }
                None => bytes.tables += stored,
            }
        }
        bytes.blocks = layers.iter().sum();
        bytes.largest_block = layers.into_iter().max().unwrap_or(0);
        bytes
    }
}

/// Bytes of the largest activation, which a kernel sees whole in one binding (weights and logits come in blocks).
pub fn largest_activation(config: &ModelConfig, size: PassSize) -> u64 {
    let experts = config.experts.as_ref().map_or(1, |experts| experts.chosen);
    let queries = config.num_heads * config.head_dim;
    let (inner, attention) = if config.fused_projections {
        (2 * config.intermediate_size, queries + 2 * config.num_kv_heads * config.head_dim)
    } else {
        (config.intermediate_size, queries)
    };
    let widest = (config.hidden_size * experts).max(inner).max(attention);
    FLOAT * (size.tokens * widest).max(size.entries * config.hidden_size) as u64
}

/// Widths, in floats a token, of what one block keeps and of what it needs in passing.
#[derive(Clone, Copy, Default)]
struct Widths {
    saved: u64,
    forward: u64,
    backward: u64,
}

impl Widths {
    /// Mirrors `Block::forward` and `Block::backward`.
    fn of_block(config: &ModelConfig, layer: usize, rank: usize) -> Widths {
        let d = config.hidden_size as u64;
        let q = (config.num_heads * config.head_dim) as u64;
        let kv = (config.num_kv_heads * config.head_dim) as u64;
        let heads = config.num_heads as u64;
        let head_norm = if config.qk_norm { q + kv } else { 0 };
        // A x of each layer that has one of its own.
        let low_rank =
            |is_mlp| (config.apart().filter(|t| t.is_mlp() == is_mlp).count() * rank) as u64;
        let mlp = match config.experts.as_ref().filter(|experts| experts.layers[layer]) {
            Some(experts) => Widths::of_experts(experts, d, low_rank(true)),
            None => Widths::of_dense(config, low_rank(true)),
        };
        // What either half added, and the gradient behind the second norm.
        let out_norms = if config.out_norms { d } else { 0 };
        Widths {
            // x, y; q, k, v, attended, log-sum-exp.
            saved: 2 * d
                + 2 * q
                + 2 * kv
                + heads
                + low_rank(false)
                + head_norm
                + mlp.saved
                + 2 * out_norms,
            // The normed input and the block's output.
            forward: 2 * d + mlp.forward,
            // The outer gradient and the normed input beside the MLP's temporaries or attention's gradients.
            backward: 2 * d + (out_norms + mlp.backward).max(2 * (q + kv) + q),
        }
    }

    /// Mirrors `Mlp` with one unit.
    fn of_dense(config: &ModelConfig, low_rank: u64) -> Widths {
        let f = config.intermediate_size as u64;
        // The activation, or a fused layer's output before it is cut in two.
        let forward = if config.fused_projections { 2 * f } else { f };
        // Gate and up; the activation's gradient and those of gate and up (which a fused layer joins when the saved
        // ones are gone).
        Widths { saved: 2 * f + low_rank, forward, backward: 3 * f }
    }

    /// Mirrors `Mlp` with a router: every token has `chosen` rows, in the experts it goes to.
    fn of_experts(experts: &ExpertsConfig, d: u64, low_rank: u64) -> Widths {
        let (chosen, count) = (experts.chosen as u64, experts.count as u64);
        let f = experts.intermediate_size as u64;
        // Tokens (twice), weights (twice) and places of the rows, integers of the device in 64 bits; every
        // probability on the host.
        let routing = 7 * chosen + count;
        // The busiest expert is taken to have twice its part of the rows, but no more than all tokens.
        let part = |width: u64| (2 * chosen * width).div_ceil(count).min(width);
        Widths {
            saved: chosen * (2 * f + low_rank) + routing,
            // The experts' outputs and their copy in one piece, or one expert's input and activation.
            forward: chosen * d + (chosen * d).max(part(d + 2 * f)),
            // The same of their gradients; an expert's gate and up are dropped before the next expert's turn.
            backward: (part(2 * d + 3 * f) + (chosen * d).saturating_sub(2 * chosen * f))
                .max((2 * chosen * d).saturating_sub(2 * chosen * f)),
        }
    }
}

/// The peak of a run: the largest of a training pass, a scoring pass and the writing of answers.
pub fn forecast(config: &ModelConfig, input: &MemoryInput) -> MemoryForecast {
    let weights = WeightBytes::of(config, input.format);
    let blocks = if input.streamed {
        (2 * weights.largest_block).min(weights.blocks)
    } else {
        weights.blocks
    };
    let parameters = FLOAT * input.adapter_parameters as u64;
    let arms = input.arms as u64;
    let base = MemoryForecast {
        weights: weights.tables + blocks,
        // Every arm's parameters; one arm's gradients, and those joined for reading.
        adapters: parameters * (arms + 2),
        // Parameters and two moments of every arm, and every arm's gradient sum.
        optimizer: if input.on_host { parameters * arms * 4 } else { 0 },
        loading: if input.on_host && input.format.is_some() {
            weights.tables + blocks + weights.read()
        } else {
            0
        },
        ..MemoryForecast::default()
    };
    let training = pass(config, input, input.training, true);
    let scoring = pass(config, input, input.scoring, false);
    let mut answering = pass(config, input, input.answers, false);
    answering.activations += cache_bytes(config, input.cached_tokens);
    let largest = [scoring, answering].into_iter().fold(training, |largest, other| {
        if other.total() > largest.total() { other } else { largest }
    });
    let MemoryForecast { activations, logits, workspace, .. } = largest;
    MemoryForecast { activations, logits, workspace, ..base }
}

/// Keys and values of so many tokens in all layers.
fn cache_bytes(config: &ModelConfig, tokens: usize) -> u64 {
    2 * FLOAT * (config.num_layers * tokens * config.num_kv_heads * config.head_dim) as u64
}

/// What a product in f16 needs beside its f32 form: the input and the weights in f16, and the output before it is scaled.
fn half_bytes(
    config: &ModelConfig,
    format: Option<QuantFormat>,
    weights: &WeightBytes,
    tokens: u64,
) -> u64 {
    let widest = largest_activation(config, PassSize { tokens: 1, entries: 0 });
    let matrix = match format {
        // Multiplied as it is stored.
        Some(QuantFormat::F16) => 0,
        Some(_) => weights.largest_linear.min(DECODED_PANEL as u64) / 2,
        None => weights.largest_linear / 2,
    };
    tokens * (widest / 2 + widest) + matrix
}

fn pass(
    config: &ModelConfig,
    input: &MemoryInput,
    size: PassSize,
    backward: bool,
) -> MemoryForecast {
    let (n, e) = (size.tokens as u64, size.entries as u64);
    let d = config.hidden_size as u64;
    let vocabulary = config.vocab_size as u64;
    let blocks: Vec<_> =
        (0..config.num_layers).map(|layer| Widths::of_block(config, layer, input.rank)).collect();
    let most = |width: fn(&Widths) -> u64| blocks.iter().map(width).max().unwrap_or(0);
    let layers = config.num_layers as u64;
    let rows = (logits_block(input.on_host) as u64 / vocabulary.max(1)).clamp(1, e.max(1));
    let logits = FLOAT * rows * vocabulary;
    // Hidden rows, their norm, and the gradients in blocks and joined.
    let head = FLOAT * e * d * if backward { 5 } else { 2 };
    // Without a backward pass a block's activations are dropped with it; with recomputing they come back one at a time.
    let in_block = FLOAT
        * n
        * match (backward, input.recompute) {
            (false, _) => most(|widths| widths.saved + widths.forward),
            (true, false) => most(|widths| widths.backward),
            (true, true) => most(|widths| widths.saved + widths.backward),
        };
    // On a GPU; the CPU decodes a small panel.
    let (decoded, half) = if input.on_host {
        (0, 0)
    } else {
        let weights = WeightBytes::of(config, input.format);
        let panel = weights.largest_matrix.min(DECODED_PANEL as u64);
        let half = if input.half { half_bytes(config, input.format, &weights, n) } else { 0 };
        (if input.format.is_some() { panel } else { 0 }, half)
    };
    let (in_block, head) = (in_block + decoded + half, head + decoded);
    let in_head = head + logits;
    let kept = match (backward, input.recompute) {
        (false, _) => 0,
        (true, false) => blocks.iter().map(|widths| widths.saved).sum(),
        (true, true) => layers * d,
    };
    let activations = FLOAT * n * (kept + d);
    // Head and block do not compute at the same time.
    if in_head > in_block {
        MemoryForecast { activations, logits, workspace: head, ..MemoryForecast::default() }
    } else {
        MemoryForecast { activations, workspace: in_block, ..MemoryForecast::default() }
    }
}

//! LoRA adapters on the host: named matrices in one flat buffer.

pub mod peft;

use crate::config::Target;

/// Hyper-parameters of an adapter (PEFT's `adapter_config.json`).
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
    pub targets: Vec<Target>,
    pub dropout: f64,
    pub rslora: bool,
}

impl LoraConfig {
    /// The factor on `B A x`: alpha / r, or alpha / sqrt(r) with rsLoRA.
    pub fn scale(&self) -> f64 {
        let r = self.rank as f64;
        if self.rslora { self.alpha / r.sqrt() } else { self.alpha / r }
    }
}

/// One adapted linear layer; `A` is `[rank, input]`, `B` is `[output, rank]`, row-major (PEFT's layout).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub layer: usize,
    pub target: Target,
    pub input: usize,
    pub output: usize,
    /// Offset of A in the flat buffer; B follows it.
    pub offset: usize,
}

/// Trainable parameters of one arm: every `A` then `B`, site after site, in one flat buffer, so that the
/// optimiser, the gradient norm and checkpoints see one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraAdapter {
    pub config: LoraConfig,
    pub sites: Vec<Site>,
    pub values: Vec<f32>,
}

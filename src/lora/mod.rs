//! LoRA adapters on the host: named matrices in one flat buffer.

mod device;
pub mod peft;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::config::Target;
use crate::model::config::ModelConfig;
use crate::model::place::{LinearSpec, Place};

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
    /// The factor on `B A x`: alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv 2312.03732).
    pub fn scale(&self) -> f64 {
        let r = self.rank as f64;
        if self.rslora { self.alpha / r.sqrt() } else { self.alpha / r }
    }
}

/// One adapted linear layer; `A` is `[rank, input]`, `B` is `[output, rank]`, row-major (PEFT's layout).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub layer: usize,
    pub place: Place,
    /// The layer's module name in the base model: `model.layers.0.self_attn.q_proj`.
    pub module: String,
    pub input: usize,
    pub output: usize,
    /// Offset of A in the flat buffer; B follows it.
    pub offset: usize,
}

/// Trainable parameters of one arm: every `A` then `B`, site after site (layers ascending, each in the
/// order of `ModelConfig::linears`), in one flat buffer, so that the optimiser, the gradient norm and checkpoints see
/// one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraAdapter {
    pub config: LoraConfig,
    pub sites: Vec<Site>,
    pub values: Vec<f32>,
}

impl LoraAdapter {
    /// The adapter's sites on `model`, all zero.
    pub fn zeros(config: LoraConfig, model: &ModelConfig) -> Self {
        let mut sites = Vec::new();
        let mut offset = 0;
        for layer in 0..model.num_layers {
            for linear in model.linears(layer) {
                let LinearSpec { place, module, output, input, .. } = linear;
                if !model.together(place.target).iter().any(|t| config.targets.contains(t)) {
                    continue;
                }
                sites.push(Site { layer, place, module, input, output, offset });
                offset += config.rank * (input + output);
            }
        }
        LoraAdapter { config, sites, values: vec![0.0; offset] }
    }

    /// A fresh adapter: A uniform in +-1/sqrt(input) (PEFT's Kaiming-uniform with a = sqrt(5)), B zero, so that
    /// training starts exactly at the base model.
    pub fn init(config: LoraConfig, model: &ModelConfig, seed: u64) -> Self {
        let mut adapter = Self::zeros(config, model);
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        for site in &adapter.sites {
            let bound = 1.0 / (site.input as f32).sqrt();
            let a = &mut adapter.values[site.offset..][..adapter.config.rank * site.input];
            for value in a {
                *value = rng.random_range(-bound..bound);
            }
        }
        adapter
    }
}

//! A model folder to a [`Model`] on a device.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::block::Block;
use super::checkpoint::{Checkpoint, HostTensor, expected_tensors};
use super::config::ModelConfig;
use super::decoder::{Model, PairScore, Updates, pair_scores};
use super::error::ModelError;
use super::layout::PackedBatch;
use super::linear::Linear;
use crate::config::BasePrecision;
use crate::data::pair::TokenizedPair;
use crate::kernels::{AttentionSpec, Weight};
use crate::quant::QuantFormat;

/// Tokens that one scoring pass takes at most (a longer single pair goes alone).
const SCORE_TOKENS: usize = 4096;

/// Largest head that the attention shaders hold in workgroup memory.
const MAX_HEAD_DIM: usize = 256;

/// Answers a tensor by its checkpoint name.
pub type TensorSource<'a> = dyn Fn(&str) -> Result<HostTensor, ModelError> + 'a;

/// The storage format that a precision asks for; `None`: f32 as they are.
pub fn quant_format(precision: BasePrecision) -> Option<QuantFormat> {
    match precision {
        BasePrecision::F32 => None,
        BasePrecision::Int8 => Some(QuantFormat::Int8),
        BasePrecision::Int4 => Some(QuantFormat::Int4),
        BasePrecision::Nf4 => Some(QuantFormat::Nf4),
    }
}

/// How weights lie on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Linear layers in this format, embedding and head in 8 bits; `None`: all in f32.
    pub format: Option<QuantFormat>,
    /// Bytes of one buffer at most; larger matrices are split into row blocks.
    pub binding_limit: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { format: None, binding_limit: u64::MAX }
    }
}

impl LoadOptions {
    /// Embedding and head are looked up or decide every probability: they keep 8 bits.
    fn table_format(&self) -> Option<QuantFormat> {
        self.format.map(|_| QuantFormat::Int8)
    }
}

struct Loader<'a> {
    source: &'a TensorSource<'a>,
    config: &'a ModelConfig,
    device: &'a Device,
    options: LoadOptions,
}

impl Loader<'_> {
    fn matrix(&self, name: &str, format: Option<QuantFormat>) -> Result<Weight, ModelError> {
        let host = (self.source)(name)?;
        let shape = [host.shape[0], host.shape[1]];
        Ok(Weight::upload(host.values, shape, format, self.options.binding_limit, self.device))
    }

    fn vector(&self, name: &str) -> Result<Tensor<1>, ModelError> {
        let host = (self.source)(name)?;
        let shape = [host.values.len()];
        Ok(Tensor::from_data(TensorData::new(host.values, shape), self.device))
    }

    fn linear(&self, name: &str, bias: bool) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), self.options.format)?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"))).transpose()?;
        Ok(Linear { weight, bias })
    }

    fn block(&self, layer: usize) -> Result<Block, ModelError> {
        let c = self.config;
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norm = |part: &str| self.vector(&name(&format!("{part}.weight")));
        let attention = |part: &str, bias| self.linear(&name(&format!("self_attn.{part}")), bias);
        let mlp = |part: &str| self.linear(&name(&format!("mlp.{part}")), c.mlp_bias);
        let head_norm = |part: &str| c.qk_norm.then(|| norm(part)).transpose();
        Ok(Block {
            input_norm: norm("input_layernorm")?,
            q: attention("q_proj", c.qkv_bias)?,
            k: attention("k_proj", c.qkv_bias)?,
            v: attention("v_proj", c.qkv_bias)?,
            o: attention("o_proj", c.o_bias)?,
            q_norm: head_norm("self_attn.q_norm")?,
            k_norm: head_norm("self_attn.k_norm")?,
            post_norm: norm("post_attention_layernorm")?,
            gate: mlp("gate_proj")?,
            up: mlp("up_proj")?,
            down: mlp("down_proj")?,
            attention: AttentionSpec {
                heads: c.num_heads,
                kv_heads: c.num_kv_heads,
                head_dim: c.head_dim,
                window: c.sliding_window[layer],
                scale: 1.0 / (c.head_dim as f32).sqrt(),
            },
            eps: c.rms_norm_eps,
        })
    }
}

impl Model {
    /// Reads a Hugging Face folder onto `device`.
    ///
    /// # Errors
    /// Names the file or tensor that is missing, unused, damaged or of the wrong shape.
    pub fn load(dir: &Path, device: &Device, options: LoadOptions) -> Result<Model, ModelError> {
        let config = ModelConfig::read(dir)?;
        if config.head_dim > MAX_HEAD_DIM {
            return Err(ModelError::Unsupported {
                path: dir.join("config.json"),
                field: "head_dim".to_owned(),
                found: config.head_dim.to_string(),
                supported: "up to 256",
            });
        }
        let checkpoint = Checkpoint::open(dir, &config)?;
        Model::build(config, device, options, &|name| checkpoint.tensor(name))
    }

    /// Puts a model together from any source of tensors.
    ///
    /// # Errors
    /// Those of the source.
    pub fn build(
        config: ModelConfig,
        device: &Device,
        options: LoadOptions,
        source: &TensorSource,
    ) -> Result<Model, ModelError> {
        let loader = Loader { source, config: &config, device, options };
        let table = options.table_format();
        let embedding = loader.matrix("model.embed_tokens.weight", table)?;
        let blocks =
            (0..config.num_layers).map(|i| loader.block(i)).collect::<Result<Vec<_>, _>>()?;
        let norm = loader.vector("model.norm.weight")?;
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            loader.matrix("lm_head.weight", table)?
        };
        Ok(Model { config, device: device.clone(), embedding, blocks, norm, head })
    }

    /// A model with seeded random weights of standard deviation `spread` (norms around 1): for self-tests and
    /// benchmarks, where only the shapes matter.
    ///
    /// # Errors
    /// None in practice; the signature is [`Model::build`]'s.
    pub fn random(
        config: ModelConfig,
        device: &Device,
        options: LoadOptions,
        seed: u64,
        spread: f32,
    ) -> Result<Model, ModelError> {
        let shapes: HashMap<String, Vec<usize>> = expected_tensors(&config).into_iter().collect();
        let counter = Cell::new(seed);
        Model::build(config, device, options, &|name| {
            counter.set(counter.get() + 1);
            let shape = shapes.get(name).cloned().unwrap_or_default();
            let centre = if shape.len() == 1 { 1.0 } else { 0.0 };
            let mut rng = Pcg64Mcg::seed_from_u64(counter.get());
            let bound = spread * 3f32.sqrt(); // a uniform distribution of that deviation
            let values =
                (0..shape.iter().product()).map(|_| centre + rng.random_range(-bound..bound));
            Ok(HostTensor { values: values.collect(), shape })
        })
    }

    /// Per-token log-probabilities of both answers of every pair.
    ///
    /// # Errors
    /// When the device fails to hand back the values.
    pub fn score(
        &self,
        pairs: &[TokenizedPair],
        updates: Option<&Updates>,
    ) -> anyhow::Result<Vec<PairScore>> {
        let mut scores = Vec::with_capacity(pairs.len());
        let mut rest = pairs;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|p| {
                tokens += p.prompt_ids.len() + p.chosen_ids.len() + p.rejected_ids.len();
                tokens <= SCORE_TOKENS
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            scores.extend(self.score_batch(&PackedBatch::new(now), updates)?);
            rest = later;
        }
        Ok(scores)
    }

    /// Like [`Self::score`], in one pass.
    pub fn score_batch(
        &self,
        packed: &PackedBatch,
        updates: Option<&Updates>,
    ) -> anyhow::Result<Vec<PairScore>> {
        let logps = self.log_probs(&self.upload(packed), updates);
        Ok(pair_scores(packed, &read(logps)?))
    }
}

/// Waits for a tensor's values.
pub fn read<const D: usize>(tensor: Tensor<D>) -> anyhow::Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow::anyhow!("the device failed: {e}"))?;
    data.try_to_vec().map_err(|e| anyhow::anyhow!("the device answered no f32 values: {e:?}"))
}

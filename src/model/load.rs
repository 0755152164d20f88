//! A model folder to a [`Model`] on a device.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::attention::{Qkv, SelfAttention};
use super::block::Block;
use super::blocks::Blocks;
use super::checkpoint::{Checkpoint, HostTensor, Spill, expected_tensors};
use super::config::ModelConfig;
use super::decoder::{Model, PairScore, Updates, pair_scores};
use super::error::ModelError;
use super::layout::PackedBatch;
use super::linear::Linear;
use super::mlp::{GateUp, GatedMlp, Mlp};
use super::norm::Norm;
use super::place::Place;
use super::routing::Router;
use crate::config::{BasePrecision, Target};
use crate::data::pair::TokenizedPair;
use crate::kernels::{Arithmetic, AttentionSpec, HostMatrix, Weight};
use crate::quant::QuantFormat;

/// Tokens that one scoring pass takes at most (a longer single pair goes alone): enough to keep a device busy, few
/// enough that a probe needs no more memory than training.
pub const SCORE_TOKENS: usize = 1024;

/// Largest head that the attention shaders hold in workgroup memory.
const MAX_HEAD_DIM: usize = 256;

/// Answers tensors by their checkpoint names.
pub trait TensorSource {
    fn tensor(&self, name: &str) -> Result<HostTensor, ModelError>;

    /// A matrix in the form in which the device is to hold it.
    fn matrix(&self, name: &str, format: Option<QuantFormat>) -> Result<HostMatrix, ModelError> {
        Ok(self.tensor(name)?.into_matrix(format))
    }
}

impl TensorSource for Checkpoint {
    fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        Checkpoint::tensor(self, name)
    }

    fn matrix(&self, name: &str, format: Option<QuantFormat>) -> Result<HostMatrix, ModelError> {
        Checkpoint::matrix(self, name, format)
    }
}

impl<F: Fn(&str) -> Result<HostTensor, ModelError>> TensorSource for F {
    fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        self(name)
    }
}

/// The storage format that a precision asks for; `None`: f32 as they are.
pub fn quant_format(precision: BasePrecision) -> Option<QuantFormat> {
    match precision {
        BasePrecision::F32 => None,
        BasePrecision::Bf16 => Some(QuantFormat::Bf16),
        BasePrecision::F16 => Some(QuantFormat::F16),
        BasePrecision::Int8 => Some(QuantFormat::Int8),
        BasePrecision::Int4 => Some(QuantFormat::Int4),
        BasePrecision::Nf4 => Some(QuantFormat::Nf4),
    }
}

/// How a model uses its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Linear layers in this format, embedding and head in [`QuantFormat::of_tables`]; `None`: all in f32.
    pub format: Option<QuantFormat>,
    /// In what linear layers multiply; embedding, head, router and adapters stay in f32.
    pub arithmetic: Arithmetic,
    /// Bytes of one buffer at most; larger matrices are split into row blocks.
    pub binding_limit: u64,
    /// Blocks come to the device when they compute; quantised ones wait in a temporary file in this folder.
    /// `None`: all blocks stay on the device.
    pub stream: Option<PathBuf>,
    /// Keep only each block's input for the backward pass, which computes the block again.
    pub recompute: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            format: None,
            arithmetic: Arithmetic::F32,
            binding_limit: u64::MAX,
            stream: None,
            recompute: false,
        }
    }
}

/// Makes the parts of a model on its device.
pub struct Loader<'a> {
    source: Box<dyn TensorSource + 'a>,
    config: ModelConfig,
    device: Device,
    options: LoadOptions,
    spill: Option<Spill>,
}

impl<'a> Loader<'a> {
    fn new(
        source: Box<dyn TensorSource + 'a>,
        config: ModelConfig,
        device: &Device,
        options: LoadOptions,
    ) -> Result<Loader<'a>, ModelError> {
        let spill = match (&options.stream, options.format) {
            (Some(folder), Some(_)) => Some(Spill::create(folder)?),
            _ => None,
        };
        Ok(Loader { source, config, device: device.clone(), options, spill })
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn matrix(&self, name: &str, format: Option<QuantFormat>) -> Result<Weight, ModelError> {
        let make = || self.source.matrix(name, format);
        let matrix = match &self.spill {
            Some(spill) => spill.matrix(name, make)?,
            None => make()?,
        };
        Ok(Weight::upload(matrix, self.options.binding_limit, &self.device))
    }

    fn vector(&self, name: &str) -> Result<Tensor<1>, ModelError> {
        let host = self.source.tensor(name)?;
        let shape = [host.values.len()];
        Ok(Tensor::from_data(TensorData::new(host.values, shape), &self.device))
    }

    fn linear(&self, layer: usize, place: impl Into<Place>) -> Result<Linear, ModelError> {
        let spec = self.config.linear(layer, place.into());
        let weight = self.matrix(&format!("{}.weight", spec.module), self.options.format)?;
        let weight = weight.computing_in(self.options.arithmetic);
        let bias = spec.bias.then(|| self.vector(&format!("{}.bias", spec.module))).transpose()?;
        Ok(Linear { weight, bias })
    }

    fn norm(&self, name: &str) -> Result<Norm, ModelError> {
        let mut host = self.source.tensor(&format!("{name}.weight"))?;
        if self.config.unit_offset_norms {
            host.values.iter_mut().for_each(|weight| *weight += 1.0);
        }
        let shape = [host.values.len()];
        let weight = Tensor::from_data(TensorData::new(host.values, shape), &self.device);
        Ok(Norm { weight, eps: self.config.rms_norm_eps })
    }

    fn attention(&self, layer: usize) -> Result<SelfAttention, ModelError> {
        let c = &self.config;
        let linear = |target: Target| self.linear(layer, target);
        let head_norm = |part: &str| {
            let name = format!("model.layers.{layer}.self_attn.{part}");
            c.qk_norm.then(|| self.norm(&name)).transpose()
        };
        let qkv = if c.fused_projections {
            Qkv::Fused(linear(Target::Q)?)
        } else {
            Qkv::Apart { q: linear(Target::Q)?, k: linear(Target::K)?, v: linear(Target::V)? }
        };
        let spec = AttentionSpec {
            heads: c.num_heads,
            kv_heads: c.num_kv_heads,
            head_dim: c.head_dim,
            window: c.sliding_window[layer],
            scale: c.attention_scale,
            softcap: c.attention_softcap,
        };
        let (q_norm, k_norm) = (head_norm("q_norm")?, head_norm("k_norm")?);
        Ok(SelfAttention { qkv, o: linear(Target::O)?, q_norm, k_norm, spec })
    }

    fn mlp(&self, layer: usize) -> Result<Mlp, ModelError> {
        let unit = |expert: Option<usize>| {
            let linear = |target| self.linear(layer, Place { expert, target });
            let gate_up = if self.config.fused_projections {
                GateUp::Fused(linear(Target::Gate)?)
            } else {
                GateUp::Apart { gate: linear(Target::Gate)?, up: linear(Target::Up)? }
            };
            let activation = self.config.activation;
            Ok::<_, ModelError>(GatedMlp { gate_up, down: linear(Target::Down)?, activation })
        };
        let experts = self.config.experts.as_ref().filter(|experts| experts.layers[layer]);
        let Some(experts) = experts else {
            return Ok(Mlp { units: vec![unit(None)?], router: None });
        };
        let router = format!("{}.weight", self.config.router_module(layer));
        Ok(Mlp {
            units: (0..experts.count).map(|expert| unit(Some(expert))).collect::<Result<_, _>>()?,
            router: Some(Router {
                weight: self.matrix(&router, None)?,
                chosen: experts.chosen,
                renormalise: experts.renormalise,
            }),
        })
    }

    /// One block on the device.
    pub fn block(&self, layer: usize) -> Result<Block, ModelError> {
        let norm = |part: &str| self.norm(&format!("model.layers.{layer}.{part}"));
        let names = self.config.block_norms();
        Ok(Block {
            attention_norm: norm(names.attention)?,
            attention: self.attention(layer)?,
            attention_out_norm: names.attention_out.map(norm).transpose()?,
            mlp_norm: norm(names.mlp)?,
            mlp: self.mlp(layer)?,
            mlp_out_norm: names.mlp_out.map(norm).transpose()?,
        })
    }
}

/// All of a model but its blocks.
struct Tables {
    config: ModelConfig,
    device: Device,
    embedding: Weight,
    norm: Norm,
    head: Weight,
    recompute: bool,
}

impl Loader<'_> {
    fn blocks(&self) -> Result<Vec<Block>, ModelError> {
        (0..self.config.num_layers).map(|layer| self.block(layer)).collect()
    }

    fn tables(&self) -> Result<Tables, ModelError> {
        let format = self.options.format.map(QuantFormat::of_tables);
        let embedding = self.matrix("model.embed_tokens.weight", format)?;
        let norm = self.norm("model.norm")?;
        let head = if self.config.tie_word_embeddings {
            embedding.clone()
        } else {
            self.matrix("lm_head.weight", format)?
        };
        let (config, device) = (self.config.clone(), self.device.clone());
        let recompute = self.options.recompute;
        Ok(Tables { config, device, embedding, norm, head, recompute })
    }
}

impl Tables {
    fn model(self, blocks: Blocks) -> Model {
        let Tables { config, device, embedding, norm, head, recompute } = self;
        Model { config, device, embedding, blocks, norm, head, recompute }
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
        let streamed = options.stream.is_some();
        let loader = Loader::new(Box::new(checkpoint), config, device, options)?;
        let tables = loader.tables()?;
        let blocks = if streamed {
            Blocks::Streamed(Box::new(loader))
        } else {
            Blocks::Resident(loader.blocks()?)
        };
        Ok(tables.model(blocks))
    }

    /// Puts a model together from any source of tensors; all blocks stay on the device.
    ///
    /// # Errors
    /// Those of the source.
    pub fn build(
        config: ModelConfig,
        device: &Device,
        options: LoadOptions,
        source: impl Fn(&str) -> Result<HostTensor, ModelError>,
    ) -> Result<Model, ModelError> {
        let loader = Loader::new(Box::new(source), config, device, options)?;
        let tables = loader.tables()?;
        Ok(tables.model(Blocks::Resident(loader.blocks()?)))
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
        let norm_centre = if config.unit_offset_norms { 0.0 } else { 1.0 };
        Model::build(config, device, options, |name| {
            counter.set(counter.get() + 1);
            let shape = shapes.get(name).cloned().unwrap_or_default();
            let centre = if shape.len() == 1 { norm_centre } else { 0.0 };
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
        let logps = self.log_probs(&self.upload(packed), updates)?;
        Ok(pair_scores(packed, &read(logps)?))
    }
}

/// Waits for a tensor's values.
pub fn read<const D: usize>(tensor: Tensor<D>) -> anyhow::Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow::anyhow!("the device failed: {e}"))?;
    data.try_to_vec().map_err(|e| anyhow::anyhow!("the device answered no f32 values: {e:?}"))
}

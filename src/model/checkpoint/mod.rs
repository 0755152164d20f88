//! Weights of a Hugging Face folder, read strictly: every tensor that the architecture needs is there in the
//! right shape, and nothing else is.

mod files;
mod gguf;
mod hash;
mod spill;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::config::ModelConfig;
use super::error::ModelError;
use files::{Entry, Shard, WeightFiles, read_text};
use gguf::Gguf;

pub use hash::model_hash;
pub use spill::Spill;
pub use summary::ModelSummary;

impl ModelConfig {
    /// Reads `config.json` of a model folder, in the spelling of transformers 4 or 5; of a folder whose weights are a
    /// GGUF file, that file's own metadata.
    pub fn read(dir: &Path) -> Result<ModelConfig, ModelError> {
        if !dir.is_dir() {
            return Err(ModelError::NotAFolder { dir: dir.to_path_buf() });
        }
        if let Ok(WeightFiles::Gguf(path)) = WeightFiles::find(dir) {
            return Gguf::open(&path)?.config();
        }
        let path = dir.join("config.json");
        if !path.exists() {
            return Err(ModelError::NoConfig { dir: dir.to_path_buf() });
        }
        ModelConfig::parse(&read_text(&path)?, &path)
    }
}

/// One tensor in f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// An open model folder: headers read, contents mapped and read on demand.
pub struct Checkpoint {
    weights: Weights,
}

enum Weights {
    Safetensors {
        shards: Vec<Shard>,
        /// Exactly the tensors that the architecture needs.
        tensors: BTreeMap<String, Entry>,
    },
    Gguf {
        file: Box<Gguf>,
        config: Box<ModelConfig>,
        /// The same, by their safetensors names, with their shapes.
        shapes: BTreeMap<String, Vec<usize>>,
    },
}

impl Checkpoint {
    /// Opens `dir` and checks names, shapes and dtypes against `config`. Reads headers only.
    pub fn open(dir: &Path, config: &ModelConfig) -> Result<Checkpoint, ModelError> {
        let files = WeightFiles::find(dir)?;
        if let WeightFiles::Gguf(path) = &files {
            return Checkpoint::open_gguf(dir, Gguf::open(path)?, config);
        }
        let mut shards = Vec::new();
        let mut found = BTreeMap::new();
        for path in files.paths() {
            let shard = Shard::open(&path)?;
            let entries = shard.entries(shards.len())?;
            found.extend(entries.into_iter().filter(|(tensor, _)| files.maps_to(tensor, &path)));
            shards.push(shard);
        }
        if let WeightFiles::Sharded { index, weight_map } = &files {
            check_index(index, weight_map, &found)?;
        }
        let tensors = select(dir, config, found)?;
        Ok(Checkpoint { weights: Weights::Safetensors { shards, tensors } })
    }

    fn open_gguf(dir: &Path, file: Gguf, config: &ModelConfig) -> Result<Checkpoint, ModelError> {
        let shapes: BTreeMap<_, _> = expected_tensors(config).into_iter().collect();
        let (missing, unused) = file.compare(shapes.keys());
        if !missing.is_empty() || !unused.is_empty() {
            return Err(ModelError::TensorSet { dir: dir.to_path_buf(), missing, unused });
        }
        let (file, config) = (Box::new(file), Box::new(config.clone()));
        Ok(Checkpoint { weights: Weights::Gguf { file, config, shapes } })
    }

    /// Reads one tensor as f32. F16 and BF16 convert exactly.
    ///
    /// Fails with [`ModelError::NonFinite`] where a value is NaN or infinite.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        let unknown = || ModelError::NoSuchTensor { tensor: name.to_owned() };
        let (shards, tensors) = match &self.weights {
            Weights::Safetensors { shards, tensors } => (shards, tensors),
            Weights::Gguf { file, config, shapes } => {
                return file.tensor(name, shapes.get(name).ok_or_else(unknown)?, config);
            }
        };
        let entry = tensors.get(name).ok_or_else(unknown)?;
        let bytes = &shards[entry.shard].map[entry.range.clone()];
        let (values, bad) = match entry.dtype {
            Dtype::F32 => convert(bytes, f32::from_le_bytes),
            Dtype::F16 => convert(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => convert(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            other => return Err(wrong_dtype(name, other)),
        };
        if bad > 0 {
            return Err(ModelError::NonFinite {
                tensor: name.to_owned(),
                count: bad,
                total: values.len(),
            });
        }
        Ok(HostTensor { shape: entry.shape.clone(), values })
    }

    /// Names in alphabetic order.
    pub fn names(&self) -> Vec<&str> {
        match &self.weights {
            Weights::Safetensors { tensors, .. } => tensors.keys().map(String::as_str).collect(),
            Weights::Gguf { shapes, .. } => shapes.keys().map(String::as_str).collect(),
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        match &self.weights {
            Weights::Safetensors { tensors, .. } => {
                tensors.values().map(|entry| entry.shape.iter().product::<usize>() as u64).sum()
            }
            Weights::Gguf { file, .. } => file.parameters(),
        }
    }

    /// Bytes of all tensors on disk.
    pub fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Safetensors { tensors, .. } => {
                tensors.values().map(|entry| entry.range.len() as u64).sum()
            }
            Weights::Gguf { file, .. } => file.bytes(),
        }
    }

    /// The type that most bytes are stored in: `F32`, `F16` or `BF16`, of a GGUF file also `Q4_K` and its kin.
    pub fn dtype(&self) -> String {
        let tensors = match &self.weights {
            Weights::Safetensors { tensors, .. } => tensors,
            Weights::Gguf { file, .. } => return file.dtype(),
        };
        let mut bytes = BTreeMap::new();
        for entry in tensors.values() {
            *bytes.entry(entry.dtype.to_string()).or_insert(0) += entry.range.len();
        }
        bytes.into_iter().max_by_key(|(_, n)| *n).map(|(dtype, _)| dtype).unwrap_or_default()
    }
}

/// Values converted in parallel, and how many of them are not finite.
fn convert<const N: usize>(
    bytes: &[u8],
    decode: impl Fn([u8; N]) -> f32 + Sync,
) -> (Vec<f32>, usize) {
    // Elements a task: large enough to hide the cost of one, small enough to spread a 1M-element matrix.
    const CHUNK: usize = 1 << 16;
    let mut values = vec![0.0; bytes.len() / N];
    let bad = values
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * N))
        .map(|(values, bytes)| {
            let (elements, _) = bytes.as_chunks::<N>();
            let mut bad = 0;
            for (value, element) in values.iter_mut().zip(elements) {
                *value = decode(*element);
                bad += usize::from(!value.is_finite());
            }
            bad
        })
        .sum();
    (values, bad)
}

fn wrong_dtype(tensor: &str, dtype: Dtype) -> ModelError {
    ModelError::Dtype { tensor: tensor.to_owned(), dtype: dtype.to_string() }
}

/// Every tensor of the index lies in the shard that the index names.
fn check_index(
    index: &Path,
    weight_map: &BTreeMap<String, String>,
    found: &BTreeMap<String, Entry>,
) -> Result<(), ModelError> {
    match weight_map.iter().find(|(tensor, _)| !found.contains_key(*tensor)) {
        None => Ok(()),
        Some((tensor, shard)) => {
            let (tensor, shard) = (tensor.clone(), shard.clone());
            Err(ModelError::ShardLacks { index: index.to_path_buf(), tensor, shard })
        }
    }
}

/// Keeps what the architecture needs and refuses the rest, but for leftovers known to be harmless.
fn select(
    dir: &Path,
    config: &ModelConfig,
    mut found: BTreeMap<String, Entry>,
) -> Result<BTreeMap<String, Entry>, ModelError> {
    let mut tensors = BTreeMap::new();
    let (mut missing, mut wrong_shape) = (Vec::new(), None);
    for (name, expected) in expected_tensors(config) {
        let Some(entry) = found.remove(&name) else {
            missing.push(name);
            continue;
        };
        if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(wrong_dtype(&name, entry.dtype));
        }
        if entry.shape != expected && wrong_shape.is_none() {
            let (tensor, found) = (name.clone(), entry.shape.clone());
            wrong_shape = Some(ModelError::Shape { tensor, found, expected });
        }
        tensors.insert(name, entry);
    }
    let unused: Vec<_> = found.into_keys().filter(|name| !is_harmless(name, config)).collect();
    if let Some(tensor) = unused.iter().find(|name| is_quantised(name)) {
        return Err(ModelError::Quantised { dir: dir.to_path_buf(), tensor: tensor.clone() });
    }
    if !missing.is_empty() || !unused.is_empty() {
        return Err(ModelError::TensorSet { dir: dir.to_path_buf(), missing, unused });
    }
    wrong_shape.map_or(Ok(tensors), Err)
}

/// Buffers that old versions of transformers saved, and the copy of the embedding that a tied head is.
fn is_harmless(name: &str, config: &ModelConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq")
        || (config.tie_word_embeddings && name == "lm_head.weight")
}

/// Tensors that only GPTQ, AWQ, bitsandbytes and FP8 checkpoints have.
fn is_quantised(name: &str) -> bool {
    [
        ".qweight",
        ".qzeros",
        ".scales",
        ".g_idx",
        ".SCB",
        ".absmax",
        ".weight_scale",
        ".weight_scale_inv",
    ]
    .iter()
    .any(|suffix| name.ends_with(suffix))
}

/// Name and shape (`[output, input]` for linear layers) of every tensor, in the order of the forward pass.
pub fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size;
    let mut list = vec![("model.embed_tokens.weight".to_owned(), vec![config.vocab_size, hidden])];
    for layer in 0..config.num_layers {
        let prefix = format!("model.layers.{layer}");
        for norm in config.block_norms().names() {
            list.push((format!("{prefix}.{norm}.weight"), vec![hidden]));
        }
        if config.qk_norm {
            for norm in ["q_norm", "k_norm"] {
                list.push((format!("{prefix}.self_attn.{norm}.weight"), vec![config.head_dim]));
            }
        }
        if let Some(count) = config.experts_of(layer) {
            list.push((format!("{}.weight", config.router_module(layer)), vec![count, hidden]));
        }
        for linear in config.linears(layer) {
            list.push((format!("{}.weight", linear.module), vec![linear.output, linear.input]));
            if linear.bias {
                list.push((format!("{}.bias", linear.module), vec![linear.output]));
            }
        }
    }
    list.push(("model.norm.weight".to_owned(), vec![hidden]));
    if !config.tie_word_embeddings {
        list.push(("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]));
    }
    list
}

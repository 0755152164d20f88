//! Weights of safetensors files: plain numbers, or packed as a quantiser left them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::files::{Entry, Shard, WeightFiles};
use super::packed::{Packed, Scheme, Tensors};
use super::stacked::take_apart;
use super::{HostTensor, expected_tensors};
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;

/// Open files whose tensors are exactly those that the architecture needs.
pub struct SafetensorsWeights {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Stored>,
    scheme: Option<Scheme>,
}

struct Stored {
    shape: Vec<usize>,
    content: Content,
}

enum Content {
    Plain(Entry),
    Packed(Box<Packed>),
}

impl SafetensorsWeights {
    pub fn open(
        dir: &Path,
        files: &WeightFiles,
        config: &ModelConfig,
    ) -> Result<SafetensorsWeights, ModelError> {
        let scheme = Scheme::read(dir)?;
        let mut shards = Vec::new();
        let mut found = BTreeMap::new();
        for path in files.paths() {
            let shard = Shard::open(&path)?;
            for (tensor, entry) in shard.entries(shards.len())? {
                if !files.maps_to(&tensor, &path) {
                    continue;
                }
                if let Some(earlier) = found.insert(tensor.clone(), entry) {
                    let first: &Shard = &shards[earlier.shard];
                    let (first, second) = (first.path.clone(), path);
                    return Err(ModelError::TensorTwice { tensor, first, second });
                }
            }
            shards.push(shard);
        }
        if let WeightFiles::Sharded { index, weight_map } = files {
            check_index(index, weight_map, &found)?;
        }
        take_apart(config, &mut found)?;
        let found = Tensors { shards: &shards, entries: found };
        let tensors = select(dir, config, scheme.as_ref(), found)?;
        Ok(SafetensorsWeights { shards, tensors, scheme })
    }

    /// Reads one tensor as f32.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        let unknown = || ModelError::NoSuchTensor { tensor: name.to_owned() };
        let stored = self.tensors.get(name).ok_or_else(unknown)?;
        let values = match &stored.content {
            Content::Packed(packed) => packed.decode(&self.shards)?,
            Content::Plain(entry) => numbers(name, entry, &self.shards)?,
        };
        Ok(HostTensor { shape: stored.shape.clone(), values })
    }

    /// The shape of a matrix whose rows can be read apart.
    pub fn by_rows(&self, name: &str) -> Option<[usize; 2]> {
        let stored = self.tensors.get(name)?;
        let shape = stored.shape.as_slice().try_into().ok()?;
        matches!(stored.content, Content::Plain(_)).then_some(shape)
    }

    /// Reads some rows of such a matrix as f32.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, ModelError> {
        match self.tensors.get(name) {
            Some(Stored { shape, content: Content::Plain(entry) }) => {
                let width = entry.range.len() / shape[0].max(1);
                let bytes = &entry.bytes(&self.shards)[rows.start * width..rows.end * width];
                decode(name, entry.dtype, bytes)
            }
            _ => Err(ModelError::NoSuchTensor { tensor: name.to_owned() }),
        }
    }

    /// Names in alphabetic order.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|stored| stored.shape.iter().product::<usize>() as u64).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.tensors
            .values()
            .map(|stored| match &stored.content {
                Content::Plain(entry) => entry.range.len() as u64,
                Content::Packed(packed) => packed.bytes(),
            })
            .sum()
    }

    /// How the linear layers are packed, or the type of most bytes where none is.
    pub fn dtype(&self) -> String {
        let mut bytes = BTreeMap::new();
        for stored in self.tensors.values() {
            match (&stored.content, &self.scheme) {
                (Content::Packed(_), Some(scheme)) => return scheme.name(),
                (Content::Plain(entry), _) => {
                    *bytes.entry(entry.dtype.to_string()).or_insert(0) += entry.range.len();
                }
                (Content::Packed(_), None) => {}
            }
        }
        bytes.into_iter().max_by_key(|(_, n)| *n).map(|(dtype, _)| dtype).unwrap_or_default()
    }
}

/// The values of a tensor of plain numbers.
pub(super) fn numbers(name: &str, entry: &Entry, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
    decode(name, entry.dtype, entry.bytes(shards))
}

fn decode(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
    match dtype {
        Dtype::F32 => Ok(convert(bytes, f32::from_le_bytes)),
        Dtype::F16 => Ok(convert(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Ok(convert(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        other => Err(wrong_dtype(name, other)),
    }
}

/// Values converted in parallel.
fn convert<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    // Elements a task: large enough to hide the cost of one, small enough to spread a 1M-element matrix.
    const CHUNK: usize = 1 << 16;
    let mut values = vec![0.0; bytes.len() / N];
    values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * N)).for_each(|(values, bytes)| {
        let (elements, _) = bytes.as_chunks::<N>();
        for (value, element) in values.iter_mut().zip(elements) {
            *value = decode(*element);
        }
    });
    values
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
    scheme: Option<&Scheme>,
    mut found: Tensors,
) -> Result<BTreeMap<String, Stored>, ModelError> {
    let mut tensors = BTreeMap::new();
    let (mut missing, mut wrong_shape) = (Vec::new(), None);
    for (name, shape) in expected_tensors(config) {
        let packed = scheme.map(|scheme| scheme.claim(&name, &shape, &mut found)).transpose()?;
        if let Some(packed) = packed.flatten() {
            let content = Content::Packed(Box::new(packed));
            tensors.insert(name, Stored { shape, content });
            continue;
        }
        let Some(entry) = found.entries.remove(&name) else {
            missing.push(name);
            continue;
        };
        if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(wrong_dtype(&name, entry.dtype));
        }
        if entry.shape != shape && wrong_shape.is_none() {
            let (tensor, found) = (name.clone(), entry.shape.clone());
            wrong_shape = Some(ModelError::Shape { tensor, found, expected: shape.clone() });
        }
        tensors.insert(name, Stored { shape, content: Content::Plain(entry) });
    }
    let is_packed = |name: &str| {
        let weight = tensors.get(&format!("{name}.weight"));
        weight.is_some_and(|stored| matches!(stored.content, Content::Packed(_)))
    };
    let mut unused = Vec::new();
    for (name, entry) in &found.entries {
        let bias = name.strip_suffix(".bias").is_some_and(is_packed);
        let harmless = is_harmless(name, config) || (bias && is_zero(name, entry, found.shards)?);
        if !harmless {
            unused.push(name.clone());
        }
    }
    if scheme.is_none()
        && let Some(tensor) = unused.iter().find(|name| is_quantised(name))
    {
        return Err(ModelError::Quantised { dir: dir.to_path_buf(), tensor: tensor.clone() });
    }
    if !missing.is_empty() || !unused.is_empty() {
        return Err(ModelError::TensorSet { dir: dir.to_path_buf(), missing, unused });
    }
    wrong_shape.map_or(Ok(tensors), Err)
}

/// Quantisers save a bias of zeros for layers that have none.
fn is_zero(name: &str, entry: &Entry, shards: &[Shard]) -> Result<bool, ModelError> {
    Ok(numbers(name, entry, shards)?.iter().all(|value| *value == 0.0))
}

/// Buffers that old versions of transformers saved, and the copy of the embedding that a tied head is.
fn is_harmless(name: &str, config: &ModelConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq")
        // A quantiser may pack the copy: the embedding itself is nearer to what the model was.
        || (config.tie_word_embeddings && name.starts_with("lm_head."))
}

/// Tensors that only GPTQ, AWQ, EXL2, bitsandbytes and FP8 checkpoints have.
fn is_quantised(name: &str) -> bool {
    [
        ".qweight",
        ".qzeros",
        ".scales",
        ".g_idx",
        ".q_weight",
        ".SCB",
        ".absmax",
        ".weight_scale",
        ".weight_scale_inv",
        ".weight_packed",
    ]
    .iter()
    .any(|suffix| name.ends_with(suffix))
}

//! Weights of a Hugging Face folder, read strictly: every tensor that the architecture needs is there in the
//! right shape, and nothing else is.

mod files;
mod gguf;
mod hash;
mod packed;
mod safetensors;
mod spill;
mod stacked;
mod summary;

use std::path::Path;

use rayon::prelude::*;

use crate::kernels::HostMatrix;
use crate::quant::{QuantFormat, QuantMatrix};

use super::config::ModelConfig;
use super::error::ModelError;
use files::{WeightFiles, read_text};
use gguf::GgufWeights;
use safetensors::SafetensorsWeights;

pub use hash::model_hash;
pub use spill::Spill;
pub use summary::ModelSummary;

impl ModelConfig {
    /// Reads `config.json` of a model folder, in the spelling of transformers 4 or 5; of a GGUF file, or a folder whose
    /// weights are one, that file's own metadata.
    pub fn read(dir: &Path) -> Result<ModelConfig, ModelError> {
        if let Some(files) = crate::gguf::locate(dir)? {
            return gguf::config(&files);
        }
        if !dir.is_dir() {
            return Err(ModelError::NotAFolder { dir: dir.to_path_buf() });
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

impl HostTensor {
    /// A matrix in the form in which the device is to hold it.
    pub fn into_matrix(self, format: Option<QuantFormat>) -> HostMatrix {
        HostMatrix::encode(self.values, [self.shape[0], self.shape[1]], format)
    }
}

/// Floats of a matrix that are read at a time where it is quantised (16 MiB).
pub const READ_PANEL: usize = 4 << 20;

/// An open model: headers read, contents mapped and read on demand.
pub struct Checkpoint {
    weights: Weights,
}

enum Weights {
    Safetensors(SafetensorsWeights),
    Gguf(Box<GgufWeights>),
}

impl Checkpoint {
    /// Opens `dir` (or a GGUF file) and checks names, shapes and dtypes against `config`. Reads headers only.
    pub fn open(dir: &Path, config: &ModelConfig) -> Result<Checkpoint, ModelError> {
        let weights = match WeightFiles::find(dir)? {
            WeightFiles::Gguf(paths) => {
                Weights::Gguf(Box::new(GgufWeights::open(dir, &paths, config)?))
            }
            files => Weights::Safetensors(SafetensorsWeights::open(dir, &files, config)?),
        };
        Ok(Checkpoint { weights })
    }

    /// Reads one tensor as f32. F16 and BF16 convert exactly, quantised ones are decoded.
    ///
    /// Fails with [`ModelError::NonFinite`] where a value is NaN or infinite.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        let tensor = match &self.weights {
            Weights::Safetensors(weights) => weights.tensor(name),
            Weights::Gguf(weights) => weights.tensor(name),
        }?;
        refuse(name, unusable(&tensor.values), tensor.values.len())?;
        Ok(tensor)
    }

    /// Reads a matrix in the form in which the device is to hold it: quantised where `format` says so, some rows at a time
    /// where they lie one after the other in the file, so that there is no f32 copy of the whole.
    ///
    /// Fails like [`Self::tensor`].
    pub fn matrix(
        &self,
        name: &str,
        format: Option<QuantFormat>,
    ) -> Result<HostMatrix, ModelError> {
        let by_rows = match &self.weights {
            Weights::Safetensors(weights) => weights.by_rows(name),
            Weights::Gguf(weights) => weights.by_rows(name),
        };
        let (Some([rows, cols]), Some(format)) = (by_rows, format) else {
            return Ok(self.tensor(name)?.into_matrix(format));
        };
        let mut matrix = QuantMatrix::empty(rows, cols, format);
        let mut wrong = 0;
        let at_once = (READ_PANEL / cols.max(1)).max(1);
        for first in (0..rows).step_by(at_once) {
            let panel = first..rows.min(first + at_once);
            let values = match &self.weights {
                Weights::Safetensors(weights) => weights.rows(name, panel),
                Weights::Gguf(weights) => weights.rows(name, panel),
            }?;
            wrong += unusable(&values);
            matrix.encode_rows(first, &values);
        }
        refuse(name, wrong, rows * cols)?;
        Ok(HostMatrix::Quantised(matrix))
    }

    /// Names in alphabetic order.
    pub fn names(&self) -> Vec<&str> {
        match &self.weights {
            Weights::Safetensors(weights) => weights.names(),
            Weights::Gguf(weights) => weights.names(),
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        match &self.weights {
            Weights::Safetensors(weights) => weights.parameters(),
            Weights::Gguf(weights) => weights.file().parameters(),
        }
    }

    /// Bytes of all tensors on disk.
    pub fn bytes(&self) -> u64 {
        match &self.weights {
            Weights::Safetensors(weights) => weights.bytes(),
            Weights::Gguf(weights) => weights.file().bytes(),
        }
    }

    /// How most bytes are stored: `F32`, `F16`, `BF16`, `GGUF Q4_K`, `GPTQ 4-bit`, ..
    pub fn dtype(&self) -> String {
        match &self.weights {
            Weights::Safetensors(weights) => weights.dtype(),
            Weights::Gguf(weights) => format!("GGUF {}", weights.file().dtype()),
        }
    }
}

/// How many values are NaN or infinite.
fn unusable(values: &[f32]) -> usize {
    values.par_iter().filter(|value| !value.is_finite()).count()
}

fn refuse(tensor: &str, count: usize, total: usize) -> Result<(), ModelError> {
    match count {
        0 => Ok(()),
        _ => Err(ModelError::NonFinite { tensor: tensor.to_owned(), count, total }),
    }
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

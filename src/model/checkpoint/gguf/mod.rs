//! Weights of a GGUF model, decoded to f32 and named as in safetensors.

mod config;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{HostTensor, expected_tensors};
use crate::gguf::{Gguf, GgufError};
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use names::Place;

/// The decoder that the metadata describe, by way of the same rules as a config.json.
pub fn config(paths: &[PathBuf]) -> Result<ModelConfig, ModelError> {
    let file = Gguf::open(paths)?;
    let unusable = |problem| ModelError::GgufConfig { path: file.path().to_path_buf(), problem };
    let json = config::config_json(&file).map_err(unusable)?;
    let mut config = ModelConfig::parse(&json.to_string(), file.path())?;
    // Llama 3's stretched frequencies come as one divisor a channel pair.
    if let Some(tensor) = file.tensors().get(ROPE_FACTORS) {
        let pairs = config.rope.inv_freq.len();
        if tensor.elements() != pairs as u64 {
            let found = tensor.elements();
            let problem = format!("{ROPE_FACTORS} has {found} factors for {pairs} channel pairs");
            return Err(unusable(problem));
        }
        let factors = file.decode(ROPE_FACTORS, 0..tensor.elements())?;
        if let Some(factor) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0))
        {
            return Err(unusable(format!("{ROPE_FACTORS} holds the factor {factor}")));
        }
        for (frequency, factor) in config.rope.inv_freq.iter_mut().zip(factors) {
            *frequency /= factor;
        }
    }
    Ok(config)
}

const ROPE_FACTORS: &str = "rope_freqs.weight";

/// An open GGUF model whose tensors are those that its architecture needs.
pub struct GgufWeights {
    file: Gguf,
    config: ModelConfig,
    /// By safetensors names.
    tensors: BTreeMap<String, (Place, Vec<usize>)>,
}

impl GgufWeights {
    /// Opens the files and checks names and shapes against `config`; `model` names the model in errors.
    pub fn open(
        model: &Path,
        paths: &[PathBuf],
        config: &ModelConfig,
    ) -> Result<GgufWeights, ModelError> {
        let file = Gguf::open(paths)?;
        let mut unused: BTreeSet<&String> = file.tensors().keys().collect();
        // Rotary tables: read with the configuration, or left over from old versions.
        unused.retain(|name| *name != ROPE_FACTORS && !name.contains("attn_rot_embd"));
        let (mut missing, mut wrong_shape) = (Vec::new(), None);
        let mut tensors = BTreeMap::new();
        for (name, expected) in expected_tensors(config) {
            let places = names::places(&name);
            let found = places.into_iter().find_map(|place| {
                let tensor = file.tensors().get(&place.name)?;
                Some((tensor, place))
            });
            let Some((tensor, place)) = found else {
                missing.push(name);
                continue;
            };
            unused.remove(&place.name);
            let shape = place.shape(tensor);
            if shape.as_ref() != Some(&expected) && wrong_shape.is_none() {
                let problem = format!(
                    "{} has the shape {:?}, which does not hold the {expected:?} of {name}",
                    place.name, tensor.shape
                );
                wrong_shape = Some(GgufError::Damaged { path: file.path().into(), problem });
            }
            tensors.insert(name, (place, expected));
        }
        if !missing.is_empty() || !unused.is_empty() {
            let unused = unused.into_iter().cloned().collect();
            return Err(ModelError::TensorSet { dir: model.to_path_buf(), missing, unused });
        }
        match wrong_shape {
            Some(error) => Err(error.into()),
            None => Ok(GgufWeights { file, config: config.clone(), tensors }),
        }
    }

    /// A tensor by its safetensors name.
    pub fn tensor(&self, name: &str) -> Result<HostTensor, ModelError> {
        let unknown = || ModelError::NoSuchTensor { tensor: name.to_owned() };
        let (place, shape) = self.tensors.get(name).ok_or_else(unknown)?;
        let mut values = self.elements(place, shape, 0..shape.iter().product())?;
        if self.file.architecture() == Some("llama") {
            values = names::unpermute(name, values, shape, &self.config);
        }
        Ok(HostTensor { shape: shape.clone(), values })
    }

    /// The shape of a matrix whose rows can be read apart: those of q and k may stand in another order.
    pub fn by_rows(&self, name: &str) -> Option<[usize; 2]> {
        let (_, shape) = self.tensors.get(name)?;
        (!names::is_permuted(name)).then_some(shape.as_slice().try_into().ok()?)
    }

    /// Reads some rows of such a matrix as f32.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, ModelError> {
        let unknown = || ModelError::NoSuchTensor { tensor: name.to_owned() };
        let (place, shape) = self.tensors.get(name).ok_or_else(unknown)?;
        let width: usize = shape[1..].iter().product();
        self.elements(place, shape, rows.start * width..rows.end * width)
    }

    /// Some elements of one tensor of `shape`, which may be one expert's part of a stored one.
    fn elements(
        &self,
        place: &Place,
        shape: &[usize],
        range: Range<usize>,
    ) -> Result<Vec<f32>, ModelError> {
        let start = (place.expert.unwrap_or(0) * shape.iter().product::<usize>()) as u64;
        let range = start + range.start as u64..start + range.end as u64;
        Ok(self.file.decode(&place.name, range)?)
    }

    /// Names in alphabetic order.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    pub fn file(&self) -> &Gguf {
        &self.file
    }
}

//! Weights of a GGUF file (llama.cpp's format, versions 1 to 3), decoded to f32 and named as in safetensors.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod blocks;
mod header;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::HostTensor;
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use blocks::BlockType;
use header::{Header, TensorInfo};

/// An open GGUF file.
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

fn damaged(path: &Path, problem: String) -> ModelError {
    ModelError::Damaged { path: path.to_path_buf(), problem }
}

impl Gguf {
    /// Reads the header and checks that every tensor lies inside the file.
    pub fn open(path: &Path) -> Result<Gguf, ModelError> {
        let io = |source| ModelError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: as for safetensors, the file must not change while it is mapped; nothing here writes to it.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let header = Header::parse(&map).map_err(|problem| damaged(path, problem))?;
        for (name, tensor) in &header.tensors {
            let bytes = tensor.bytes().ok_or_else(|| {
                let kind = tensor.kind;
                let path = path.to_path_buf();
                ModelError::GgufType { path, tensor: name.clone(), kind }
            })?;
            let end = tensor.start.checked_add(bytes);
            if end.is_none_or(|end| end > map.len() as u64) {
                return Err(damaged(path, format!("{name} reaches beyond the end of the file")));
            }
        }
        Ok(Gguf { path: path.to_path_buf(), map, header })
    }

    /// The decoder that the metadata describe, by way of the same rules as a config.json.
    pub fn config(&self) -> Result<ModelConfig, ModelError> {
        let json =
            names::config_json(&self.header).map_err(|problem| damaged(&self.path, problem))?;
        let mut config = ModelConfig::parse(&json.to_string(), &self.path)?;
        // Llama 3's stretched frequencies come as one divisor a channel pair.
        if let Some(tensor) = self.header.tensors.get("rope_freqs.weight") {
            let factors = self.decode("rope_freqs.weight", tensor)?;
            for (frequency, factor) in config.rope.inv_freq.iter_mut().zip(factors) {
                *frequency /= factor;
            }
        }
        Ok(config)
    }

    /// A tensor by its safetensors name.
    pub fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        config: &ModelConfig,
    ) -> Result<HostTensor, ModelError> {
        let place = names::place(name);
        let missing = || ModelError::TensorSet {
            dir: self.path.clone(),
            missing: vec![name.to_owned()],
            unused: Vec::new(),
        };
        let place = place.ok_or_else(missing)?;
        let tensor = self.header.tensors.get(&place.name).ok_or_else(missing)?;
        let found = place.shape(tensor).ok_or_else(missing)?;
        if found != shape {
            return Err(ModelError::Shape { tensor: place.name, found, expected: shape.to_vec() });
        }
        let mut values = match place.expert {
            None => self.decode(&place.name, tensor)?,
            Some(expert) => {
                let all = self.decode(&place.name, tensor)?;
                let count: usize = shape.iter().product();
                all.chunks(count.max(1)).nth(expert).ok_or_else(missing)?.to_vec()
            }
        };
        if self.header.architecture() == Some("llama") {
            values = names::unpermute(name, values, shape, config);
        }
        let bad = values.iter().filter(|value| !value.is_finite()).count();
        if bad > 0 {
            let total = values.len();
            return Err(ModelError::NonFinite { tensor: place.name, count: bad, total });
        }
        Ok(HostTensor { shape: shape.to_vec(), values })
    }

    /// Which of the expected safetensors names the file lacks, and which of its own tensors none of them needs.
    pub fn compare<'a>(
        &self,
        expected: impl Iterator<Item = &'a String>,
    ) -> (Vec<String>, Vec<String>) {
        let mut unused: BTreeSet<&String> = self.header.tensors.keys().collect();
        // Rotary tables: read with the configuration, or left over from old versions.
        unused.retain(|name| !name.starts_with("rope_") && !name.ends_with("attn_rot_embd"));
        let mut missing = Vec::new();
        for name in expected {
            match names::place(name).filter(|p| self.header.tensors.contains_key(&p.name)) {
                Some(place) => {
                    unused.remove(&place.name);
                }
                None => missing.push(name.clone()),
            }
        }
        (missing, unused.into_iter().cloned().collect())
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.header.tensors.values().map(TensorInfo::elements).sum()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.header.tensors.values().filter_map(TensorInfo::bytes).sum()
    }

    /// The type that most bytes are stored in: `Q4_K`, ..
    pub fn dtype(&self) -> String {
        let mut bytes = BTreeMap::new();
        for tensor in self.header.tensors.values() {
            if let Some(kind) = BlockType::from_id(tensor.kind) {
                *bytes.entry(kind.name()).or_insert(0) += tensor.bytes().unwrap_or(0);
            }
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or_else(String::new, |(name, _)| name.to_owned())
    }

    fn decode(&self, name: &str, tensor: &TensorInfo) -> Result<Vec<f32>, ModelError> {
        let outside = || damaged(&self.path, format!("{name} reaches beyond the end of the file"));
        let bytes = tensor.bytes().and_then(|bytes| {
            let start = usize::try_from(tensor.start).ok()?;
            self.map.get(start..start.checked_add(usize::try_from(bytes).ok()?)?)
        });
        let kind = BlockType::from_id(tensor.kind);
        Ok(kind.zip(bytes).ok_or_else(outside).map(|(kind, bytes)| kind.decode(bytes))?)
    }
}

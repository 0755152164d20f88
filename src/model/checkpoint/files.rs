//! Which files of a model folder hold the weights, and their safetensors headers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::packed::Scheme;
use crate::gguf;
use crate::model::error::ModelError;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const LFS_MARK: &[u8] = b"version https://git-lfs";

/// The weight files of a folder, by name.
pub(super) enum WeightFiles {
    Single(PathBuf),
    /// Tensor name to shard name, as the index file says.
    Sharded {
        index: PathBuf,
        weight_map: BTreeMap<String, String>,
    },
    /// Every safetensors file of a folder whose quantiser names and counts its files in its own way.
    Loose(Vec<PathBuf>),
    /// llama.cpp's file or files, with their own metadata instead of config.json.
    Gguf(Vec<PathBuf>),
}

impl WeightFiles {
    /// Finds them as transformers does: `model.safetensors` first, then the index of shards. `dir` may also be a GGUF
    /// file.
    pub fn find(dir: &Path) -> Result<WeightFiles, ModelError> {
        if let Some(files) = gguf::locate(dir)? {
            return Ok(WeightFiles::Gguf(files));
        }
        if !dir.is_dir() {
            return Err(ModelError::NotAFolder { dir: dir.to_path_buf() });
        }
        let single = dir.join(SINGLE);
        if single.exists() {
            return Ok(WeightFiles::Single(single));
        }
        let index = dir.join(INDEX);
        if !index.exists() {
            let loose = Self::loose(dir)?;
            return loose.ok_or_else(|| without_safetensors(dir));
        }
        let weight_map = read_index(&index)?;
        // ExLlamaV2 copies the index of the model that it quantised, whose shards are not there.
        if weight_map.values().all(|shard| !dir.join(shard).exists())
            && let Some(loose) = Self::loose(dir)?
        {
            return Ok(loose);
        }
        for shard in weight_map.values() {
            if !is_plain_name(shard) {
                return Err(ModelError::ShardName { index, shard: shard.clone() });
            }
            if !dir.join(shard).is_file() {
                return Err(ModelError::MissingShard { index, shard: shard.clone() });
            }
        }
        Ok(WeightFiles::Sharded { index, weight_map })
    }

    /// All safetensors files of a folder that says it is quantised.
    fn loose(dir: &Path) -> Result<Option<WeightFiles>, ModelError> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .collect();
        paths.sort();
        let quantised = !paths.is_empty() && Scheme::read(dir)?.is_some();
        Ok(quantised.then_some(WeightFiles::Loose(paths)))
    }

    /// Every weight file once, in the order of names.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self {
            WeightFiles::Single(path) => vec![path.clone()],
            WeightFiles::Gguf(paths) | WeightFiles::Loose(paths) => paths.clone(),
            WeightFiles::Sharded { index, weight_map } => {
                let mut names: Vec<_> = weight_map.values().collect();
                names.sort();
                names.dedup();
                names.into_iter().map(|name| index.with_file_name(name)).collect()
            }
        }
    }

    /// Whether the tensor is to be taken from that file: the index places it there or does not know it.
    pub fn maps_to(&self, tensor: &str, path: &Path) -> bool {
        match self {
            WeightFiles::Single(_) | WeightFiles::Gguf(_) | WeightFiles::Loose(_) => true,
            WeightFiles::Sharded { index, weight_map } => {
                weight_map.get(tensor).is_none_or(|shard| index.with_file_name(shard) == path)
            }
        }
    }
}

/// A folder with pickles only, or with nothing.
fn without_safetensors(dir: &Path) -> ModelError {
    let is_pickle = |name: &str| {
        let weights = name.starts_with("pytorch_model") || name.starts_with("consolidated");
        weights
            && (name.ends_with(".bin")
                || name.ends_with(".pth")
                || name.ends_with(".bin.index.json"))
    };
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut pickles: Vec<_> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_pickle(name))
        .collect();
    pickles.sort();
    match pickles.into_iter().next() {
        Some(found) => ModelError::PickleOnly { dir: dir.to_path_buf(), found },
        None => ModelError::NoWeights { dir: dir.to_path_buf() },
    }
}

/// A shard must be a file of the folder itself: no separators (either platform's), no `..`, no drive.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one_normal =
        matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    one_normal && !name.contains(['/', '\\', ':'])
}

fn read_index(index: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    let text = read_text(index)?;
    let json: Value = serde_json::from_str(&text)
        .map_err(|source| ModelError::Json { path: index.to_path_buf(), source })?;
    let damaged = || ModelError::Field {
        path: index.to_path_buf(),
        field: "weight_map".to_owned(),
        problem: "is not an object of tensor names and file names".to_owned(),
    };
    let map = json.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    map.ok_or_else(damaged)?
        .iter()
        .map(|(tensor, shard)| Ok((tensor.clone(), shard.as_str().ok_or_else(damaged)?.to_owned())))
        .collect()
}

/// A small text file of the folder, with git-LFS pointers refused.
pub(super) fn read_text(path: &Path) -> Result<String, ModelError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ModelError::Io { path: path.to_path_buf(), source })?;
    if text.as_bytes().starts_with(LFS_MARK) {
        return Err(ModelError::LfsPointer { path: path.to_path_buf() });
    }
    Ok(text)
}

/// Where one tensor lies.
pub(super) struct Entry {
    pub shard: usize,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Bytes of the shard file.
    pub range: Range<usize>,
}

impl Entry {
    pub fn bytes<'a>(&self, shards: &'a [Shard]) -> &'a [u8] {
        &shards[self.shard].map[self.range.clone()]
    }
}

/// One mapped safetensors file.
pub(super) struct Shard {
    pub path: PathBuf,
    pub map: Mmap,
}

impl Shard {
    /// Maps the file and checks its header against its length.
    pub fn open(path: &Path) -> Result<Shard, ModelError> {
        let io = |source| ModelError::Io { path: path.to_path_buf(), source };
        let damaged = |problem: &str| ModelError::Damaged {
            path: path.to_path_buf(),
            problem: problem.into(),
        };
        let mut file = File::open(path).map_err(io)?;
        let mut start = Vec::with_capacity(LFS_MARK.len());
        (&mut file).take(LFS_MARK.len() as u64).read_to_end(&mut start).map_err(io)?;
        if start == LFS_MARK {
            return Err(ModelError::LfsPointer { path: path.to_path_buf() });
        }
        if start.len() < 8 {
            return Err(damaged("it is empty or shorter than a safetensors header"));
        }
        // SAFETY: the map is only read. Another program that truncates the file while it is mapped could
        // end this process; as with every reader of mapped weights, model files are taken to be at rest.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Shard { path: path.to_path_buf(), map })
    }

    /// Name and place of every tensor; `shard` is this file's number.
    pub fn entries(&self, shard: usize) -> Result<Vec<(String, Entry)>, ModelError> {
        let damaged = |problem: String| ModelError::Damaged { path: self.path.clone(), problem };
        let (header, metadata) = SafeTensors::read_metadata(&self.map).map_err(|error| {
            use safetensors::SafeTensorError as E;
            damaged(match error {
                E::MetadataIncompleteBuffer => format!(
                    "its length of {} bytes is not what its header promises",
                    self.map.len()
                ),
                E::InvalidHeaderLength => "it ends within its header".to_owned(),
                other => format!("it is not a safetensors file ({other})"),
            })
        })?;
        let data = 8 + header;
        let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            (name, Entry { shard, dtype: info.dtype, shape: info.shape.clone(), range })
        };
        Ok(metadata.tensors().into_iter().map(place).collect())
    }
}

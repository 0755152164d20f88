//! GGUF, llama.cpp's file format, versions 1 to 3: metadata, tensors and their block types, models split over files.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. What the tensors are called and mean is
//! `model::checkpoint`'s, what the vocabulary means is `data::tokenizer`'s.

mod blocks;
mod header;
mod locate;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

pub use blocks::BlockType;
pub use header::{Header, TensorInfo, Value};
pub use locate::{folder_of, is_gguf, locate};

/// Why a GGUF file was refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    #[error("{} cannot be read: {source}. Check that the file exists and that you may read it.", .path.display())]
    Io { path: PathBuf, source: std::io::Error },

    #[error("{} is damaged: {problem}. The download was probably cut off: fetch the file again.", .path.display())]
    Damaged { path: PathBuf, problem: String },

    #[error(
        "{} is a git-LFS pointer, not the file itself. Run `git lfs pull` in the model folder.",
        .path.display()
    )]
    LfsPointer { path: PathBuf },

    #[error(
        "{} holds several GGUF models: {names}. Choose one of these files as the model, or leave one in the folder.",
        .dir.display()
    )]
    Several { dir: PathBuf, names: String },

    #[error(
        "{} is one part of a split model, and {missing} is missing. Download all parts into the same folder.",
        .path.display()
    )]
    MissingPart { path: PathBuf, missing: String },

    #[error(
        "{}: {tensor} is stored in ggml's type {kind}, which cannot be read. Choose a file in {}.",
        .path.display(), BlockType::readable()
    )]
    Type { path: PathBuf, tensor: String, kind: String },

    #[error(
        "{}: {tensor} is stored in {kind}, and its rows of {row} values are no whole number of blocks. Choose \
         another file of this model.", .path.display()
    )]
    Blocks { path: PathBuf, tensor: String, kind: &'static str, row: u64 },
}

/// An open GGUF model: one file, or the parts of a split one.
pub struct Gguf {
    parts: Vec<Part>,
    tensors: BTreeMap<String, TensorInfo>,
}

struct Part {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

fn damaged(path: &Path, problem: impl Into<String>) -> GgufError {
    GgufError::Damaged { path: path.to_path_buf(), problem: problem.into() }
}

impl Part {
    /// Maps a file, reads its header and checks that every tensor lies inside it.
    fn open(path: &Path) -> Result<Part, GgufError> {
        let io = |source| GgufError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is only read. Another program that truncates the file while it is mapped could end this
        // process; as with every reader of mapped weights, model files are taken to be at rest.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        if map.starts_with(b"version https://git-lfs") {
            return Err(GgufError::LfsPointer { path: path.to_path_buf() });
        }
        let header = Header::parse(&map).map_err(|problem| damaged(path, problem))?;
        for (name, tensor) in &header.tensors {
            let bytes = bytes_of(path, name, tensor)?;
            let end = tensor.start.checked_add(bytes);
            if end.is_none_or(|end| end > map.len() as u64) {
                return Err(damaged(path, format!("{name} reaches beyond the end of the file")));
            }
        }
        Ok(Part { path: path.to_path_buf(), map, header })
    }
}

fn bytes_of(path: &Path, name: &str, tensor: &TensorInfo) -> Result<u64, GgufError> {
    let (path, name) = (path.to_path_buf(), name.to_owned());
    match BlockType::from_id(tensor.kind) {
        None => {
            let kind = blocks::name_of(tensor.kind);
            Err(GgufError::Type { path, tensor: name, kind })
        }
        Some(kind) => tensor.bytes().ok_or_else(|| {
            let row = tensor.shape.last().copied().unwrap_or(0);
            GgufError::Blocks { path, tensor: name, kind: kind.name(), row }
        }),
    }
}

impl Gguf {
    /// Opens the files of a model, as [`locate`] names them.
    pub fn open(paths: &[PathBuf]) -> Result<Gguf, GgufError> {
        let mut parts = Vec::new();
        let mut tensors = BTreeMap::new();
        for (number, path) in paths.iter().enumerate() {
            let part = Part::open(path)?;
            check_part(&part, number, paths.len())?;
            for (name, tensor) in &part.header.tensors {
                let tensor = TensorInfo { part: number, ..tensor.clone() };
                if tensors.insert(name.clone(), tensor).is_some() {
                    return Err(damaged(path, format!("{name} is in an earlier part too")));
                }
            }
            parts.push(part);
        }
        let file = Gguf { parts, tensors };
        let promised = file.value("split.tensors.count").and_then(Value::integer);
        match promised {
            Some(count) if count != file.tensors.len() as i64 => {
                let found = file.tensors.len();
                let problem = format!("its parts hold {found} tensors together, not {count}");
                Err(damaged(file.path(), problem))
            }
            _ => Ok(file),
        }
    }

    /// The file that holds the metadata: the only one, or the first.
    pub fn path(&self) -> &Path {
        self.parts.first().map_or(Path::new(""), |part| &part.path)
    }

    /// Where the tensors' data begin in each file.
    pub fn data_starts(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.parts.iter().map(|part| (part.path.as_path(), part.header.data))
    }

    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    pub fn value(&self, key: &str) -> Option<&Value> {
        self.parts.first()?.header.metadata.get(key)
    }

    /// Keys of the metadata, in alphabetic order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().take(1).flat_map(|part| part.header.metadata.keys()).map(String::as_str)
    }

    pub fn architecture(&self) -> Option<&str> {
        self.value("general.architecture").and_then(Value::text)
    }

    /// A value under the architecture's own prefix.
    pub fn own(&self, key: &str) -> Option<&Value> {
        self.value(&format!("{}.{key}", self.architecture()?))
    }

    /// The values of an array, read now; empty where the key holds none.
    pub fn array(&self, key: &str) -> Result<Vec<Value>, GgufError> {
        let Some(part) = self.parts.first() else { return Ok(Vec::new()) };
        part.header.array(&part.map, key).map_err(|problem| damaged(&part.path, problem))
    }

    /// Decodes the elements `range` of a tensor, whole blocks, to f32.
    pub fn decode(&self, name: &str, range: Range<u64>) -> Result<Vec<f32>, GgufError> {
        let outside = || damaged(self.path(), format!("{name} reaches beyond the end of the file"));
        let tensor = self.tensors.get(name).ok_or_else(outside)?;
        let part = self.parts.get(tensor.part).ok_or_else(outside)?;
        let kind = BlockType::from_id(tensor.kind).ok_or_else(outside)?;
        let block = kind.elements() as u64;
        let byte = |element: u64| {
            let at = tensor.start.checked_add(element / block * kind.bytes() as u64)?;
            usize::try_from(at).ok()
        };
        let bytes = byte(range.start).zip(byte(range.end)).and_then(|(a, b)| part.map.get(a..b));
        Ok(kind.decode(bytes.ok_or_else(outside)?))
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(TensorInfo::elements).sum()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().filter_map(TensorInfo::bytes).sum()
    }

    /// The type that most bytes are stored in: `Q4_K`, ..
    pub fn dtype(&self) -> &'static str {
        let mut bytes = BTreeMap::new();
        for tensor in self.tensors.values() {
            if let Some(kind) = BlockType::from_id(tensor.kind) {
                *bytes.entry(kind.name()).or_insert(0) += tensor.bytes().unwrap_or(0);
            }
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or("", |(name, _)| name)
    }
}

/// A part says which one it is and of how many.
fn check_part(part: &Part, number: usize, count: usize) -> Result<(), GgufError> {
    let said = |key: &str| part.header.metadata.get(key).and_then(Value::integer);
    let (own, all) = (said("split.no").unwrap_or(0), said("split.count").unwrap_or(0).max(1));
    if (own, all) == (number as i64, count as i64) {
        return Ok(());
    }
    let (own, number) = (own + 1, number + 1);
    let problem =
        format!("it calls itself part {own} of {all}, and its name says {number} of {count}");
    Err(damaged(&part.path, problem))
}

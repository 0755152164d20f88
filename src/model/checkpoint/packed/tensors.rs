//! The tensors of a checkpoint while they are being claimed, and checked access to their contents.

use std::collections::BTreeMap;

use safetensors::Dtype;

use crate::model::checkpoint::files::{Entry, Shard};
use crate::model::checkpoint::safetensors::numbers;
use crate::model::error::ModelError;

/// What the files hold and nobody has claimed yet.
pub struct Tensors<'a> {
    pub shards: &'a [Shard],
    pub entries: BTreeMap<String, Entry>,
}

/// One claimed tensor.
pub struct Part {
    pub name: String,
    entry: Entry,
}

pub fn problem(tensor: &str, problem: impl Into<String>) -> ModelError {
    ModelError::Packed { tensor: tensor.to_owned(), problem: problem.into() }
}

const FLOATS: [Dtype; 3] = [Dtype::F16, Dtype::BF16, Dtype::F32];
const WORDS: [Dtype; 2] = [Dtype::I32, Dtype::U32];

impl Tensors<'_> {
    /// A tensor that may be absent.
    pub fn optional(&mut self, name: String) -> Option<Part> {
        self.entries.remove(&name).map(|entry| Part { name, entry })
    }

    /// A tensor that belongs to `module`.
    pub fn needed(&mut self, module: &str, part: &str) -> Result<Part, ModelError> {
        let name = format!("{module}.{part}");
        let missing = || problem(&format!("{module}.weight"), format!("{name} is missing"));
        self.optional(name.clone()).ok_or_else(missing)
    }
}

impl Part {
    pub fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    pub fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    pub fn len(&self) -> u64 {
        self.entry.range.len() as u64
    }

    /// Two sizes.
    pub fn matrix(&self) -> Result<(usize, usize), ModelError> {
        match self.shape() {
            &[rows, columns] => Ok((rows, columns)),
            other => Err(problem(&self.name, format!("it has the shape {other:?}, not two sizes"))),
        }
    }

    pub fn expect_shape(&self, expected: &[usize]) -> Result<(), ModelError> {
        if self.shape() == expected {
            return Ok(());
        }
        let found = self.shape();
        Err(problem(
            &self.name,
            format!("it has the shape {found:?} where {expected:?} is expected"),
        ))
    }

    fn expect_dtype(&self, expected: &[Dtype]) -> Result<(), ModelError> {
        if expected.contains(&self.dtype()) {
            return Ok(());
        }
        let names: Vec<String> = expected.iter().map(Dtype::to_string).collect();
        let (found, names) = (self.dtype(), names.join(" or "));
        Err(problem(&self.name, format!("it is stored as {found} where {names} is expected")))
    }

    /// Refuses another type than packed 32-bit words.
    pub fn expect_words(&self) -> Result<(), ModelError> {
        self.expect_dtype(&WORDS)
    }

    pub fn expect_bytes(&self) -> Result<(), ModelError> {
        self.expect_dtype(&[Dtype::U8])
    }

    /// Refuses another type than F16, BF16 or F32.
    pub fn expect_floats(&self) -> Result<(), ModelError> {
        self.expect_dtype(&FLOATS)
    }

    /// Refuses another type than whole numbers.
    pub fn expect_whole(&self) -> Result<(), ModelError> {
        self.expect_dtype(&[Dtype::I32, Dtype::I16, Dtype::I64])
    }

    pub fn bytes<'a>(&self, shards: &'a [Shard]) -> &'a [u8] {
        self.entry.bytes(shards)
    }

    pub fn words<'a>(&self, shards: &'a [Shard]) -> Words<'a> {
        Words(self.bytes(shards).as_chunks().0)
    }

    pub fn floats(&self, shards: &[Shard]) -> Result<Vec<f32>, ModelError> {
        numbers(&self.name, &self.entry, shards)
    }

    /// Whole numbers as they are; those of 16 bits are taken without a sign, for ExLlamaV2 keeps offsets in them.
    pub fn whole(&self, shards: &[Shard]) -> Vec<i64> {
        let bytes = self.bytes(shards);
        match self.dtype() {
            Dtype::I16 => {
                bytes.as_chunks().0.iter().map(|b| i64::from(u16::from_le_bytes(*b))).collect()
            }
            Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect(),
        }
    }
}

/// Little-endian 32-bit words, wherever they lie.
#[derive(Clone, Copy)]
pub struct Words<'a>(&'a [[u8; 4]]);

impl Words<'_> {
    pub fn at(self, i: usize) -> u32 {
        u32::from_le_bytes(self.0[i])
    }
}

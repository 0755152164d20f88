//! The header of a GGUF file: metadata, and where each tensor lies.

use std::collections::BTreeMap;

use super::blocks::BlockType;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i64),
    Real(f64),
    Bool(bool),
    Text(String),
    /// `count` values of `kind`, the first at byte `at` of the file: a vocabulary is read only by who needs it.
    Array {
        kind: u32,
        count: u64,
        at: usize,
    },
}

impl Value {
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A whole number counts as a real one.
    pub fn real(&self) -> Option<f64> {
        match self {
            Value::Integer(number) => Some(*number as f64),
            Value::Real(number) => Some(*number),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Outermost first, as safetensors has them (the file has them the other way round).
    pub shape: Vec<u64>,
    /// ggml's number of the block type.
    pub kind: u32,
    /// From the start of its file.
    pub start: u64,
    /// Which file of a split model.
    pub part: usize,
}

impl TensorInfo {
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// `None` for a type that cannot be decoded, or rows that are no whole number of blocks.
    pub fn bytes(&self) -> Option<u64> {
        let kind = BlockType::from_id(self.kind)?;
        let whole = self.shape.last()?.is_multiple_of(kind.elements() as u64);
        whole.then(|| self.elements() / kind.elements() as u64 * kind.bytes() as u64)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' data begin.
    pub data: u64,
}

/// Dimensions a tensor has at most (ggml's limit).
const MAX_DIMENSIONS: u32 = 4;

const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Reads little-endian values and never beyond the end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Version 1 counts in 32 bits.
    wide: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("its header is cut off")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn count(&mut self) -> Result<u64, String> {
        if self.wide { self.u64() } else { Ok(u64::from(self.u32()?)) }
    }

    fn text(&mut self) -> Result<String, String> {
        let length = usize::try_from(self.count()?).map_err(|_| "a text is too long")?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    pub fn value(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Integer(i64::from(self.array::<1>()?[0])),
            1 => Value::Integer(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Integer(i64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Integer(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Integer(i64::from(self.u32()?)),
            5 => Value::Integer(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Real(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            TEXT => Value::Text(self.text()?),
            ARRAY => {
                let (kind, count) = (self.u32()?, self.count()?);
                let at = self.at;
                self.skip(kind, count)?;
                Value::Array { kind, count, at }
            }
            10 => Value::Integer(i64::try_from(self.u64()?).unwrap_or(i64::MAX)),
            11 => Value::Integer(i64::from_le_bytes(self.array()?)),
            12 => Value::Real(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("its metadata hold a value of the unknown type {other}")),
        })
    }

    /// Goes past `count` values of an array.
    fn skip(&mut self, kind: u32, count: u64) -> Result<(), String> {
        let width: u64 = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            TEXT => {
                for _ in 0..count {
                    self.text()?;
                }
                return Ok(());
            }
            ARRAY => return Err("its metadata nest arrays".to_owned()),
            other => return Err(format!("its metadata hold an array of the unknown type {other}")),
        };
        let bytes = count.checked_mul(width).and_then(|bytes| usize::try_from(bytes).ok());
        self.take(bytes.ok_or("its header is cut off")?).map(|_| ())
    }

    /// One tensor's entry; `start` still counts from the data.
    fn tensor(&mut self) -> Result<TensorInfo, String> {
        let dimensions = self.u32()?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(format!("a tensor has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        let mut elements = 1u64;
        for _ in 0..dimensions {
            let size = self.count()?;
            elements = elements.checked_mul(size).ok_or("a tensor is too large")?;
            shape.insert(0, size);
        }
        Ok(TensorInfo { shape, kind: self.u32()?, start: self.u64()?, part: 0 })
    }
}

impl Header {
    /// Reads the header; `Err` says what is wrong with the file.
    pub fn parse(bytes: &[u8]) -> Result<Header, String> {
        let mut reader = Reader { bytes, at: 0, wide: true };
        if reader.take(4)? != b"GGUF" {
            return Err("it does not begin with GGUF".to_owned());
        }
        let version = reader.u32()?;
        if !(1..=3).contains(&version) {
            return Err(format!(
                "its version is {version} (big-endian files and versions above 3 cannot be read)"
            ));
        }
        reader.wide = version > 1;
        let tensors = reader.count()?;
        let values = reader.count()?;
        let mut header = Header::default();
        for _ in 0..values {
            let key = reader.text()?;
            let kind = reader.u32()?;
            header.metadata.insert(key, reader.value(kind)?);
        }
        for _ in 0..tensors {
            let name = reader.text()?;
            if let Some(_twice) = header.tensors.insert(name.clone(), reader.tensor()?) {
                return Err(format!("it holds {name} twice"));
            }
        }
        let alignment = match header.metadata.get("general.alignment") {
            Some(Value::Integer(alignment)) if *alignment > 0 => *alignment as u64,
            _ => 32,
        };
        header.data = (reader.at as u64).next_multiple_of(alignment);
        for tensor in header.tensors.values_mut() {
            let start = tensor.start.checked_add(header.data);
            tensor.start = start.ok_or("a tensor's offset is too large")?;
        }
        Ok(header)
    }

    /// The values of an array; empty where the key holds none. `bytes` are those the header was parsed from.
    pub fn array(&self, bytes: &[u8], key: &str) -> Result<Vec<Value>, String> {
        let Some(&Value::Array { kind, count, at }) = self.metadata.get(key) else {
            return Ok(Vec::new());
        };
        // Arrays of version 1 hold texts with 32-bit lengths.
        let wide = bytes.get(4) != Some(&1);
        let mut reader = Reader { bytes, at, wide };
        (0..count).map(|_| reader.value(kind)).collect()
    }
}

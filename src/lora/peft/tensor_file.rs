//! Named f32 tensors in safetensors files, written as a stream: an adapter and its optimiser state never
//! exist twice in memory.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// A tensor to be written: name, shape, values in row-major order.
pub struct NamedTensor<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: &'a [f32],
}

/// A tensor read: shape and values, whatever float type the file used.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    #[error("cannot read {path}: {source}. Check that the file exists and may be read.")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} is a git-LFS pointer, not the tensors themselves. Run `git lfs pull` in the folder it came from."
    )]
    LfsPointer { path: PathBuf },
    #[error(
        "{path} is not a whole safetensors file ({reason}): it was cut short or changed. Fetch or make it again."
    )]
    Format { path: PathBuf, reason: String },
    #[error(
        "{path}: tensor `{name}` has type {dtype:?}; only F32, F16 and BF16 are read. Save the adapter in one of them."
    )]
    Dtype { path: PathBuf, name: String, dtype: Dtype },
}

/// Writes a safetensors file with `tensors` in the given order.
///
/// Values are little-endian f32; the header is padded so that the data starts at a multiple of 8 bytes.
pub fn write(out: &mut impl Write, tensors: &[NamedTensor<'_>]) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
    let mut offset = 0usize;
    for tensor in tensors {
        let end = offset + size_of_val(tensor.values);
        if tensor.shape.iter().product::<usize>() != tensor.values.len() {
            return Err(io::Error::other(format!(
                "tensor `{}` has shape {:?} but {} values",
                tensor.name,
                tensor.shape,
                tensor.values.len()
            )));
        }
        header.insert(
            tensor.name.clone(),
            serde_json::json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for tensor in tensors {
        write_values(out, tensor.values)?;
    }
    Ok(())
}

fn write_values(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// Reads every tensor of a file, widened to f32.
pub fn read(path: &Path) -> Result<BTreeMap<String, LoadedTensor>, TensorFileError> {
    let bytes = std::fs::read(path)
        .map_err(|source| TensorFileError::Read { path: path.into(), source })?;
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(TensorFileError::LfsPointer { path: path.into() });
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|error| TensorFileError::Format {
        path: path.into(),
        reason: error.to_string(),
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let values = widen(view.dtype(), view.data()).ok_or_else(|| TensorFileError::Dtype {
            path: path.into(),
            name: name.into(),
            dtype: view.dtype(),
        })?;
        tensors.insert(name.to_string(), LoadedTensor { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// Little-endian floats of `dtype` as f32; `None` for a type that is not a float of at most 32 bits.
fn widen(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let (pairs, _) = data.as_chunks::<2>();
    let (quads, _) = data.as_chunks::<4>();
    Some(match dtype {
        Dtype::F32 => quads.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => pairs.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => pairs.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

//! Adapters in PEFT's format: `adapter_config.json` beside `adapter_model.safetensors`, with tensors named
//! `base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight`.
//!
//! Reading is strict: whatever PEFT can express and this program does not compute (DoRA, rank patterns,
//! trained biases, ..) is refused by name, because an adapter applied in part is a wrong model.

mod adapter_config;
mod portable;
mod stacked;
pub mod tensor_file;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{LoraAdapter, Site};
use crate::model::config::ModelConfig;
use tensor_file::{LoadedTensor, NamedTensor, TensorFileError};

pub use adapter_config::config_json;
use adapter_config::read_config;
pub use portable::portable;

pub const CONFIG_FILE: &str = "adapter_config.json";
pub const TENSOR_FILE: &str = "adapter_model.safetensors";

/// How many names an error lists before it says "and N more".
const LISTED_NAMES: usize = 6;

#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    #[error("cannot {action} {path}: {source}.")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{path} has no {CONFIG_FILE}, so it is not a PEFT adapter. Choose the folder that holds {CONFIG_FILE} and {TENSOR_FILE}."
    )]
    NotAnAdapter { path: PathBuf },
    #[error(
        "{path} holds adapter_model.bin, a pickle file, which this program does not open. Save the adapter as safetensors (`model.save_pretrained(.., safe_serialization=True)`)."
    )]
    Pickle { path: PathBuf },
    #[error("{path} is not valid JSON: {source}. Fetch or export the adapter again.")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path}: `{field}` {problem}. Correct the file or export the adapter again.")]
    Field { path: PathBuf, field: &'static str, problem: String },
    #[error(
        "{path}: `{field}` is {value}, which this program does not compute. Train or export the adapter without it."
    )]
    Unsupported { path: PathBuf, field: &'static str, value: String },
    #[error(
        "{path}: `target_modules` names {module}, which cannot carry an adapter in this model. Its adapters sit on {known}: the adapter was made for another model; check the base model."
    )]
    UnknownModule { path: PathBuf, module: String, known: String },
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    #[error(
        "{path}: these tensors are missing: {names}. The adapter was made for another model or was cut short; check the base model."
    )]
    Missing { path: PathBuf, names: String },
    #[error(
        "{path}: these tensors belong to no adapted layer of this model: {names}. The adapter was made for another model; check the base model."
    )]
    Unused { path: PathBuf, names: String },
    #[error(
        "{path}: tensor `{name}` has shape {found:?}, but this model and r need {expected:?}. The adapter was made for another model; check the base model."
    )]
    Shape { path: PathBuf, name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error(
        "{path}: tensor `{name}` holds a value that is not finite. The adapter is broken; use an earlier one."
    )]
    NotFinite { path: PathBuf, name: String },
}

/// The two tensors of a site: name, shape and range in the flat buffer.
fn site_tensors(site: &Site, rank: usize) -> [(String, Vec<usize>, std::ops::Range<usize>); 2] {
    let path = format!("base_model.model.{}", site.module);
    let middle = site.offset + rank * site.input;
    [
        (format!("{path}.lora_A.weight"), vec![rank, site.input], site.offset..middle),
        (
            format!("{path}.lora_B.weight"),
            vec![site.output, rank],
            middle..middle + site.output * rank,
        ),
    ]
}

/// Named views of a flat buffer laid out like `adapter.values` (the adapter itself, AdamW's moments);
/// `suffix` is appended to each name.
pub fn named_tensors<'a>(
    adapter: &LoraAdapter,
    values: &'a [f32],
    suffix: &str,
) -> io::Result<Vec<NamedTensor<'a>>> {
    let mut tensors = Vec::with_capacity(2 * adapter.sites.len());
    for site in &adapter.sites {
        for (name, shape, range) in site_tensors(site, adapter.config.rank) {
            let values = values.get(range).ok_or_else(|| {
                io::Error::other(format!("the buffer ends before tensor `{name}`"))
            })?;
            tensors.push(NamedTensor { name: name + suffix, shape, values });
        }
    }
    Ok(tensors)
}

/// The inverse of [`named_tensors`]: takes this adapter's tensors out of `tensors` into one flat buffer.
pub fn take_named(
    path: &Path,
    sites: &[Site],
    rank: usize,
    suffix: &str,
    tensors: &mut BTreeMap<String, LoadedTensor>,
) -> Result<Vec<f32>, PeftError> {
    let wanted: Vec<_> = sites.iter().flat_map(|site| site_tensors(site, rank)).collect();
    let missing: Vec<String> = wanted
        .iter()
        .map(|(name, ..)| format!("{name}{suffix}"))
        .filter(|name| !tensors.contains_key(name))
        .collect();
    if !missing.is_empty() {
        return Err(PeftError::Missing { path: path.into(), names: list(missing) });
    }
    let mut flat = vec![0.0; wanted.last().map_or(0, |(.., range)| range.end)];
    for (name, expected, range) in wanted {
        let name = name + suffix;
        let Some(tensor) = tensors.remove(&name) else {
            return Err(PeftError::Missing { path: path.into(), names: name });
        };
        if tensor.shape != expected {
            return Err(PeftError::Shape {
                path: path.into(),
                name,
                found: tensor.shape,
                expected,
            });
        }
        flat[range].copy_from_slice(&tensor.values);
    }
    Ok(flat)
}

/// Complains about tensors that [`take_named`] left over.
pub fn refuse_unused(
    path: &Path,
    tensors: BTreeMap<String, LoadedTensor>,
) -> Result<(), PeftError> {
    if tensors.is_empty() {
        return Ok(());
    }
    Err(PeftError::Unused { path: path.into(), names: list(tensors.into_keys().collect()) })
}

fn list(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(LISTED_NAMES);
    let mut text = names.into_iter().take(LISTED_NAMES).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// Writes the content of `adapter_model.safetensors`.
pub fn write_tensors(out: &mut impl Write, adapter: &LoraAdapter) -> io::Result<()> {
    tensor_file::write(out, &named_tensors(adapter, &adapter.values, "")?)
}

/// Writes both files into `dir`, which is made if it is missing. `crate::run` wraps the same writers in
/// durable, atomic folders; this is the plain form.
pub fn save(dir: &Path, adapter: &LoraAdapter, base_model: &Path) -> Result<(), PeftError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PeftError::Io { action: "write", path, source }
    };
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    let path = dir.join(CONFIG_FILE);
    std::fs::write(&path, config_json(adapter, base_model)).map_err(io(&path))?;
    let path = dir.join(TENSOR_FILE);
    let mut out = io::BufWriter::new(std::fs::File::create(&path).map_err(io(&path))?);
    write_tensors(&mut out, adapter).and_then(|()| out.flush()).map_err(io(&path))
}

/// Reads an adapter for `model`. Its sites are those of [`LoraAdapter::zeros`].
pub fn load(dir: &Path, model: &ModelConfig) -> Result<LoraAdapter, PeftError> {
    let (config, stacked) = read_config(dir, model)?;
    let path = dir.join(TENSOR_FILE);
    if !path.exists() && dir.join("adapter_model.bin").exists() {
        return Err(PeftError::Pickle { path: dir.into() });
    }
    let mut tensors = tensor_file::read(&path)?;
    for (name, tensor) in &tensors {
        if tensor.values.iter().any(|value| !value.is_finite()) {
            return Err(PeftError::NotFinite { path, name: name.clone() });
        }
    }
    if let Some(stacked) = stacked {
        stacked.take_apart(&path, model, &config, &mut tensors)?;
    }
    let mut adapter = LoraAdapter::zeros(config, model);
    adapter.values = take_named(&path, &adapter.sites, adapter.config.rank, "", &mut tensors)?;
    refuse_unused(&path, tensors)?;
    Ok(adapter)
}

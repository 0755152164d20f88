//! Adapters in PEFT's format: `adapter_config.json` beside `adapter_model.safetensors`, with tensors named
//! `base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight`.
//!
//! Reading is strict: whatever PEFT can express and this program does not compute (DoRA, rank patterns,
//! trained biases, ..) is refused by name, because an adapter applied in part is a wrong model.

pub mod tensor_file;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{LoraAdapter, LoraConfig, Site};
use crate::config::Target;
use crate::model::config::ModelConfig;
use crate::model::place::{LinearSpec, own_name};
use tensor_file::{LoadedTensor, NamedTensor, TensorFileError};

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

/// What PEFT finds the adapted layers by: the last part of their names, each once. A layer that the model fuses
/// (`qkv_proj`) is one module with one A.
fn target_modules(sites: &[Site]) -> Vec<&str> {
    let mut names = Vec::new();
    for site in sites {
        let name = own_name(&site.module);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The text of `adapter_config.json`. Only fields that every PEFT since 0.5 knows: older versions reject
/// unknown ones.
pub fn config_json(adapter: &LoraAdapter, base_model: &Path) -> Vec<u8> {
    let config = &adapter.config;
    // PEFT declares lora_alpha as an integer; a whole number is written as one.
    let alpha = if config.alpha.fract() == 0.0 && config.alpha.abs() < 1e15 {
        json!(config.alpha as i64)
    } else {
        json!(config.alpha)
    };
    let value = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base_model.to_string_lossy(),
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": target_modules(&adapter.sites),
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.rslora,
    });
    format!("{value:#}\n").into_bytes()
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
    let config = read_config(dir, model)?;
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
    let mut adapter = LoraAdapter::zeros(config, model);
    adapter.values = take_named(&path, &adapter.sites, adapter.config.rank, "", &mut tensors)?;
    refuse_unused(&path, tensors)?;
    Ok(adapter)
}

/// Reads `adapter_config.json` of an adapter for `model`.
fn read_config(dir: &Path, model: &ModelConfig) -> Result<LoraConfig, PeftError> {
    let path = dir.join(CONFIG_FILE);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PeftError::NotAnAdapter { path: dir.into() },
        _ => PeftError::Io { action: "read", path: path.clone(), source },
    })?;
    let fields: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|source| PeftError::Json { path: path.clone(), source })?;
    let reader = ConfigReader { path, fields };
    reader.refuse_unsupported()?;
    reader.config(model)
}

struct ConfigReader {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ConfigReader {
    /// Features that change the computation, with the test of being switched off.
    fn refuse_unsupported(&self) -> Result<(), PeftError> {
        const MUST_BE_EMPTY: [&str; 17] = [
            "rank_pattern",
            "alpha_pattern",
            "use_dora",
            "use_qalora",
            "use_bdlora",
            "lora_bias",
            "fan_in_fan_out",
            "modules_to_save",
            "layers_to_transform",
            "layer_replication",
            "exclude_modules",
            "target_parameters",
            "trainable_token_indices",
            "alora_invocation_tokens",
            "arrow_config",
            "kasa_config",
            "velora_config",
        ];
        for field in MUST_BE_EMPTY {
            let empty = match self.fields.get(field) {
                None | Some(Value::Null | Value::Bool(false)) => true,
                Some(Value::Object(map)) => map.is_empty(),
                Some(Value::Array(items)) => items.is_empty(),
                Some(_) => false,
            };
            if !empty {
                return Err(self.unsupported(field));
            }
        }
        match self.fields.get("bias") {
            None | Some(Value::Null) => {}
            Some(Value::String(bias)) if bias == "none" => {}
            Some(_) => return Err(self.unsupported("bias")),
        }
        // PiSSA, OLoRA, CorDA and LoftQ change the base weights when the adapter is made, so the adapter
        // alone does not say what the model computes.
        match self.fields.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => Ok(()),
            Some(Value::String(init))
                if matches!(init.as_str(), "gaussian" | "eva" | "orthogonal") =>
            {
                Ok(())
            }
            Some(_) => Err(self.unsupported("init_lora_weights")),
        }
    }

    fn unsupported(&self, field: &'static str) -> PeftError {
        let value = self.fields.get(field).unwrap_or(&Value::Null).to_string();
        PeftError::Unsupported { path: self.path.clone(), field, value }
    }

    fn problem(&self, field: &'static str, problem: impl Into<String>) -> PeftError {
        PeftError::Field { path: self.path.clone(), field, problem: problem.into() }
    }

    fn config(&self, model: &ModelConfig) -> Result<LoraConfig, PeftError> {
        match self.fields.get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            Some(_) => return Err(self.unsupported("peft_type")),
            None => return Err(self.problem("peft_type", "is missing")),
        }
        let rank = match self.fields.get("r").map(|r| (r, r.as_u64())) {
            Some((_, Some(rank))) if (1..=65_536).contains(&rank) => rank as usize,
            Some((other, _)) => {
                return Err(self.problem("r", format!("is {other}, not a positive integer")));
            }
            None => return Err(self.problem("r", "is missing")),
        };
        let alpha = match self.fields.get("lora_alpha").map(|alpha| (alpha, alpha.as_f64())) {
            Some((_, Some(alpha))) => alpha,
            Some((other, None)) => {
                return Err(self.problem("lora_alpha", format!("is {other}, not a number")));
            }
            None => return Err(self.problem("lora_alpha", "is missing")),
        };
        let dropout =
            match self.fields.get("lora_dropout").map(|dropout| (dropout, dropout.as_f64())) {
                None => 0.0,
                Some((_, Some(dropout))) if (0.0..1.0).contains(&dropout) => dropout,
                Some((other, _)) => {
                    return Err(
                        self.problem("lora_dropout", format!("is {other}, not a number in 0..1"))
                    );
                }
            };
        let rslora = match self.fields.get("use_rslora") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(rslora)) => *rslora,
            Some(other) => {
                return Err(self.problem("use_rslora", format!("is {other}, not true or false")));
            }
        };
        Ok(LoraConfig { rank, alpha, targets: self.targets(model)?, dropout, rslora })
    }

    fn targets(&self, model: &ModelConfig) -> Result<Vec<Target>, PeftError> {
        let names: Vec<&str> = match self.fields.get("target_modules") {
            Some(Value::String(name)) if name == "all-linear" => return Ok(Target::ALL.to_vec()),
            Some(Value::Array(items)) if !items.is_empty() => {
                items.iter().map(|item| item.as_str().unwrap_or_default()).collect()
            }
            Some(other) => {
                return Err(
                    self.problem("target_modules", format!("is {other}, not a list of modules"))
                );
            }
            None => return Err(self.problem("target_modules", "is missing")),
        };
        let modules: Vec<LinearSpec> =
            (0..model.num_layers).flat_map(|layer| model.linears(layer)).collect();
        let mut targets = BTreeSet::new();
        for name in names {
            let named = |linear: &&LinearSpec| {
                let mut parts = linear.module.rsplitn(3, '.');
                let (own, parent) = (parts.next(), parts.next());
                own == Some(name)
                    || own
                        .zip(parent)
                        .is_some_and(|(own, parent)| name == format!("{parent}.{own}"))
            };
            let Some(linear) = modules.iter().find(named) else {
                let mut known: Vec<&str> = modules.iter().map(LinearSpec::own_name).collect();
                known.sort_unstable();
                known.dedup();
                return Err(PeftError::UnknownModule {
                    path: self.path.clone(),
                    module: format!("`{name}`"),
                    known: known.join(", "),
                });
            };
            targets.extend(model.together(linear.place.target));
        }
        // `Target` is declared in the order of `Target::ALL`.
        Ok(targets.into_iter().collect())
    }
}

//! `adapter_config.json`, written so that every PEFT reads it, and read strictly.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::stacked::Stacked;
use super::{CONFIG_FILE, PeftError};
use crate::config::Target;
use crate::lora::{LoraAdapter, LoraConfig};
use crate::model::config::ModelConfig;
use crate::model::place::{STACKS, own_name};

/// The field that names parameters instead of modules.
const PARAMETERS: &str = "target_parameters";

/// What PEFT finds adapted layers by: the last part of their names, each once. A layer that the model fuses
/// (`qkv_proj`) is one module with one A.
fn own_names<'a>(modules: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in modules.map(|module| own_name(module)) {
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
    let targets = own_names(adapter.sites.iter().map(|site| &site.module));
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
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": config.rslora,
    });
    format!("{value:#}\n").into_bytes()
}

/// Reads `adapter_config.json` of an adapter for `model`, and how its experts' part is stacked, if it is.
pub fn read_config(
    dir: &Path,
    model: &ModelConfig,
) -> Result<(LoraConfig, Option<Stacked>), PeftError> {
    let path = dir.join(CONFIG_FILE);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PeftError::NotAnAdapter { path: dir.into() },
        _ => PeftError::Io { action: "read", path: path.clone(), source },
    })?;
    let fields: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|source| PeftError::Json { path: path.clone(), source })?;
    let reader = ConfigReader { path, fields };
    reader.refuse_unsupported()?;
    Ok((reader.config(model)?, reader.stacked()))
}

struct ConfigReader {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ConfigReader {
    /// Features that change the computation, with the test of being switched off.
    fn refuse_unsupported(&self) -> Result<(), PeftError> {
        const MUST_BE_EMPTY: [&str; 16] = [
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

    fn list(&self, field: &str) -> Vec<&str> {
        let items = self.fields.get(field).and_then(Value::as_array).map(Vec::as_slice);
        items.unwrap_or_default().iter().map(|item| item.as_str().unwrap_or_default()).collect()
    }

    fn stacked(&self) -> Option<Stacked> {
        if self.list(PARAMETERS).is_empty() {
            return None;
        }
        let version = self.fields.get("peft_version").and_then(Value::as_str).unwrap_or_default();
        let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
        Some(Stacked { swapped: numbers < vec![0, 19, 1] })
    }

    /// Experts' layers that the adapter names by the tensors in which transformers 5 holds them.
    fn stacked_targets(&self, model: &ModelConfig) -> Result<BTreeSet<Target>, PeftError> {
        let mut targets = BTreeSet::new();
        for name in self.list(PARAMETERS) {
            let named = |(stack, _): &&(&str, _)| {
                let whole = format!("model.mlp.{stack}");
                whole.ends_with(&format!(".{name}"))
            };
            match STACKS.iter().find(named) {
                Some((_, own)) if model.experts.is_some() => targets.extend(own.iter().copied()),
                _ => return Err(self.unsupported(PARAMETERS)),
            }
        }
        Ok(targets)
    }

    fn targets(&self, model: &ModelConfig) -> Result<Vec<Target>, PeftError> {
        let mut targets = self.stacked_targets(model)?;
        let names: Vec<&str> = match self.fields.get("target_modules") {
            None | Some(Value::Null) if !targets.is_empty() => Vec::new(),
            Some(Value::Array(items)) if !targets.is_empty() && items.is_empty() => Vec::new(),
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
        let linears: Vec<_> =
            (0..model.num_layers).flat_map(|layer| model.linears(layer)).collect();
        for name in names {
            // PEFT's rule: the whole name, or its end from a dot on. Layers that a name leaves out are found missing
            // when the tensors are read.
            let end = format!(".{name}");
            let mut own = linears.iter().filter(|linear| linear.module.ends_with(&end)).peekable();
            if own.peek().is_none() {
                let mut known = own_names(linears.iter().map(|linear| &linear.module));
                known.sort_unstable();
                return Err(PeftError::UnknownModule {
                    path: self.path.clone(),
                    module: format!("`{name}`"),
                    known: known.join(", "),
                });
            }
            targets.extend(own.flat_map(|linear| model.together(linear.place.target)));
        }
        // `Target` is declared in the order of `Target::ALL`.
        Ok(targets.into_iter().collect())
    }
}

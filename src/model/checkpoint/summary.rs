//! What a model folder holds, for the Model card of the window.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::Checkpoint;
use super::files::read_text;
use crate::gguf::{self, Gguf};
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;

/// A model in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelSummary {
    /// `Llama`, `Mistral`, `Qwen2` or `Qwen3`.
    pub architecture: String,
    /// Weights; a tied head counts once.
    pub parameters: u64,
    pub layers: usize,
    pub hidden: usize,
    pub vocab: usize,
    /// The longest sequence the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Of most weights on disk: `F32`, `BF16`, `GGUF Q4_K`, `GPTQ 4-bit`, ..
    pub dtype: String,
    /// Of all weights on disk.
    pub bytes: u64,
    pub has_chat_template: bool,
}

impl ModelSummary {
    /// Reads config.json and the headers of the weight files, so it is quick and finds everything that
    /// [`Checkpoint::open`] finds.
    pub fn read(dir: &Path) -> Result<ModelSummary, ModelError> {
        let config = ModelConfig::read(dir)?;
        let checkpoint = Checkpoint::open(dir, &config)?;
        Ok(ModelSummary {
            architecture: config.architecture.name().to_owned(),
            parameters: checkpoint.parameters(),
            layers: config.num_layers,
            hidden: config.hidden_size,
            vocab: config.vocab_size,
            max_position_embeddings: config.max_position_embeddings,
            dtype: checkpoint.dtype(),
            bytes: checkpoint.bytes(),
            has_chat_template: has_chat_template(dir)? || carries_chat_template(dir)?,
        })
    }
}

/// In a file of its own (transformers 5) or in tokenizer_config.json (transformers 4).
fn has_chat_template(model: &Path) -> Result<bool, ModelError> {
    let dir = gguf::folder_of(model);
    if dir.join("chat_template.jinja").exists() || dir.join("chat_template.json").exists() {
        return Ok(true);
    }
    let path = dir.join("tokenizer_config.json");
    if !path.exists() {
        return Ok(false);
    }
    let config: Value = serde_json::from_str(&read_text(&path)?)
        .map_err(|source| ModelError::Json { path, source })?;
    Ok(config.get("chat_template").is_some_and(|template| !template.is_null()))
}

/// Within a GGUF file, which counts where no tokenizer.json lies beside it.
fn carries_chat_template(model: &Path) -> Result<bool, ModelError> {
    let Some(paths) = gguf::locate(model)? else { return Ok(false) };
    if gguf::folder_of(model).join("tokenizer.json").exists() {
        return Ok(false);
    }
    Ok(Gguf::open(&paths)?.value("tokenizer.chat_template").is_some())
}

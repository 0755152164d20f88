//! A model that writes: the base model, with an adapter, or beside the arms of a run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::device::{self, Choice};
use super::memory_limit::memory_limit;
use super::plan::bytes_text;
use super::session::SessionError;
use crate::config::{BasePrecision, WeightPlace, defaults};
use crate::data::pair::{Message, Text};
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::lora::{LoraAdapter, peft};
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;
use crate::model::generate::{Finish, check_prompt};
use crate::model::memory::{PassSize, WeightBytes, largest_activation};
use crate::model::{Model, Updates, quant_format};
use crate::run::checkpoint;
use crate::run::folder::{self, RunFolder};
use crate::train::event::REFERENCE;

/// Whose texts are wanted.
#[derive(Clone, Debug)]
pub enum Source {
    /// The model, or the model with the adapter.
    Model { folder: PathBuf, adapter: Option<PathBuf> },
    /// The run's base model and, from its newest whole checkpoint, every arm.
    Run(PathBuf),
}

/// Where and how the weights lie.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: the run's, else the best.
    pub device: Option<String>,
    /// `None`: as the run has it, else f32.
    pub base_precision: Option<BasePrecision>,
    pub weights: WeightPlace,
}

/// All that was written to one prompt: what `dpop-studio generate --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Texts {
    pub prompt_tokens: usize,
    /// Updates made, where the arms are a run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    pub texts: Vec<Written>,
}

/// One text, with what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    pub arm: String,
    pub text: String,
    pub ids: Vec<u32>,
    pub finish: Finish,
    /// Of the prompt's pass.
    pub prompt_seconds: f64,
    /// Of all tokens after the first.
    pub seconds: f64,
    pub tokens_per_second: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error(
        "{} has no chat template. Leave out --chat, or add chat_template.jinja to the folder.", .0.display()
    )]
    NoChat(PathBuf),
    #[error("{} has no checkpoint yet. Wait for its first one, or choose another run.", .0.display())]
    NoCheckpoint(PathBuf),
    #[error(
        "{tokens} tokens need a tensor of {largest}, and a shader of {device} sees {sees} at a time. Shorten the prompt, \
         lower --max-new-tokens, or choose --device cpu."
    )]
    Binding { tokens: usize, largest: String, device: String, sees: String },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// One voice: its name, and its adapter on the device (`None`: the base model).
pub struct Arm {
    pub name: String,
    pub updates: Option<Updates>,
}

/// A loaded model with all its voices.
pub struct Writer {
    pub model: Model,
    pub tokenizer: Tokenizer,
    pub arms: Vec<Arm>,
    /// Updates made, where the arms are a run's.
    pub step: Option<usize>,
    folder: PathBuf,
    choice: Choice,
}

/// Adapters by name, and the updates made.
type Adapters = (Vec<(String, Option<LoraAdapter>)>, Option<usize>);

impl Writer {
    /// Reads and loads everything.
    pub fn open(source: &Source, options: &Options) -> Result<Writer, SessionError> {
        let run = match source {
            Source::Run(run) => Some(RunFolder::open(run).map_err(SessionError::input)?),
            Source::Model { .. } => None,
        };
        let folder = match (&run, source) {
            (Some(run), _) => run.record.config.model.clone(),
            (None, Source::Model { folder, .. } | Source::Run(folder)) => folder.clone(),
        };
        let config = ModelConfig::read(&folder).map_err(SessionError::input)?;
        let tokenizer = Tokenizer::open(&folder).map_err(SessionError::input)?;
        let (adapters, step) = match source {
            Source::Model { adapter, .. } => of_model(adapter.as_deref(), &config)?,
            Source::Run(run) => of_run(run, &config)?,
        };
        let of_run = run.as_ref().map(|run| &run.record.config);
        let spec = options.device.as_deref().or(of_run.map(|run| run.device.as_str()));
        let choice = device::choose(spec.unwrap_or(defaults::DEVICE));
        let choice = choice.map_err(SessionError::input)?;
        let of_run = of_run.map(|run| run.base_precision);
        let precision = options.base_precision.or(of_run).unwrap_or_default();
        let device = choice.open().map_err(SessionError::failure)?;
        let mut load = choice.load_options(precision);
        if streamed(options.weights, &config, precision, &choice) {
            load.stream = Some(folder::scratch_root().map_err(SessionError::failure)?);
        }
        let model = Model::load(&folder, &device, load).map_err(SessionError::input)?;
        let arm = |(name, adapter): (String, Option<LoraAdapter>)| {
            let updates = adapter.map(|own| own.upload(model.config.num_layers, &device, None));
            Arm { name, updates }
        };
        let arms = adapters.into_iter().map(arm).collect();
        Ok(Writer { model, tokenizer, arms, step, folder, choice })
    }

    /// Whether a prompt goes through the chat template: as asked, else where the model has one.
    pub fn chat(&self, asked: Option<bool>) -> Result<bool, WriterError> {
        match (asked, self.tokenizer.chat_template()) {
            (Some(true), None) => Err(WriterError::NoChat(self.folder.clone())),
            (asked, template) => Ok(asked.unwrap_or(template.is_some())),
        }
    }

    /// The ids of a prompt that leaves room for an answer.
    pub fn prompt(
        &self,
        text: &str,
        chat: bool,
        max_new_tokens: usize,
    ) -> Result<Vec<u32>, WriterError> {
        let text = if chat {
            Text::Messages(vec![Message { role: "user".into(), content: text.into() }])
        } else {
            Text::Plain(text.into())
        };
        let ids = self.tokenizer.encode_prompt(&text)?;
        let config = &self.model.config;
        check_prompt(ids.len(), config.max_position_embeddings)?;
        let tokens = (ids.len() + max_new_tokens).min(config.max_position_embeddings);
        let pass = largest_activation(config, PassSize { tokens: ids.len(), entries: 1 });
        let cache = 4 * (tokens * config.num_kv_heads * config.head_dim) as u64;
        let (largest, sees) = (pass.max(cache), self.choice.binding_limit());
        if self.choice.adapter.is_some() && largest > sees {
            return Err(WriterError::Binding {
                tokens,
                largest: bytes_text(largest),
                device: self.choice.label.clone(),
                sees: bytes_text(sees),
            });
        }
        Ok(ids)
    }
}

fn of_model(adapter: Option<&Path>, config: &ModelConfig) -> Result<Adapters, SessionError> {
    let Some(path) = adapter else { return Ok((vec![(REFERENCE.to_owned(), None)], None)) };
    let adapter = peft::load(path, config).map_err(SessionError::input)?;
    Ok((vec![("adapter".to_owned(), Some(adapter))], None))
}

/// The newest checkpoint that can be read; the run may be going on, so nothing in its folder is touched.
fn of_run(run: &Path, config: &ModelConfig) -> Result<Adapters, SessionError> {
    let mut steps = checkpoint::steps(run).map_err(SessionError::failure)?;
    let newest = steps.pop().ok_or_else(|| WriterError::NoCheckpoint(run.to_owned()));
    let mut path = checkpoint::path(run, newest.map_err(SessionError::input)?);
    let state = loop {
        match (checkpoint::load(&path, config), steps.pop()) {
            (Ok(state), _) => break state,
            (Err(_), Some(older)) => path = checkpoint::path(run, older),
            (Err(error), None) => return Err(SessionError::input(error)),
        }
    };
    let arms = state.arms.into_iter().map(|arm| (arm.name, Some(arm.adapter)));
    Ok((std::iter::once((REFERENCE.to_owned(), None)).chain(arms).collect(), Some(state.step)))
}

/// Whether blocks come to the device one by one: as asked, or where the weights do not fit.
fn streamed(
    weights: WeightPlace,
    config: &ModelConfig,
    precision: BasePrecision,
    choice: &Choice,
) -> bool {
    let bytes = WeightBytes::of(config, quant_format(precision));
    let fits = |limit: u64| bytes.tables + bytes.blocks <= limit;
    match weights {
        WeightPlace::Resident => false,
        WeightPlace::Stream => true,
        WeightPlace::Auto => memory_limit(None, choice).is_some_and(|limit| !fits(limit.bytes)),
    }
}

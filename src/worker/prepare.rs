//! Everything a run needs before its first step, read and checked in the order in which a person can be
//! told soonest what is wrong.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::device::{self, AdapterKind, Choice};
use super::pairs::read_pairs;
use super::plan::{self, Plan};
use super::self_test;
use super::session::{Outside, SessionError};
use super::split::split;
use crate::config::{EvalSource, Recompute, RunConfig, Target, WeightPlace};
use crate::data::pair::TokenizedPair;
use crate::data::tokenizer::Tokenizer;
use crate::gguf;
use crate::kernels::pace;
use crate::lora::{LoraAdapter, LoraConfig, peft};
use crate::model::Model;
use crate::model::checkpoint::{ModelSummary, model_hash};
use crate::model::config::ModelConfig;
use crate::run::durable::{self, FileError};
use crate::run::folder::{self, DeviceRecord, Inputs, RunRecord};
use crate::run::probe_records::RecordedPair;
use crate::train::Samples;

/// A run ready to start.
pub struct Prepared {
    pub model: Model,
    pub train: Vec<TokenizedPair>,
    pub probe: Vec<TokenizedPair>,
    /// The probe's pairs as people read them.
    pub probe_texts: Vec<RecordedPair>,
    /// `None` where the data are token ids and the model has none.
    pub tokenizer: Option<Tokenizer>,
    /// Answers during training, where there are any.
    pub samples: Option<Samples>,
    pub init: Option<LoraAdapter>,
    pub inputs: Inputs,
    pub device: DeviceRecord,
    /// Skipped rows and the like, in words.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(
        "{what} {path} is not what this run began with: its SHA-256 was {recorded} and is now {found}. Put the old \
         one back, or start a new run."
    )]
    Changed { what: &'static str, path: PathBuf, recorded: String, found: String },
    #[error(
        "{path} was made with {field} {found}, but this run has {wanted}. Give --{field}={found}."
    )]
    InitAdapter { path: PathBuf, field: &'static str, found: String, wanted: String },
    #[error(
        "{path} holds adapters with {field} {found}, but run.json says {wanted}. Put {found} back there, or start a \
         new run."
    )]
    Edited { path: PathBuf, field: &'static str, found: String, wanted: String },
    #[error("{refusal}")]
    Refused { refusal: String },
    #[error("cannot tell where {path} lies ({source}). Give its full path.")]
    Path { path: PathBuf, source: std::io::Error },
}

/// The configuration with full paths, so that a run can be resumed from any folder.
pub fn absolute(mut config: RunConfig) -> Result<RunConfig, PrepareError> {
    config.model = full(&config.model)?;
    config.data = full(&config.data)?;
    config.init_adapter = config.init_adapter.as_deref().map(full).transpose()?;
    if let EvalSource::File(path) = &mut config.eval {
        *path = full(path)?;
    }
    Ok(config)
}

/// `path` from the root; links stay as they are.
pub fn full(path: &Path) -> Result<PathBuf, PrepareError> {
    std::path::absolute(path).map_err(|source| PrepareError::Path { path: path.into(), source })
}

/// Reads and checks data, model and device. `None`: the run was asked to stop meanwhile.
///
/// With the `record` of a run to be resumed, inputs that changed since are refused.
pub fn prepare(
    config: &RunConfig,
    record: Option<&RunRecord>,
    outside: &Outside,
) -> Result<Option<Prepared>, SessionError> {
    let stopped = || outside.controls.stop_asked();
    // First, because a folder that is no model has no tokenizer either.
    let shape = read_shape(config)?;
    outside.enter("reading the data");
    let mut warnings = Vec::new();
    let Read { train, probe, probe_texts, tokenizer } = read_and_split(config, &mut warnings)?;
    if stopped() {
        return Ok(None);
    }
    outside.enter("checking the model's files");
    let inputs = hash_inputs(config)?;
    if let Some(record) = record {
        refuse_changed(config, &record.inputs, &inputs).map_err(SessionError::input)?;
    }
    outside.enter("choosing the device");
    let choice = device::choose(&config.device).map_err(SessionError::input)?;
    let device = device_record(&choice);
    if let Some(record) = record
        && record.device != device
    {
        warnings.push(format!(
            "this run began on {} and goes on on {}: figures may differ in the last digits",
            record.device.name, device.name
        ));
    }
    if stopped() {
        return Ok(None);
    }
    outside.enter("planning memory");
    warnings.extend(beyond_context(&shape, &train, &probe));
    let plan = plan::plan(config, &shape, &train, &probe, &choice);
    if let Some(refusal) = plan.refusal() {
        return Err(SessionError::input(PrepareError::Refused { refusal }));
    }
    let streamed = plan.weights == WeightPlace::Stream;
    if streamed && config.weights == WeightPlace::Auto {
        warnings.push(format!(
            "the base model does not fit on the device: its blocks are streamed, which takes longer (about {} needed)",
            plan::bytes_text(plan.total)
        ));
    }
    if plan.recompute && config.recompute == Recompute::Auto {
        warnings.push(format!(
            "the activations do not fit on the device: blocks are computed again on the way back, which takes about a \
             third longer (about {} needed)",
            plan::bytes_text(plan.total)
        ));
    }
    let arithmetic = choice.arithmetic(config.compute_precision).map_err(SessionError::input)?;
    let opened = choice.open().map_err(SessionError::failure)?;
    if choice.adapter.is_some() {
        // A GPU with a driver that computes wrong gradients trains a wrong model without a word.
        outside.enter("testing the GPU");
        self_test::run(&opened, &choice.label, arithmetic).map_err(SessionError::failure)?;
        if choice.adapter.as_ref().is_some_and(|adapter| adapter.kind != AdapterKind::Cpu) {
            // Drivers reset a GPU that works on one submission for seconds; a software adapter has nobody to do so.
            outside.enter("measuring the GPU");
            pace::calibrate(&opened);
        }
    }
    if stopped() {
        return Ok(None);
    }
    outside.enter("loading the model");
    let mut options = choice.load_options(config.base_precision);
    options.arithmetic = arithmetic;
    options.recompute = plan.recompute;
    if streamed {
        options.stream = Some(folder::scratch_root().map_err(SessionError::failure)?);
    }
    let model = Model::load(&config.model, &opened, options).map_err(SessionError::input)?;
    let init = match &config.init_adapter {
        Some(path) if record.is_none() => Some(load_init(path, config, &model)?),
        _ => None,
    };
    if stopped() {
        return Ok(None);
    }
    let samples = samples(config, tokenizer.as_ref(), &model);
    if samples.is_some() && streamed {
        warnings.push(
            "no answers are written during this run, because every token of one would bring all blocks to the device \
             once more: `dpop-studio generate --run` writes them when you ask"
                .to_owned(),
        );
    }
    let samples = samples.filter(|_| !streamed);
    Ok(Some(Prepared {
        model,
        train,
        probe,
        probe_texts,
        tokenizer,
        samples,
        init,
        inputs,
        device,
        warnings,
    }))
}

/// The base model's configuration, if the run's adapter can sit on it.
fn read_shape(config: &RunConfig) -> Result<ModelConfig, SessionError> {
    let shape = ModelConfig::read(&config.model).map_err(SessionError::input)?;
    shape.check_targets(&config.targets).map_err(SessionError::input)?;
    Ok(shape)
}

/// Plans a run without starting it: reads the data and config.json, opens no device.
pub fn plan_run(config: &RunConfig) -> Result<Plan, SessionError> {
    let shape = read_shape(config)?;
    let Read { train, probe, .. } = read_and_split(config, &mut Vec::new())?;
    let choice = device::choose(&config.device).map_err(SessionError::input)?;
    Ok(plan::plan(config, &shape, &train, &probe, &choice))
}

/// Of pairs that are longer than what the model was made for.
fn beyond_context(
    model: &ModelConfig,
    train: &[TokenizedPair],
    probe: &[TokenizedPair],
) -> Option<String> {
    let context = model.max_position_embeddings;
    let long = train.iter().chain(probe).filter(|pair| pair.longest() > context).count();
    (long > 0).then(|| {
        let pairs = if long == 1 { "pair is" } else { "pairs are" };
        format!(
            "{long} {pairs} longer than the {context} tokens that the model was made for (max_position_embeddings in its \
             config.json), where its probabilities mean little: --max-length {context} leaves the rest of them out"
        )
    })
}

/// The pairs to train on, and the probe as ids and as text.
struct Read {
    train: Vec<TokenizedPair>,
    probe: Vec<TokenizedPair>,
    probe_texts: Vec<RecordedPair>,
    tokenizer: Option<Tokenizer>,
}

fn read_and_split(config: &RunConfig, warnings: &mut Vec<String>) -> Result<Read, SessionError> {
    let mut read = |path: &Path| {
        let read =
            read_pairs(path, &config.model, config.max_length).map_err(SessionError::input)?;
        warnings.extend(read.warnings);
        Ok::<_, SessionError>((read.pairs, read.tokenizer))
    };
    let (pairs, tokenizer) = read(&config.data)?;
    let eval = match &config.eval {
        EvalSource::File(path) => Some(read(path)?.0),
        EvalSource::Fraction(_) => None,
    };
    let (train, probe) = split(config, pairs, eval).map_err(SessionError::input)?;
    let probe_texts =
        probe.iter().map(|pair| RecordedPair::new(pair, tokenizer.as_ref())).collect();
    Ok(Read { train, probe, probe_texts, tokenizer })
}

fn samples(config: &RunConfig, tokenizer: Option<&Tokenizer>, model: &Model) -> Option<Samples> {
    let end_ids = match tokenizer {
        Some(tokenizer) => tokenizer.end_ids().to_vec(),
        None => model.config.eos_token_ids.clone(),
    };
    let samples = Samples { prompts: config.sample_prompts, tokens: config.sample_tokens, end_ids };
    (samples.prompts > 0).then_some(samples)
}

fn device_record(choice: &Choice) -> DeviceRecord {
    let (kind, api, driver) = match &choice.adapter {
        Some(adapter) => {
            (format!("{:?}", adapter.kind), adapter.api.to_string(), adapter.driver.clone())
        }
        None => ("native".into(), "Flex".into(), String::new()),
    };
    DeviceRecord { name: choice.label.clone(), kind: kind.to_lowercase(), api, driver }
}

fn hash_inputs(config: &RunConfig) -> Result<Inputs, SessionError> {
    let hash =
        |path: &Path| durable::record_of(path).map(|file| file.sha256).map_err(SessionError::input);
    Ok(Inputs {
        model: model_hash(&config.model).map_err(SessionError::input)?,
        model_format: Some(ModelSummary::read(&config.model).map_err(SessionError::input)?.dtype),
        tokenizer: hash_tokenizer(&config.model)?,
        data: hash(&config.data)?,
        eval_data: match &config.eval {
            EvalSource::File(path) => Some(hash(path)?),
            EvalSource::Fraction(_) => None,
        },
    })
}

/// Files of a model folder that decide how text becomes token ids.
const TOKENIZER_FILES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// SHA-256 over names and contents of the tokenizer's files, as far as they are there. (A vocabulary within a GGUF file
/// is part of the model's hash.)
fn hash_tokenizer(model: &Path) -> Result<String, SessionError> {
    let folder = gguf::folder_of(model);
    let mut hasher = Sha256::new();
    for name in TOKENIZER_FILES {
        match std::fs::read(folder.join(name)) {
            Ok(bytes) => {
                hasher.update(name);
                hasher.update((bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(SessionError::input(FileError::new("read", &folder.join(name), error)));
            }
        }
    }
    Ok(durable::hex(&hasher.finalize()))
}

/// A run that goes on with other inputs would be neither the old run nor a new one.
fn refuse_changed(
    config: &RunConfig,
    recorded: &Inputs,
    found: &Inputs,
) -> Result<(), PrepareError> {
    let eval_path = match &config.eval {
        EvalSource::File(path) => path.clone(),
        EvalSource::Fraction(_) => PathBuf::new(),
    };
    let none = String::new();
    let rows = [
        ("the base model", &config.model, &recorded.model, &found.model),
        ("the tokenizer in", &config.model, &recorded.tokenizer, &found.tokenizer),
        ("the data file", &config.data, &recorded.data, &found.data),
        (
            "the held-out file",
            &eval_path,
            recorded.eval_data.as_ref().unwrap_or(&none),
            found.eval_data.as_ref().unwrap_or(&none),
        ),
    ];
    for (what, path, recorded, found) in rows {
        if recorded != found {
            let (recorded, found) = (recorded.clone(), found.clone());
            return Err(PrepareError::Changed { what, path: path.clone(), recorded, found });
        }
    }
    Ok(())
}

/// What of `config` an adapter was not made with: the option, the adapter's value and the configuration's.
fn other_adapter(made: &LoraConfig, config: &RunConfig) -> Option<(&'static str, String, String)> {
    let names = |targets: &[Target]| {
        let mut targets = targets.to_vec();
        targets.sort();
        let names: Vec<&str> =
            targets.iter().map(|t| t.module_name().trim_end_matches("_proj")).collect();
        names.join(",")
    };
    let fields = [
        ("rank", made.rank.to_string(), config.rank.to_string()),
        ("alpha", made.alpha.to_string(), config.alpha.to_string()),
        ("targets", names(&made.targets), names(&config.targets)),
        ("rslora", made.rslora.to_string(), config.rslora.to_string()),
    ];
    fields.into_iter().find(|(_, made, wanted)| made != wanted)
}

/// The adapters of a checkpoint are those that its run's configuration speaks of.
pub fn refuse_edited(
    path: &Path,
    made: &LoraConfig,
    config: &RunConfig,
) -> Result<(), SessionError> {
    match other_adapter(made, config) {
        None => Ok(()),
        Some((field, found, wanted)) => {
            let path = path.into();
            Err(SessionError::input(PrepareError::Edited { path, field, found, wanted }))
        }
    }
}

/// Reads `--init-adapter` and checks that it is of the shape this run trains.
fn load_init(path: &Path, config: &RunConfig, model: &Model) -> Result<LoraAdapter, SessionError> {
    let mut adapter = peft::load(path, &model.config).map_err(SessionError::input)?;
    if let Some((field, found, wanted)) = other_adapter(&adapter.config, config) {
        let path = path.into();
        return Err(SessionError::input(PrepareError::InitAdapter { path, field, found, wanted }));
    }
    adapter.config.dropout = config.dropout;
    Ok(adapter)
}

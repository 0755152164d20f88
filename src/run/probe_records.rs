//! `probe/`: what every probe measured, token by token.
//!
//! `pairs.json` holds the probe's pairs once: text and ids of every token, and where the answers part. `step-N.safetensors`
//! holds the probe after N updates: for each arm `{arm}/chosen` and `{arm}/rejected`, f32, the log-probabilities (nats)
//! of all pairs' answer tokens one after the other in the order of `pairs.json`, whose id lists give the lengths;
//! `step-0` holds `reference/chosen` and `reference/rejected` as well. A file appears whole or not at all, so the
//! records can be read while the run goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::{self, FileError};
use crate::data::analysis::PairDistance;
use crate::data::pair::TokenizedPair;
use crate::data::tokenizer::Tokenizer;
use crate::insight::{EditProfile, edit_profile};
use crate::lora::peft::tensor_file::{self, NamedTensor, TensorFileError};
use crate::loss::PairLogps;
use crate::model::PairScore;
use crate::train::ProbeScores;
use crate::train::event::REFERENCE;

pub const FOLDER: &str = "probe";

const PAIRS: &str = "pairs.json";
const FORMAT: u32 = 1;
const STEP: &str = "step-";
const EXTENSION: &str = ".safetensors";

#[derive(Debug, thiserror::Error)]
pub enum ProbeRecordsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    #[error(
        "{path} is damaged: {reason}. The charts do not need it; only the view of single tokens does."
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path} was written by a newer version of this program (format {found}, this one reads {FORMAT}). Update it."
    )]
    NewerFormat { path: PathBuf, found: u32 },
}

/// A run of tokens: ids, and the text of each. Joined, the texts are what the model reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub ids: Vec<u32>,
    pub texts: Vec<String>,
}

impl Tokens {
    /// Without a tokenizer (data given as ids) the ids stand for themselves.
    pub fn new(ids: &[u32], tokenizer: Option<&Tokenizer>) -> Tokens {
        let texts = match tokenizer {
            Some(tokenizer) => tokenizer.token_texts(ids),
            None => ids.iter().map(|id| format!("{id} ")).collect(),
        };
        Tokens { ids: ids.to_vec(), texts }
    }
}

/// One pair of the probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedPair {
    /// Position among the rows of the file it comes from, counted from 0.
    pub row: usize,
    pub prompt: Tokens,
    pub chosen: Tokens,
    pub rejected: Tokens,
    /// `first_difference`, `edits` and `normalised`.
    #[serde(flatten)]
    pub distance: PairDistance,
    /// Similarity of the answers' hidden states under the base model (`insight::displacement::ches`); runs of older
    /// versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ches: Option<f64>,
}

impl RecordedPair {
    pub fn new(pair: &TokenizedPair, tokenizer: Option<&Tokenizer>) -> RecordedPair {
        RecordedPair {
            row: pair.row,
            prompt: Tokens::new(&pair.prompt_ids, tokenizer),
            chosen: Tokens::new(&pair.chosen_ids, tokenizer),
            rejected: Tokens::new(&pair.rejected_ids, tokenizer),
            distance: PairDistance::of(pair),
            ches: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct PairsFile {
    format: u32,
    pairs: Vec<RecordedPair>,
}

/// Writes the records of a run that goes on.
#[derive(Debug)]
pub struct ProbeRecorder {
    folder: PathBuf,
}

impl ProbeRecorder {
    /// Begins the records of a new run.
    pub fn create(run: &Path, pairs: Vec<RecordedPair>) -> Result<ProbeRecorder, FileError> {
        let folder = run.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|error| FileError::new("make", &folder, error))?;
        let path = folder.join(PAIRS);
        let file = PairsFile { format: FORMAT, pairs };
        let json = serde_json::to_vec(&file)
            .map_err(|error| FileError::new("write", &path, error.into()))?;
        durable::replace_file(&path, &json)?;
        durable::sync_dir(run)?;
        Ok(ProbeRecorder { folder })
    }

    /// Goes on after `step` updates: records of later steps go, as later events do. `None` where the run began without
    /// records (an older version's): half of them would say nothing.
    pub fn resume(run: &Path, step: usize) -> Result<Option<ProbeRecorder>, FileError> {
        let folder = run.join(FOLDER);
        if !folder.join(PAIRS).is_file() || !step_file(&folder, 0).is_file() {
            return Ok(None);
        }
        for later in steps(&folder)?.into_iter().filter(|&at| at > step) {
            let path = step_file(&folder, later);
            fs::remove_file(&path).map_err(|error| FileError::new("delete", &path, error))?;
        }
        durable::sync_dir(&folder)?;
        Ok(Some(ProbeRecorder { folder }))
    }

    /// Makes one probe durable.
    pub fn write(&self, scores: &ProbeScores<'_>) -> Result<(), FileError> {
        let arms = scores.arms.iter().map(|(arm, scores)| (*arm, scores.as_slice()));
        let parts: Vec<(String, Vec<f32>)> = scores
            .reference
            .map(|scores| (REFERENCE, scores))
            .into_iter()
            .chain(arms)
            .flat_map(|(name, scores)| {
                let [chosen, rejected] = joined(scores);
                [(format!("{name}/chosen"), chosen), (format!("{name}/rejected"), rejected)]
            })
            .collect();
        let tensors: Vec<NamedTensor<'_>> = parts
            .iter()
            .map(|(name, values)| NamedTensor {
                name: name.clone(),
                shape: vec![values.len()],
                values,
            })
            .collect();
        let path = step_file(&self.folder, scores.step);
        let mut bytes = Vec::new();
        tensor_file::write(&mut bytes, &tensors)
            .map_err(|error| FileError::new("write", &path, error))?;
        durable::replace_file(&path, &bytes)
    }
}

/// All chosen and all rejected tokens, pair after pair.
fn joined(scores: &[PairScore]) -> [Vec<f32>; 2] {
    let chosen = scores.iter().flat_map(|score| score.chosen.iter().copied());
    let rejected = scores.iter().flat_map(|score| score.rejected.iter().copied());
    [chosen.collect(), rejected.collect()]
}

/// The records of a run, finished or going on. Pairs are in memory, steps are read when asked for.
#[derive(Clone, Debug)]
pub struct ProbeRecords {
    folder: PathBuf,
    pairs: Vec<RecordedPair>,
}

/// One probe: the log-probability (nats) of every answer token by arm name, pairs in the order of
/// [`ProbeRecords::pairs`].
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Updates done.
    pub step: usize,
    pub arms: BTreeMap<String, Vec<PairScore>>,
    /// Under the base model; step 0 alone has it.
    pub reference: Option<Vec<PairScore>>,
}

impl ProbeRecords {
    /// Opens a run folder's records; `None` where there are none (no probe pairs, or a run of an older version).
    pub fn open(run: &Path) -> Result<Option<ProbeRecords>, ProbeRecordsError> {
        let folder = run.join(FOLDER);
        let path = folder.join(PAIRS);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new("read", &path, error).into()),
        };
        let damaged = |error: serde_json::Error| ProbeRecordsError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if let Some(found) = format.filter(|&found| found > u64::from(FORMAT)) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(ProbeRecordsError::NewerFormat { path, found });
        }
        let file: PairsFile = serde_json::from_value(value).map_err(damaged)?;
        Ok(Some(ProbeRecords { folder, pairs: file.pairs }))
    }

    pub fn pairs(&self) -> &[RecordedPair] {
        &self.pairs
    }

    /// Steps recorded so far, rising.
    pub fn steps(&self) -> Result<Vec<usize>, ProbeRecordsError> {
        Ok(steps(&self.folder)?)
    }

    /// Reads one probe.
    pub fn step(&self, step: usize) -> Result<StepRecord, ProbeRecordsError> {
        let path = step_file(&self.folder, step);
        let mut tensors = tensor_file::read(&path)?;
        let names: Vec<String> = tensors
            .keys()
            .filter_map(|name| name.strip_suffix("/chosen").map(str::to_owned))
            .collect();
        let mut arms = BTreeMap::new();
        for arm in names {
            let mut side = |side: &str, length: fn(&RecordedPair) -> usize| {
                let name = format!("{arm}/{side}");
                let values = tensors.remove(&name).map(|tensor| tensor.values).unwrap_or_default();
                self.split(&values, length).ok_or_else(|| ProbeRecordsError::Damaged {
                    path: path.clone(),
                    reason: format!("`{name}` has {} values, not one a token", values.len()),
                })
            };
            let chosen = side("chosen", |pair| pair.chosen.ids.len())?;
            let rejected = side("rejected", |pair| pair.rejected.ids.len())?;
            let scores = chosen.into_iter().zip(rejected);
            let scores = scores.map(|(chosen, rejected)| PairScore { chosen, rejected });
            arms.insert(arm, scores.collect());
        }
        let reference = arms.remove(REFERENCE);
        Ok(StepRecord { step, arms, reference })
    }

    /// The base model's log-probabilities, from the first probe.
    pub fn reference(&self) -> Result<Vec<PairScore>, ProbeRecordsError> {
        self.step(0)?.reference.ok_or_else(|| ProbeRecordsError::Damaged {
            path: step_file(&self.folder, 0),
            reason: "it holds no reference".into(),
        })
    }

    /// Where in the chosen answers likelihood lies, by distance from the first token that differs.
    pub fn profile(&self, scores: &[PairScore]) -> EditProfile {
        let pairs = self.pairs.iter().zip(scores);
        edit_profile(pairs.map(|(pair, score)| (&score.chosen[..], pair.distance.first_difference)))
    }

    /// Values of all pairs cut into the pairs' own; `None` when there are more or fewer than tokens.
    fn split(&self, values: &[f32], length: fn(&RecordedPair) -> usize) -> Option<Vec<Vec<f32>>> {
        let mut rest = values;
        let mut own = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            let (now, later) = rest.split_at_checked(length(pair))?;
            own.push(now.to_vec());
            rest = later;
        }
        rest.is_empty().then_some(own)
    }
}

/// Where each pair stands: the four sums, from which follow log-ratios, margin and penalty.
pub fn standing(scores: &[PairScore], reference: &[PairScore]) -> Vec<PairLogps> {
    let pairs = scores.iter().zip(reference);
    pairs
        .map(|(own, reference)| {
            let (chosen, rejected) = own.sums();
            let (ref_chosen, ref_rejected) = reference.sums();
            PairLogps { chosen, rejected, ref_chosen, ref_rejected }
        })
        .collect()
}

fn step_file(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{STEP}{step}{EXTENSION}"))
}

/// Steps with a record, rising.
fn steps(folder: &Path) -> Result<Vec<usize>, FileError> {
    let entries = fs::read_dir(folder).map_err(|error| FileError::new("read", folder, error))?;
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| FileError::new("read", folder, error))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(STEP)?.strip_suffix(EXTENSION));
        steps.extend(number.and_then(|number| number.parse::<usize>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}

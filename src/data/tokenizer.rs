//! Pairs to token ids, as TRL 1.16 does it (`DPOTrainer._prepare_dataset`).

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value as Json;

use super::pair::{Message, PreferencePair, Skipped, Text, TokenizedPair};
use super::source::Dataset;
use super::template::{ChatTemplate, TemplateError};
use super::tokenizer_files::{eos_ids, find_eos, missing_hint, read_json, read_optional};
use super::tokenizer_gguf::{Vocabulary, vocabulary};
use crate::gguf::{self, Gguf, GgufError};

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("{} is not a folder; give the folder with config.json, tokenizer.json and the weights", .0.display())]
    NotAFolder(PathBuf),
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(
        "no tokenizer can be built from {}: {reason}; download tokenizer.json from the original model's page into the \
         same folder", path.display()
    )]
    Vocabulary { path: PathBuf, reason: String },
    #[error("{} has no tokenizer.json{}", folder.display(), hint)]
    Missing { folder: PathBuf, hint: &'static str },
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is a Git LFS pointer, not the file; run `git lfs pull` in the model's folder", .0.display())]
    LfsPointer(PathBuf),
    #[error("{} is not valid: {reason}; download the file again", path.display())]
    Invalid { path: PathBuf, reason: String },
    #[error(
        "{} names no end-of-sequence token; add `\"eos_token\": \"..\"` to its tokenizer_config.json", .0.display()
    )]
    NoEos(PathBuf),
    #[error(
        "the end-of-sequence token `{token}` of {} is not in its tokenizer.json; correct `eos_token` in tokenizer_config.json",
        folder.display()
    )]
    UnknownEos { folder: PathBuf, token: String },
    #[error("{}: {source}", folder.display())]
    Template { folder: PathBuf, source: TemplateError },
    #[error(transparent)]
    Render(#[from] TemplateError),
    #[error("the tokenizer cannot encode a text: {0}; report the text that caused it")]
    Encode(String),
    #[error("the tokenizer cannot decode ids: {0}; check that the ids belong to this model")]
    Decode(String),
}

/// A model's tokenizer with its chat template and end-of-sequence token.
#[derive(Debug)]
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
    template: Option<ChatTemplate>,
    eos_token: String,
    eos_id: u32,
    end_ids: Vec<u32>,
    vocab_size: usize,
    /// Rows of the model's embedding, from config.json.
    model_vocab: Option<usize>,
    /// Tokens are spelled in GPT-2's byte alphabet.
    pub(super) byte_level: bool,
}

/// What a tokenizer is built from.
struct Files<'a> {
    /// Of tokenizer.json, for messages.
    path: &'a Path,
    bytes: &'a [u8],
    config: &'a Json,
    model_config: &'a Json,
}

/// A dataset as token ids, with what was lost on the way.
#[derive(Clone, Debug, Default)]
pub struct TokenizedDataset {
    pub pairs: Vec<TokenizedPair>,
    /// Rows dropped here; rows that the file's reader dropped are in `Dataset::skipped`.
    pub skipped: Vec<Skipped>,
    /// Kept pairs whose chosen or rejected answer was cut at `max_length`.
    pub truncated: usize,
    /// Kept pairs whose prompt is tokenised differently before an answer than alone: the differing
    /// end counts as answer (chosen and rejected alike) and is scored.
    pub prefix_mismatch: usize,
    /// Conversations written as plain text because the model has no chat template.
    pub without_template: usize,
}

/// A pair that can be trained on.
pub(super) struct Kept {
    pub pair: TokenizedPair,
    pub truncated: bool,
    pub mismatch: bool,
    pub plain: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and where present `tokenizer_config.json`, `special_tokens_map.json`,
    /// `chat_template.jinja`, `generation_config.json` and `config.json`, of a model's folder or beside a GGUF file.
    /// Without tokenizer.json, the vocabulary that a GGUF file carries.
    pub fn open(model: &Path) -> Result<Self, TokenizerError> {
        let folder = gguf::folder_of(model);
        if !folder.is_dir() {
            return Err(TokenizerError::NotAFolder(folder.to_owned()));
        }
        let path = folder.join("tokenizer.json");
        let Some(bytes) = read_optional(&path)? else {
            return Self::carried(model)?.ok_or_else(|| TokenizerError::Missing {
                folder: folder.to_owned(),
                hint: missing_hint(folder),
            });
        };
        let config = read_json(&folder.join("tokenizer_config.json"))?;
        let jinja = read_optional(&folder.join("chat_template.jinja"))?;
        let jinja = jinja.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let model_config = read_json(&folder.join("config.json"))?;
        let files =
            Files { path: &path, bytes: &bytes, config: &config, model_config: &model_config };
        Self::build(folder, &files, jinja.as_deref())
    }

    /// The tokenizer of a GGUF file's own vocabulary; `None` where there is no such file or it has none.
    fn carried(model: &Path) -> Result<Option<Self>, TokenizerError> {
        let Some(paths) = gguf::locate(model)? else { return Ok(None) };
        let file = Gguf::open(&paths)?;
        let path = file.path();
        let unusable = |reason| TokenizerError::Vocabulary { path: path.to_owned(), reason };
        let Some(Vocabulary { tokenizer, config }) = vocabulary(&file).map_err(unusable)? else {
            return Ok(None);
        };
        let bytes = tokenizer.to_string().into_bytes();
        let rows = file.tensors().get("token_embd.weight").and_then(|tensor| tensor.shape.first());
        let model_config = serde_json::json!({ "vocab_size": rows });
        let files = Files { path, bytes: &bytes, config: &config, model_config: &model_config };
        Self::build(gguf::folder_of(path), &files, None).map(Some)
    }

    fn build(folder: &Path, files: &Files, jinja: Option<&str>) -> Result<Self, TokenizerError> {
        let path = files.path.to_owned();
        let invalid = |reason: String| TokenizerError::Invalid { path: path.clone(), reason };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(files.bytes).map_err(|e| invalid(e.to_string()))?;
        // Lengths are decided here, not by what the file was saved with.
        inner.with_truncation(None).map_err(|e| invalid(e.to_string()))?;
        inner.with_padding(None);
        let template = ChatTemplate::from_config(files.config, jinja)
            .map_err(|source| TokenizerError::Template { folder: folder.to_owned(), source })?;
        let generation = read_json(&folder.join("generation_config.json"))?;
        let configs = [&generation, files.model_config];
        let (eos_token, eos_id) = find_eos(folder, &inner, files.config, configs)?;
        let mut end_ids = vec![eos_id];
        end_ids.extend(configs.into_iter().flat_map(eos_ids).filter(|&id| id != eos_id));
        let vocab = inner.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |id| *id as usize + 1);
        let byte_level = files.bytes.windows(11).any(|w| w == b"\"ByteLevel\"");
        let model_vocab = files.model_config.get("vocab_size").and_then(Json::as_u64);
        let model_vocab = model_vocab.map(|n| n as usize);
        Ok(Self {
            inner,
            template,
            eos_token,
            eos_id,
            end_ids,
            vocab_size,
            model_vocab,
            byte_level,
        })
    }

    /// Token ids of `text`; `add_special` adds what the tokenizer puts around a text (BOS).
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        self.inner
            .encode_fast(text, add_special)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|e| TokenizerError::Encode(e.to_string()))
    }

    /// The text of `ids`, special tokens written out. Ids outside the vocabulary add nothing.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, false).map_err(|e| TokenizerError::Decode(e.to_string()))
    }

    /// The text of `ids` without special tokens: what a person reads as the answer.
    pub fn decode_answer(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(|e| TokenizerError::Decode(e.to_string()))
    }

    pub fn eos_token(&self) -> &str {
        &self.eos_token
    }

    pub fn eos_id(&self) -> u32 {
        self.eos_id
    }

    /// Tokens that end a generated text: the end-of-sequence token, and those that generation_config.json and config.json
    /// name.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// The highest id of the tokenizer plus one. A model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// To fix the date that date-stamped templates see: [`ChatTemplate::set_now`].
    pub fn chat_template_mut(&mut self) -> Option<&mut ChatTemplate> {
        self.template.as_mut()
    }

    /// Ids of the prompt alone, as generation begins: with BOS, or through the chat template.
    pub fn encode_prompt(&self, prompt: &Text) -> Result<Vec<u32>, TokenizerError> {
        match prompt {
            Text::Ids(ids) => Ok(ids.clone()),
            Text::Plain(text) => self.encode(text, true),
            Text::Messages(messages) => match &self.template {
                Some(template) => {
                    let text = template.render(messages, true)?;
                    self.encode(&text, false)
                }
                None => self.encode(&plain_prompt(messages), true),
            },
        }
    }

    /// Tokenises every pair, in parallel, in the order of the file.
    ///
    /// `max_length` counts prompt and answer together; longer rows lose their end (`keep_start`).
    /// Dropped and reported: rows whose prompt alone fills `max_length`, rows whose answers are equal
    /// after the cut, rows with ids the model does not know, conversations the template refuses.
    pub fn tokenize(&self, dataset: &Dataset, max_length: usize) -> TokenizedDataset {
        collect(dataset, |pair| self.tokenize_pair(pair, max_length))
    }

    fn tokenize_pair(&self, pair: &PreferencePair, max_length: usize) -> Result<Kept, Drop> {
        let mut plain = false;
        let (prompt, chosen, rejected, mismatch) =
            match (&pair.prompt, &pair.chosen, &pair.rejected) {
                (Text::Ids(prompt), Text::Ids(chosen), Text::Ids(rejected)) => {
                    (prompt.clone(), chosen.clone(), rejected.clone(), false)
                }
                (Text::Plain(prompt), Text::Plain(chosen), Text::Plain(rejected)) => {
                    self.split(&self.plain_ids(prompt, chosen, rejected)?)
                }
                (Text::Messages(prompt), Text::Messages(chosen), Text::Messages(rejected)) => {
                    match &self.template {
                        Some(template) => {
                            self.split(&self.chat_ids(template, prompt, chosen, rejected)?)
                        }
                        None => {
                            plain = true;
                            let (prompt, chosen, rejected) = as_plain(prompt, chosen, rejected)?;
                            self.split(&self.plain_ids(&prompt, chosen, rejected)?)
                        }
                    }
                }
                _ => {
                    return Err(Drop::new(
                        "chosen",
                        "is of another kind than `prompt`; write all as text or all as messages",
                    ));
                }
            };
        self.check_ids("prompt", &prompt)?;
        self.check_ids("chosen", &chosen)?;
        self.check_ids("rejected", &rejected)?;
        let whole = TokenizedPair {
            row: pair.row,
            prompt_ids: prompt,
            chosen_ids: chosen,
            rejected_ids: rejected,
        };
        let (pair, truncated) = fit(whole, max_length)?;
        Ok(Kept { pair, truncated, mismatch, plain })
    }

    /// Prompt, prompt + chosen, prompt + rejected, each tokenised whole; answers end with EOS.
    fn plain_ids(&self, prompt: &str, chosen: &str, rejected: &str) -> Result<[Vec<u32>; 3], Drop> {
        let ids = |field, text: &str| {
            self.encode(text, true).map_err(|e| Drop::new(field, e.to_string()))
        };
        let whole = |answer: &str| {
            let eos = if answer.ends_with(&self.eos_token) { "" } else { &self.eos_token };
            [prompt, answer, eos].concat()
        };
        Ok([
            ids("prompt", prompt)?,
            ids("chosen", &whole(chosen))?,
            ids("rejected", &whole(rejected))?,
        ])
    }

    fn chat_ids(
        &self,
        template: &ChatTemplate,
        prompt: &[Message],
        chosen: &[Message],
        rejected: &[Message],
    ) -> Result<[Vec<u32>; 3], Drop> {
        let ids = |field, messages: &[Message], open| {
            let text =
                template.render(messages, open).map_err(|e| Drop::new(field, e.to_string()))?;
            // The template writes BOS and the like itself.
            self.encode(&text, false).map_err(|e| Drop::new(field, e.to_string()))
        };
        Ok([
            ids("prompt", prompt, true)?,
            ids("chosen", &[prompt, chosen].concat(), false)?,
            ids("rejected", &[prompt, rejected].concat(), false)?,
        ])
    }

    /// Answers begin where the prompt's ids end, or earlier where either text departs from them.
    fn split(
        &self,
        [prompt, chosen, rejected]: &[Vec<u32>; 3],
    ) -> (Vec<u32>, Vec<u32>, Vec<u32>, bool) {
        let at = common_prefix(prompt, chosen).min(common_prefix(prompt, rejected));
        (prompt[..at].to_vec(), chosen[at..].to_vec(), rejected[at..].to_vec(), at < prompt.len())
    }

    fn check_ids(&self, field: &'static str, ids: &[u32]) -> Result<(), Drop> {
        check_ids(self.model_vocab.unwrap_or(self.vocab_size), field, ids)
    }
}

/// Every pair through `tokenize`, in parallel, in the order of the file.
pub(super) fn collect(
    dataset: &Dataset,
    tokenize: impl Fn(&PreferencePair) -> Result<Kept, Drop> + Sync,
) -> TokenizedDataset {
    let outcomes: Vec<_> = dataset
        .pairs
        .par_iter()
        .map(|pair| tokenize(pair).map_err(|drop| (pair.row, drop)))
        .collect();
    let mut out = TokenizedDataset::default();
    for outcome in outcomes {
        match outcome {
            Ok(Kept { pair, truncated, mismatch, plain }) => {
                out.pairs.push(pair);
                out.truncated += usize::from(truncated);
                out.prefix_mismatch += usize::from(mismatch);
                out.without_template += usize::from(plain);
            }
            Err((row, Drop { field, reason })) => {
                out.skipped.push(Skipped {
                    row,
                    line: None,
                    field: Some(field.to_owned()),
                    reason,
                });
            }
        }
    }
    out
}

pub(super) fn check_ids(known: usize, field: &'static str, ids: &[u32]) -> Result<(), Drop> {
    match ids.iter().find(|id| **id as usize >= known) {
        Some(id) => Err(Drop::new(
            field,
            format!(
                "has token id {id}, but the model knows ids below {known}; tokenise with this model's tokenizer"
            ),
        )),
        None => Ok(()),
    }
}

/// A pair that cannot be trained on.
pub(super) struct Drop {
    field: &'static str,
    reason: String,
}

impl Drop {
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// Cuts a pair to `max_length` tokens a side, and drops what then teaches nothing.
pub(super) fn fit(
    mut pair: TokenizedPair,
    max_length: usize,
) -> Result<(TokenizedPair, bool), Drop> {
    let prompt = pair.prompt_ids.len();
    if prompt == 0 {
        return Err(Drop::new(
            "prompt",
            "has no tokens, so nothing predicts the answer's first token; write a prompt",
        ));
    }
    if prompt >= max_length {
        return Err(Drop::new(
            "prompt",
            format!(
                "alone has {prompt} tokens, and --max-length is {max_length}; raise it or shorten the prompt"
            ),
        ));
    }
    let room = max_length - prompt;
    let truncated = pair.chosen_ids.len() > room || pair.rejected_ids.len() > room;
    pair.chosen_ids.truncate(room);
    pair.rejected_ids.truncate(room);
    for (field, ids) in [("chosen", &pair.chosen_ids), ("rejected", &pair.rejected_ids)] {
        if ids.is_empty() {
            return Err(Drop::new(field, "has no tokens; write an answer"));
        }
    }
    if pair.chosen_ids == pair.rejected_ids {
        let why = if truncated {
            format!("is the same as `chosen` within {max_length} tokens; raise max length")
        } else {
            "has the same tokens as `chosen`; change one or remove the row".to_owned()
        };
        return Err(Drop::new("rejected", why));
    }
    Ok((pair, truncated))
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A single question and its answers, for a base model without a chat template. A conversation of
/// several turns needs one: no spelling of the turns would be right.
fn as_plain<'a>(
    prompt: &[Message],
    chosen: &'a [Message],
    rejected: &'a [Message],
) -> Result<(String, &'a str, &'a str), Drop> {
    let no_template = || {
        Drop::new(
            "prompt",
            "is a conversation of several turns, and the model has no chat template; choose an instruct model, or add \
             chat_template.jinja to the model's folder",
        )
    };
    let turns = prompt.iter().filter(|m| m.role != "system").count();
    match (turns, chosen, rejected) {
        (1, [chosen], [rejected]) => Ok((plain_prompt(prompt), &chosen.content, &rejected.content)),
        _ => Err(no_template()),
    }
}

/// Each message on its own line or lines, and the answer on the next.
fn plain_prompt(messages: &[Message]) -> String {
    messages.iter().flat_map(|m| [m.content.as_str(), "\n"]).collect()
}

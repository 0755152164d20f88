//! A tokenizer from the vocabulary that a GGUF file carries: the tokenizer.json and tokenizer_config.json that it
//! amounts to, for models that come without them.
//!
//! Sources: `llama-vocab.cpp` of llama.cpp (kinds, pre-tokenizers and defaults by name), transformers'
//! `convert_slow_tokenizer.py` (`LlamaConverter`, `generate_merges`).

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use crate::gguf::{Gguf, Value};

/// GPT-2's own way to cut a text into words.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's: up to three digits together.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's: every digit alone.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// What `tokenizer.ggml.pre` stands for.
struct Pre {
    names: &'static [&'static str],
    pattern: &'static str,
    /// Whole words of the vocabulary are taken whole, whatever the merges say.
    ignore_merges: bool,
    add_bos: bool,
    /// The original tokenizer composes characters (NFC) first.
    compose: bool,
}

/// Those whose ids were compared with the original tokenizers' (`tests/gguf_tokenizer.rs`), and other names that
/// llama.cpp has for the same.
const PRES: [Pre; 3] = [
    Pre {
        names: &["gpt-2", "mpt"],
        pattern: GPT2,
        ignore_merges: false,
        add_bos: false,
        compose: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3"],
        pattern: LLAMA3,
        ignore_merges: true,
        add_bos: true,
        compose: false,
    },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen"],
        pattern: QWEN2,
        ignore_merges: false,
        add_bos: false,
        compose: true,
    },
];

/// ggml's kinds of tokens.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// SentencePiece's sign for a space.
const SPACE: &str = "\u{2581}";

/// The files that the vocabulary amounts to.
pub struct Vocabulary {
    /// tokenizer.json.
    pub tokenizer: Json,
    /// tokenizer_config.json: special tokens and the chat template.
    pub config: Json,
}

/// Reads the vocabulary; `None` where the file has none.
///
/// Fails with a phrase about the file for a kind of tokenizer that is not built here.
pub fn vocabulary(file: &Gguf) -> Result<Option<Vocabulary>, String> {
    let kind = file.value("tokenizer.ggml.model").and_then(Value::text);
    let Some(kind) = kind.filter(|kind| !["none", "no_vocab"].contains(kind)) else {
        return Ok(None);
    };
    let tokens = Tokens::read(file)?;
    let tokenizer = match kind {
        "gpt2" => byte_pairs(file, &tokens)?,
        "llama" => sentence_piece(file, &tokens)?,
        other => {
            return Err(format!(
                "its tokenizer is of the kind {other}, and the kinds gpt2 and llama can be built"
            ));
        }
    };
    let config = config(file, &tokens);
    Ok(Some(Vocabulary { tokenizer, config }))
}

/// The list of tokens.
struct Tokens {
    texts: Vec<String>,
    /// Of each token its kind.
    kinds: Vec<i64>,
    /// Special tokens by their role (`bos`, `eos`, ..).
    roles: Vec<(&'static str, usize)>,
}

impl Tokens {
    fn read(file: &Gguf) -> Result<Tokens, String> {
        let texts: Vec<String> = array(file, "tokenizer.ggml.tokens")?
            .iter()
            .map(|token| token.text().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or("its tokens are no texts")?;
        if texts.is_empty() {
            return Err("it lists no tokens".to_owned());
        }
        let kinds: Vec<i64> = array(file, "tokenizer.ggml.token_type")?
            .iter()
            .map(|kind| kind.integer().unwrap_or(NORMAL))
            .collect();
        let kinds = if kinds.is_empty() { vec![NORMAL; texts.len()] } else { kinds };
        if kinds.len() != texts.len() {
            let (types, count) = (kinds.len(), texts.len());
            return Err(format!("it has {count} tokens and {types} token types"));
        }
        let names = [
            ("bos_token", "bos_token_id"),
            ("eos_token", "eos_token_id"),
            ("unk_token", "unknown_token_id"),
            ("pad_token", "padding_token_id"),
        ];
        let mut roles = Vec::new();
        for (role, key) in names {
            let Some(id) = file.value(&format!("tokenizer.ggml.{key}")).and_then(Value::integer)
            else {
                continue;
            };
            let known = usize::try_from(id).ok().filter(|id| *id < texts.len());
            let count = texts.len();
            roles.push((
                role,
                known.ok_or(format!("its {key} is {id}, and it has {count} tokens"))?,
            ));
        }
        Ok(Tokens { texts, kinds, roles })
    }

    fn role(&self, role: &str) -> Option<usize> {
        self.roles.iter().find(|(name, _)| *name == role).map(|(_, id)| *id)
    }

    fn vocabulary(&self) -> Result<Map<String, Json>, String> {
        let mut map = Map::new();
        for (id, text) in self.texts.iter().enumerate() {
            if let Some(earlier) = map.insert(text.clone(), json!(id)) {
                return Err(format!("its tokens {earlier} and {id} are the same: {text:?}"));
            }
        }
        Ok(map)
    }

    /// Tokens that are found in a text before anything else is.
    fn added(&self) -> Vec<Json> {
        let has_role = |id: usize| self.roles.iter().any(|(_, role)| *role == id);
        let entries = self.texts.iter().zip(&self.kinds).enumerate();
        entries
            .filter_map(|(id, (text, kind))| {
                let special = has_role(id) || [CONTROL, UNKNOWN].contains(kind);
                (special || *kind == USER_DEFINED).then(|| {
                    json!({
                        "id": id, "content": text, "single_word": false, "lstrip": false,
                        "rstrip": false, "normalized": false, "special": special,
                    })
                })
            })
            .collect()
    }

    /// What is put around a text.
    fn post_processor(&self, file: &Gguf, add_bos: bool) -> Json {
        let flag = |key: &str, absent| match file.value(&format!("tokenizer.ggml.{key}")) {
            Some(Value::Bool(flag)) => *flag,
            _ => absent,
        };
        let wanted = [
            ("bos_token", flag("add_bos_token", add_bos)),
            ("eos_token", flag("add_eos_token", false)),
        ];
        let [before, after] = wanted.map(|(role, wanted)| self.role(role).filter(|_| wanted));
        if before.or(after).is_none() {
            return Json::Null;
        }
        let special =
            |id: usize, kind: u8| json!({"SpecialToken": {"id": self.texts[id], "type_id": kind}});
        let around = |name: &str, kind: u8| {
            let sequence = json!({"Sequence": {"id": name, "type_id": kind}});
            let parts = [
                before.map(|id| special(id, kind)),
                Some(sequence),
                after.map(|id| special(id, kind)),
            ];
            parts.into_iter().flatten().collect::<Vec<_>>()
        };
        let tokens: Map<String, Json> = before
            .into_iter()
            .chain(after)
            .map(|id| {
                let text = &self.texts[id];
                (text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}))
            })
            .collect();
        let pair = [around("A", 0), around("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": pair,
            "special_tokens": tokens,
        })
    }
}

fn array(file: &Gguf, key: &str) -> Result<Vec<Value>, String> {
    file.array(key).map_err(|error| error.to_string())
}

/// Kind `gpt2`: bytes as characters, merges as listed.
fn byte_pairs(file: &Gguf, tokens: &Tokens) -> Result<Json, String> {
    let name = file.value("tokenizer.ggml.pre").and_then(Value::text);
    let name = name.ok_or("it names no pre-tokenizer")?;
    let pre = PRES.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let known: Vec<_> = PRES.iter().flat_map(|pre| pre.names).copied().collect();
        format!("its pre-tokenizer is {name}, and these can be built: {}", known.join(", "))
    })?;
    let mut merges = Vec::new();
    for merge in array(file, "tokenizer.ggml.merges")? {
        // Tokens of the byte alphabet hold no spaces.
        let pair = merge.text().and_then(|text| text.split_once(' '));
        let (left, right) = pair.ok_or("one of its merges is no pair of tokens")?;
        merges.push(json!([left, right]));
    }
    if merges.is_empty() {
        return Err("it lists no merges".to_owned());
    }
    let level = |prefix: bool, words: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": words});
    let split = json!({
        "type": "Split", "pattern": {"Regex": pre.pattern}, "behavior": "Isolated", "invert": false,
    });
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": tokens.added(),
        "normalizer": if pre.compose { json!({"type": "NFC"}) } else { Json::Null },
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level(false, false)]},
        "post_processor": tokens.post_processor(file, pre.add_bos),
        "decoder": level(true, true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": pre.ignore_merges, "vocab": tokens.vocabulary()?, "merges": merges,
        },
    }))
}

/// Kind `llama`: SentencePiece's merging by score, unknown characters as bytes.
fn sentence_piece(file: &Gguf, tokens: &Tokens) -> Result<Json, String> {
    let prefix = !matches!(file.value("tokenizer.ggml.add_space_prefix"), Some(Value::Bool(false)));
    let unknown = tokens.role("unk_token").map(|id| tokens.texts[id].clone());
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let mut normalizers = vec![space];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": tokens.added(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": tokens.post_processor(file, true),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "ignore_merges": false, "vocab": tokens.vocabulary()?, "merges": merges_by_score(file, tokens)?,
        },
    }))
}

/// Every way to join two tokens into a third, the third with the highest score first: what SentencePiece does one
/// after the other.
fn merges_by_score(file: &Gguf, tokens: &Tokens) -> Result<Vec<Json>, String> {
    let scores: Vec<f64> = array(file, "tokenizer.ggml.scores")?
        .iter()
        .map(|score| score.real().filter(|score| score.is_finite()))
        .collect::<Option<_>>()
        .ok_or("one of its scores is no number")?;
    if scores.len() != tokens.texts.len() {
        let (count, found) = (tokens.texts.len(), scores.len());
        return Err(format!("it has {count} tokens and {found} scores"));
    }
    let normal = |id: &usize| tokens.kinds[*id] == NORMAL;
    let ids: HashMap<&str, usize> =
        (0..scores.len()).filter(normal).map(|id| (tokens.texts[id].as_str(), id)).collect();
    let mut merges = Vec::new();
    for id in (0..scores.len()).filter(normal) {
        let text = &tokens.texts[id];
        let mut own: Vec<(usize, usize)> = text
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| Some((*ids.get(&text[..at])?, *ids.get(&text[at..])?)))
            .collect();
        own.sort_unstable();
        merges.extend(own.into_iter().map(|pair| (scores[id], pair)));
    }
    // Stable: of equal scores the earlier token stays first.
    merges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let text = |id: usize| &tokens.texts[id];
    Ok(merges.into_iter().map(|(_, (left, right))| json!([text(left), text(right)])).collect())
}

fn config(file: &Gguf, tokens: &Tokens) -> Json {
    let mut config = Map::new();
    for (role, id) in &tokens.roles {
        config.insert((*role).to_owned(), json!(tokens.texts[*id]));
    }
    if let Some(template) = file.value("tokenizer.chat_template").and_then(Value::text) {
        config.insert("chat_template".to_owned(), json!(template));
    }
    Json::Object(config)
}

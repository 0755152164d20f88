//! Everything that can be wrong with a model folder, each as a sentence that ends with a remedy.

use std::path::PathBuf;

use crate::gguf::GgufError;
use crate::model::config::Architecture;

/// Why a model folder was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{} is not a folder. Choose the folder that holds config.json and the weights, or a .gguf file.", .dir.display())]
    NotAFolder { dir: PathBuf },

    #[error(
        "{} has no config.json. Choose a Hugging Face model folder: config.json, tokenizer.json and \
         *.safetensors lie side by side in it.", .dir.display()
    )]
    NoConfig { dir: PathBuf },

    #[error("{} cannot be read: {source}. Check that the file exists and that you may read it.", .path.display())]
    Io { path: PathBuf, source: std::io::Error },

    #[error("{} is not valid JSON: {source}. Download the file again.", .path.display())]
    Json { path: PathBuf, source: serde_json::Error },

    #[error("{}: {field} {problem}. Take config.json from the model's original repository.", .path.display())]
    Field { path: PathBuf, field: String, problem: String },

    #[error(
        "{} describes a {found} model, which cannot be trained here. Supported are {}: choose one of these.",
        .path.display(), Architecture::supported()
    )]
    Architecture { path: PathBuf, found: String },

    #[error("{}: {field} is {found}, which is not supported ({supported} is). Choose another model.", .path.display())]
    Unsupported { path: PathBuf, field: String, found: String, supported: &'static str },

    #[error(
        "{architecture} has {together} in one layer ({module}), which carries one adapter: --targets {asked} \
         would train a part of it. Name {together} together or not at all."
    )]
    PartOfFused { architecture: &'static str, module: String, together: String, asked: String },

    #[error(
        "{} holds no weights: neither model.safetensors nor model.safetensors.index.json. Download the \
         *.safetensors files into it.", .dir.display()
    )]
    NoWeights { dir: PathBuf },

    #[error(
        "{} holds its weights only as {found}, a pickle file, which may run code when it is opened. Convert it \
         to safetensors (in transformers: model.save_pretrained(folder, safe_serialization=True)) or \
         download the *.safetensors files.", .dir.display()
    )]
    PickleOnly { dir: PathBuf, found: String },

    #[error(transparent)]
    Gguf(#[from] GgufError),

    #[error("{} cannot be used: {problem}. Choose another file of this model, or its safetensors.", .path.display())]
    GgufConfig { path: PathBuf, problem: String },

    #[error(
        "{} is a git-LFS pointer, not the file itself. Run `git lfs pull` in the model folder.",
        .path.display()
    )]
    LfsPointer { path: PathBuf },

    #[error(
        "{} names the shard {shard}, which is missing. Download it into the same folder.",
        .index.display()
    )]
    MissingShard { index: PathBuf, shard: String },

    #[error(
        "{} names the shard {shard:?}, which is not a plain file name. A shard must lie in the model folder \
         itself; download the index file again.", .index.display()
    )]
    ShardName { index: PathBuf, shard: String },

    #[error(
        "{} places the tensor {tensor} in {shard}, but that file does not hold it. Download both files again.",
        .index.display()
    )]
    ShardLacks { index: PathBuf, tensor: String, shard: String },

    #[error("{} is damaged: {problem}. The download was probably cut off: fetch the file again.", .path.display())]
    Damaged { path: PathBuf, problem: String },

    #[error(
        "The weights in {} do not fit config.json: {}. Take config.json and weights from the same model.",
        .dir.display(), describe_tensor_set(.missing, .unused)
    )]
    TensorSet { dir: PathBuf, missing: Vec<String>, unused: Vec<String> },

    #[error(
        "The weights in {} are quantised ({tensor}), and its config.json has no quantization_config that says how. \
         Take config.json from the same repository as the weights, or choose a copy in F32, F16 or BF16.",
        .dir.display()
    )]
    Quantised { dir: PathBuf, tensor: String },

    #[error(
        "{tensor} cannot be unpacked: {problem}. Download config.json and the weights again from one repository, or \
         choose another copy of the model."
    )]
    Packed { tensor: String, problem: String },

    #[error(
        "{tensor} is in {} and again in {}. Leave the files of one model in the folder.",
        .first.display(), .second.display()
    )]
    TensorTwice { tensor: String, first: PathBuf, second: PathBuf },

    #[error(
        "{tensor} has the shape {found:?}, but config.json asks for {expected:?}. Take config.json and \
         weights from the same model."
    )]
    Shape { tensor: String, found: Vec<usize>, expected: Vec<usize> },

    #[error(
        "{tensor} is stored as {dtype}; F32, F16 and BF16 can be read. Choose a copy of the model that is \
         not quantised."
    )]
    Dtype { tensor: String, dtype: String },

    #[error(
        "{tensor} holds {count} values of {total} that are NaN or infinite. The model is damaged: download \
         it again or choose an earlier checkpoint."
    )]
    NonFinite { tensor: String, count: usize, total: usize },

    #[error(
        "{} cannot hold the streamed weights: {source}. Free some space there, or keep the weights on the device \
         (--weights resident).", .path.display()
    )]
    Spill { path: PathBuf, source: std::io::Error },

    #[error(
        "The prompt has {tokens} tokens, and the model's context (max_position_embeddings) holds {limit} with the answer. \
         Shorten the prompt."
    )]
    ContextFull { tokens: usize, limit: usize },

    #[error("The prompt has no tokens, so nothing predicts the first one. Write a prompt.")]
    EmptyPrompt,

    #[error(
        "The prompt has token id {id}, but the model knows ids below {known}. Take tokenizer and weights from the same \
         model."
    )]
    UnknownToken { id: u32, known: usize },

    #[error(
        "A sequence has outgrown the cache that was made for it. This is a fault of the program; please report it."
    )]
    CacheFull,

    #[error(
        "The experts of a token could not be chosen: {message}. Use smaller settings (--max-length, \
         --micro-batch-pairs) or another device."
    )]
    Device { message: String },

    #[error(
        "The model has no tensor named {tensor}. This is a fault of the program; please report it."
    )]
    NoSuchTensor { tensor: String },
}

/// How many tensor names one message lists before it only counts.
const NAMES_SHOWN: usize = 8;

fn describe_tensor_set(missing: &[String], unused: &[String]) -> String {
    let mut parts = Vec::new();
    for (names, what) in [(missing, "missing"), (unused, "unused")] {
        if names.is_empty() {
            continue;
        }
        let shown =
            names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMES_SHOWN);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("{} {what} ({shown}{tail})", names.len()));
    }
    parts.join(", ")
}

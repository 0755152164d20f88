//! The small files of a model's folder that say how its tokenizer is used.

use std::io;
use std::path::Path;

use serde_json::Value as Json;

use super::template::token_text;
use super::tokenizer::TokenizerError;

/// The EOS token by name, or by id where only the generation settings give it.
pub(super) fn find_eos(
    folder: &Path,
    inner: &tokenizers::Tokenizer,
    config: &Json,
    configs: [&Json; 2],
) -> Result<(String, u32), TokenizerError> {
    let special = read_json(&folder.join("special_tokens_map.json"))?;
    let named =
        token_text(config.get("eos_token")).or_else(|| token_text(special.get("eos_token")));
    if let Some(token) = named {
        let id = inner.token_to_id(token).ok_or_else(|| TokenizerError::UnknownEos {
            folder: folder.to_owned(),
            token: token.to_owned(),
        })?;
        return Ok((token.to_owned(), id));
    }
    configs
        .into_iter()
        .filter_map(|config| {
            let id = *eos_ids(config).first()?;
            Some((inner.id_to_token(id)?, id))
        })
        .next()
        .ok_or_else(|| TokenizerError::NoEos(folder.to_owned()))
}

/// `eos_token_id`: one id or a list.
pub(super) fn eos_ids(config: &Json) -> Vec<u32> {
    let id = |id: &Json| id.as_u64().and_then(|id| u32::try_from(id).ok());
    match config.get("eos_token_id") {
        Some(Json::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}

pub(super) fn missing_hint(folder: &Path) -> &'static str {
    if folder.join("tokenizer.model").exists() || folder.join("vocab.json").exists() {
        "; make it from the older files with transformers: \
         AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    } else {
        "; download it from the model's page into this folder"
    }
}

/// The bytes of a file, `None` where there is none.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.starts_with(b"version https://git-lfs") => {
            Err(TokenizerError::LfsPointer(path.to_owned()))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read { path: path.to_owned(), source }),
    }
}

/// A JSON file; null where there is none.
pub(super) fn read_json(path: &Path) -> Result<Json, TokenizerError> {
    match read_optional(path)? {
        None => Ok(Json::Null),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| TokenizerError::Invalid { path: path.to_owned(), reason: e.to_string() }),
    }
}

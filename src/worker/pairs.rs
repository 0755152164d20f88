//! From a preference file to token ids, with everything that was left out put into words.

use std::path::Path;

use crate::data::pair::{Skipped, Text, TokenizedPair};
use crate::data::source::{self, DataError, Dataset};
use crate::data::token_ids::tokenize_ids;
use crate::data::tokenizer::{TokenizedDataset, Tokenizer, TokenizerError};
use crate::model::config::ModelConfig;
use crate::model::error::ModelError;

/// Skipped rows that are named one by one; the rest is counted.
const NAMED: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum PairsError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(
        "none of the {rows} rows of {path} can be used:\n{reasons}\nCorrect the rows, or raise --max-length."
    )]
    NoneLeft { path: String, rows: usize, reasons: String },
}

/// The usable pairs of a file.
pub struct ReadPairs {
    pub pairs: Vec<TokenizedPair>,
    /// `None` where all rows are token ids and the model has none.
    pub tokenizer: Option<Tokenizer>,
    /// One sentence each.
    pub warnings: Vec<String>,
}

/// Reads `data` and tokenises it as the model in `model_dir` wants it.
///
/// A file whose rows are all token ids needs no tokenizer, and none has to be in the folder.
pub fn read_pairs(
    data: &Path,
    model_dir: &Path,
    max_length: usize,
) -> Result<ReadPairs, PairsError> {
    let dataset = source::load(data)?;
    let tokenizer = match Tokenizer::open(model_dir) {
        Ok(tokenizer) => Some(tokenizer),
        Err(TokenizerError::Missing { .. } | TokenizerError::Vocabulary { .. })
            if all_ids(&dataset) =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let tokenized = match &tokenizer {
        Some(tokenizer) => tokenizer.tokenize(&dataset, max_length),
        None => tokenize_ids(&dataset, max_length, ModelConfig::read(model_dir)?.vocab_size),
    };
    let skipped: Vec<&Skipped> = dataset.skipped.iter().chain(&tokenized.skipped).collect();
    if tokenized.pairs.is_empty() {
        return Err(PairsError::NoneLeft {
            path: data.display().to_string(),
            rows: dataset.rows,
            reasons: reasons(&skipped),
        });
    }
    let warnings = warnings(data, &dataset, &tokenized, &skipped);
    Ok(ReadPairs { pairs: tokenized.pairs, tokenizer, warnings })
}

fn all_ids(dataset: &Dataset) -> bool {
    let ids = |text: &Text| matches!(text, Text::Ids(_));
    dataset.pairs.iter().all(|pair| ids(&pair.prompt) && ids(&pair.chosen) && ids(&pair.rejected))
}

fn reasons(skipped: &[&Skipped]) -> String {
    let mut lines: Vec<String> =
        skipped.iter().take(NAMED).map(|skipped| format!("  {skipped}")).collect();
    if skipped.len() > NAMED {
        lines.push(format!(
            "  and {} more (`dpop-studio inspect --data FILE --model DIR --json` lists all)",
            skipped.len() - NAMED
        ));
    }
    lines.join("\n")
}

fn warnings(
    data: &Path,
    dataset: &Dataset,
    tokenized: &TokenizedDataset,
    skipped: &[&Skipped],
) -> Vec<String> {
    let (file, rows) = (data.display(), dataset.rows);
    let mut warnings = Vec::new();
    if !skipped.is_empty() {
        let count = skipped.len();
        warnings
            .push(format!("{count} of {rows} rows of {file} are left out:\n{}", reasons(skipped)));
    }
    if tokenized.truncated > 0 {
        let count = tokenized.truncated;
        warnings.push(format!(
            "{count} of {rows} rows of {file} are longer than --max-length and lose their end"
        ));
    }
    if tokenized.without_template > 0 {
        warnings.push(format!(
            "the model has no chat template: {} conversations of {file} are written as plain text",
            tokenized.without_template
        ));
    }
    warnings
}

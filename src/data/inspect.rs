//! A look at a preference file before training: `dpop-studio inspect` and the window's Data card.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::analysis::{
    DiffKind, Duplicate, Lengths, PairDistance, Summary, diff_words, duplicates,
};
use super::pair::{PreferencePair, Skipped, Text};
use super::row::clip;
use super::source::{DataError, Dataset, Schema, load};
use super::tokenizer::{TokenizedDataset, Tokenizer, TokenizerError};

/// Pairs in the preview.
const PREVIEW_PAIRS: usize = 20;
/// Characters of one text in the preview; longer texts end in an ellipsis.
const PREVIEW_CHARS: usize = 4000;

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// What a file holds, what of it can be trained on, and how it looks to the model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InspectReport {
    pub file: PathBuf,
    pub schema: Schema,
    /// The schema in words.
    pub schema_text: String,
    pub rows: usize,
    pub columns: Vec<String>,
    /// Pairs that training would use.
    pub usable: usize,
    /// Dropped by the file's reader and, with a model, by tokenising; in the order of the rows.
    pub skipped: Vec<Skipped>,
    pub duplicates: Vec<Duplicate>,
    /// With a model's tokenizer.
    pub tokens: Option<TokenReport>,
    pub preview: Vec<PreviewPair>,
}

/// The set in the model's tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenReport {
    pub model: PathBuf,
    pub max_length: usize,
    pub lengths: Lengths,
    /// Levenshtein distance between chosen and rejected, in tokens.
    pub edit_distance: Summary,
    /// The same over the longer answer's length, 0..=1.
    pub normalised_edit_distance: Summary,
    /// Tokens of all pairs, prompts counted with each answer: one epoch's work.
    pub tokens: usize,
    pub truncated: usize,
    pub prefix_mismatch: usize,
    pub without_template: usize,
}

/// One pair as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewPair {
    pub row: usize,
    pub prompt: String,
    /// Both answers, interleaved: [`diff_words`].
    pub diff: Vec<(DiffKind, String)>,
}

impl PreviewPair {
    /// One answer as runs of words with a mark on those the other lacks.
    pub fn answer(&self, side: DiffKind) -> impl Iterator<Item = (bool, &str)> {
        self.diff
            .iter()
            .filter(move |(kind, _)| *kind == DiffKind::Same || *kind == side)
            .map(|(kind, text)| (*kind != DiffKind::Same, text.as_str()))
    }
}

/// Reads `data`, and tokenises it when `model` (a Hugging Face folder) is given.
pub fn inspect(
    data: &Path,
    model: Option<&Path>,
    max_length: usize,
) -> Result<InspectReport, InspectError> {
    let dataset = load(data)?;
    let tokenizer = model.map(Tokenizer::open).transpose()?;
    let tokenizer = model.zip(tokenizer.as_ref());
    Ok(inspect_dataset(&dataset, tokenizer, max_length))
}

/// One usable row of a file as text; ids are decoded where the model has a tokenizer.
pub fn preview_row(
    data: &Path,
    model: Option<&Path>,
    row: usize,
) -> Result<Option<PreviewPair>, InspectError> {
    let dataset = load(data)?;
    let tokenizer = model.and_then(|folder| Tokenizer::open(folder).ok());
    let pair = dataset.pairs.iter().find(|pair| pair.row == row);
    Ok(pair.map(|pair| preview(pair, tokenizer.as_ref())))
}

/// [`inspect`] for a file already read, with the model's folder and tokenizer.
pub fn inspect_dataset(
    dataset: &Dataset,
    tokenizer: Option<(&Path, &Tokenizer)>,
    max_length: usize,
) -> InspectReport {
    let tokenized = tokenizer.map(|(_, tokenizer)| tokenizer.tokenize(dataset, max_length));
    let mut skipped = dataset.skipped.clone();
    let mut usable = dataset.pairs.len();
    if let Some(tokenized) = &tokenized {
        skipped.extend(tokenized.skipped.iter().cloned());
        skipped.sort_by_key(|s| s.row);
        usable = tokenized.pairs.len();
    }
    let tokens = tokenizer
        .zip(tokenized.as_ref())
        .and_then(|((model, _), tokenized)| token_report(model, tokenized, max_length));
    let preview = dataset
        .pairs
        .iter()
        .take(PREVIEW_PAIRS)
        .map(|pair| preview(pair, tokenizer.map(|(_, tokenizer)| tokenizer)))
        .collect();
    InspectReport {
        file: dataset.path.clone(),
        schema: dataset.schema,
        schema_text: dataset.schema.to_string(),
        rows: dataset.rows,
        columns: dataset.columns.clone(),
        usable,
        skipped,
        duplicates: duplicates(&dataset.pairs),
        tokens,
        preview,
    }
}

/// `None` when no pair is left.
fn token_report(
    model: &Path,
    tokenized: &TokenizedDataset,
    max_length: usize,
) -> Option<TokenReport> {
    let distances: Vec<PairDistance> = tokenized.pairs.par_iter().map(PairDistance::of).collect();
    Some(TokenReport {
        model: model.to_owned(),
        max_length,
        lengths: Lengths::of(&tokenized.pairs)?,
        edit_distance: Summary::of(distances.iter().map(|d| d.edits as f64))?,
        normalised_edit_distance: Summary::of(distances.iter().map(|d| d.normalised))?,
        tokens: tokenized
            .pairs
            .iter()
            .map(|p| 2 * p.prompt_ids.len() + p.chosen_ids.len() + p.rejected_ids.len())
            .sum(),
        truncated: tokenized.truncated,
        prefix_mismatch: tokenized.prefix_mismatch,
        without_template: tokenized.without_template,
    })
}

fn preview(pair: &PreferencePair, tokenizer: Option<&Tokenizer>) -> PreviewPair {
    let [prompt, chosen, rejected] = [&pair.prompt, &pair.chosen, &pair.rejected]
        .map(|text| clip(&readable(text, tokenizer), PREVIEW_CHARS));
    PreviewPair { row: pair.row, prompt, diff: diff_words(&chosen, &rejected) }
}

/// Text as it stands; several messages each under its role; ids decoded where a tokenizer is at hand.
pub fn readable(text: &Text, tokenizer: Option<&Tokenizer>) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::Messages(messages) => match messages.as_slice() {
            [only] => only.content.clone(),
            several => {
                let turns: Vec<String> =
                    several.iter().map(|m| format!("{}: {}", m.role, m.content)).collect();
                turns.join("\n\n")
            }
        },
        Text::Ids(ids) => match tokenizer.map(|tokenizer| tokenizer.decode(ids)) {
            Some(Ok(text)) => text,
            _ => {
                let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
                ids.join(" ")
            }
        },
    }
}

impl fmt::Display for InspectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text().map_err(|_| fmt::Error)?)
    }
}

/// Skipped rows and duplicates listed one by one in the text; the JSON has all.
const LISTED: usize = 10;

impl InspectReport {
    fn to_text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        writeln!(out, "file      {}", self.file.display())?;
        writeln!(out, "schema    {}", self.schema_text)?;
        writeln!(out, "columns   {}", self.columns.join(", "))?;
        writeln!(
            out,
            "rows      {} ({} usable, {} skipped)",
            self.rows,
            self.usable,
            self.skipped.len()
        )?;
        for skipped in self.skipped.iter().take(LISTED) {
            writeln!(out, "  skipped {skipped}")?;
        }
        if self.skipped.len() > LISTED {
            writeln!(
                out,
                "  .. and {} more (all of them with --json)",
                self.skipped.len() - LISTED
            )?;
        }
        self.write_duplicates(&mut out)?;
        if let Some(tokens) = &self.tokens {
            tokens.write(&mut out)?;
        }
        if let Some(pair) = self.preview.first() {
            writeln!(out, "\nrow {} ([-chosen only-] {{+rejected only+}})", pair.row)?;
            writeln!(out, "prompt    {}", clip(&pair.prompt, 600))?;
            let mut answers = String::new();
            for (kind, text) in &pair.diff {
                match kind {
                    DiffKind::Same => answers.push_str(text),
                    DiffKind::Chosen => write!(answers, "[-{text}-]")?,
                    DiffKind::Rejected => write!(answers, "{{+{text}+}}")?,
                }
            }
            writeln!(out, "answers   {}", clip(&answers, 1200))?;
        }
        Ok(out)
    }

    fn write_duplicates(&self, out: &mut String) -> fmt::Result {
        let reversed: Vec<&Duplicate> = self.duplicates.iter().filter(|d| d.reversed).collect();
        let repeated = self.duplicates.len() - reversed.len();
        writeln!(
            out,
            "repeated  {repeated} rows repeat an earlier row, {} contradict one",
            reversed.len()
        )?;
        for duplicate in reversed.iter().take(LISTED) {
            writeln!(
                out,
                "  row {} prefers the answer that row {} rejects",
                duplicate.row, duplicate.of
            )?;
        }
        Ok(())
    }
}

impl TokenReport {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "model     {}", self.model.display())?;
        writeln!(out, "tokens    {} in one epoch, max length {}", self.tokens, self.max_length)?;
        writeln!(
            out,
            "{:<26}{:>8}{:>10}{:>10}{:>8}{:>8}",
            "", "min", "median", "mean", "p95", "max"
        )?;
        let rows = [
            ("  prompt tokens", self.lengths.prompt, 0),
            ("  chosen tokens", self.lengths.chosen, 0),
            ("  rejected tokens", self.lengths.rejected, 0),
            ("  prompt + longer answer", self.lengths.total, 0),
            ("  edit distance, tokens", self.edit_distance, 0),
            ("  edit distance, share", self.normalised_edit_distance, 3),
        ];
        for (name, s, digits) in rows {
            let middle = digits.max(1);
            writeln!(
                out,
                "{name:<26}{:>8.digits$}{:>10.middle$}{:>10.middle$}{:>8.digits$}{:>8.digits$}",
                s.min, s.median, s.mean, s.p95, s.max
            )?;
        }
        if self.truncated > 0 {
            writeln!(out, "  {} pairs are cut at {} tokens", self.truncated, self.max_length)?;
        }
        if self.prefix_mismatch > 0 {
            writeln!(
                out,
                "  {} prompts are tokenised differently before their answers; their differing ends count as answer",
                self.prefix_mismatch
            )?;
        }
        if self.without_template > 0 {
            writeln!(
                out,
                "  {} questions are written as plain text, because the model has no chat template",
                self.without_template
            )?;
        }
        Ok(())
    }
}

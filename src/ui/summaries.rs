//! What the background jobs read, in the shape the views draw.

use std::path::PathBuf;

use super::form::in_labels;

/// One row of a preference file, its answers cut into equal and differing words.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewPair {
    pub row: usize,
    pub prompt: String,
    pub chosen: Vec<Piece>,
    pub rejected: Vec<Piece>,
}

/// A stretch of text; `differs` where the other answer says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub differs: bool,
}

/// The memory that a run with the form's settings would need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLine {
    /// `About 43 MiB of 12 GiB, base resident`.
    pub text: String,
    /// The parts, one a line.
    pub parts: String,
    /// Why it would be refused, and what would help.
    pub refusal: Option<String>,
}

impl MemoryLine {
    /// Of a run that cannot even be planned.
    pub fn refused(reason: &str) -> MemoryLine {
        let refusal = Some(in_labels(reason));
        MemoryLine { text: String::new(), parts: String::new(), refusal }
    }
}

/// Rows left out for one reason: how many, where the first of them stand, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedRows {
    pub count: usize,
    pub places: String,
    pub reason: String,
}

/// A preference file as the Data card and view show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataReport {
    pub path: PathBuf,
    pub rows: usize,
    pub usable: usize,
    pub schema: String,
    pub columns: Vec<String>,
    /// The first reasons.
    pub skipped: Vec<SkippedRows>,
    pub preview: Vec<PreviewPair>,
    /// Further figures: lengths, edit distance, ..
    pub figures: Vec<(String, String)>,
}

/// A model folder in a few words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSummary {
    pub path: PathBuf,
    pub name: String,
    pub facts: Vec<(String, String)>,
}

/// One line of Runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRow {
    pub folder: PathBuf,
    /// The folder's name.
    pub name: String,
    /// The name without its time.
    pub title: String,
    /// For people: `2026-11-23 15:40`.
    pub date: String,
    pub data: String,
    pub model: String,
    pub objective: String,
    pub status: String,
    pub step: usize,
    pub steps: usize,
    /// Final margin and change of chosen of the kept arm, if a probe was made.
    pub margin: Option<f64>,
    pub chosen_change: Option<f64>,
    /// Arms that collapsed, with their steps.
    pub collapsed: Vec<(String, usize)>,
    pub can_resume: bool,
}

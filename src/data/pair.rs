//! The three shapes a preference pair takes on its way to the model.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One message of a conversation, as chat templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A prompt or an answer as the file gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    Plain(String),
    /// Goes through the model's chat template.
    Messages(Vec<Message>),
    /// Already token ids; taken as they are.
    Ids(Vec<u32>),
}

impl Text {
    /// Nothing to read: no characters but white space, or no ids.
    pub fn is_blank(&self) -> bool {
        match self {
            Text::Plain(text) => text.trim().is_empty(),
            Text::Messages(messages) => messages.iter().all(|m| m.content.trim().is_empty()),
            Text::Ids(ids) => ids.is_empty(),
        }
    }
}

/// One row of a preference file: `chosen` is preferred over `rejected` as the answer to `prompt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferencePair {
    /// Position among the file's rows, counted from 0 (skipped rows count).
    pub row: usize,
    pub prompt: Text,
    pub chosen: Text,
    pub rejected: Text,
}

/// A pair as token ids. Completions carry their end-of-sequence token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizedPair {
    pub row: usize,
    pub prompt_ids: Vec<u32>,
    pub chosen_ids: Vec<u32>,
    pub rejected_ids: Vec<u32>,
}

impl TokenizedPair {
    /// Tokens of the prompt and the longer answer together: what `max_length` bounds.
    pub fn longest(&self) -> usize {
        self.prompt_ids.len() + self.chosen_ids.len().max(self.rejected_ids.len())
    }
}

/// A row that does not take part in training, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Position among the file's rows, counted from 0, as in `PreferencePair`.
    pub row: usize,
    /// Line in the file, counted from 1, where one row is one line.
    pub line: Option<usize>,
    pub field: Option<String>,
    /// What is wrong and what to do, without the row's number or the field's name.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} (row {})", self.row)?,
            None => write!(f, "row {}", self.row)?,
        }
        if let Some(field) = &self.field {
            write!(f, ", field `{field}`")?;
        }
        write!(f, ": {}", self.reason)
    }
}

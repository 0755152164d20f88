//! The three shapes a preference pair takes on its way to the model.

use serde::{Deserialize, Serialize};

/// One message of a conversation, as chat templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A prompt or an answer as the file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    Plain(String),
    /// Goes through the model's chat template.
    Messages(Vec<Message>),
    /// Already token ids; taken as they are.
    Ids(Vec<u32>),
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

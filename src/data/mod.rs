//! Preference data on the host: files to pairs, pairs to token ids.

pub mod analysis;
mod implied;
pub mod inspect;
mod layout;
pub mod pair;
mod python_json;
mod row;
pub mod source;
pub mod source_rows;
pub mod template;
pub mod token_ids;
pub mod token_text;
pub mod tokenizer;
mod tokenizer_files;
mod tokenizer_gguf;

pub use inspect::{InspectReport, inspect};
pub use pair::{Message, PreferencePair, Skipped, Text, TokenizedPair};
pub use source::{DataError, Dataset, Schema, load};
pub use template::ChatTemplate;
pub use tokenizer::{TokenizedDataset, Tokenizer, TokenizerError};

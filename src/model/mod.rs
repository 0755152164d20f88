//! Decoders of the Llama family and mixtures of experts, read from Hugging Face folders.

pub mod block;
mod blocks;
pub mod checkpoint;
pub mod config;
mod decoder;
pub mod error;
pub mod experts_config;
mod json_fields;
pub mod layout;
pub mod linear;
mod load;
pub mod memory;
pub mod mlp;
pub mod place;
mod rope;
pub mod routing;
pub mod updates;

pub use decoder::{DeviceBatch, Model, PairScore, Saved, Updates, entry_weights, pair_scores};
pub use load::{LoadOptions, SCORE_TOKENS, quant_format, read};

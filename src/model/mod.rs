//! Decoders of the Llama family, its kin and mixtures of experts, read from Hugging Face folders.

mod attention;
pub mod block;
mod blocks;
pub mod cache;
pub mod checkpoint;
pub mod config;
mod decoder;
pub mod error;
pub mod experts_config;
pub mod generate;
mod json_fields;
pub mod layout;
pub mod linear;
mod load;
pub mod memory;
pub mod mlp;
mod norm;
pub mod place;
mod rope;
mod rope_fields;
pub mod routing;
pub mod sampling;
pub mod updates;

pub use decoder::{DeviceBatch, Model, PairScore, Saved, Updates, entry_weights, pair_scores};
pub use load::{LoadOptions, SCORE_TOKENS, quant_format, read};

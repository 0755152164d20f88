//! Llama-family decoders read from Hugging Face folders.

pub mod block;
mod blocks;
pub mod cache;
pub mod checkpoint;
pub mod config;
mod decoder;
pub mod error;
pub mod generate;
mod json_fields;
pub mod layout;
pub mod linear;
mod load;
pub mod memory;
mod rope;
pub mod sampling;

pub use decoder::{DeviceBatch, Model, PairScore, Saved, Updates, entry_weights, pair_scores};
pub use load::{LoadOptions, SCORE_TOKENS, quant_format, read};

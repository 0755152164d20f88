//! Llama-family decoders read from Hugging Face folders.

pub mod checkpoint;
pub mod config;
pub mod error;
mod json_fields;
mod rope;

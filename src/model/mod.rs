//! Llama-family decoders read from Hugging Face folders.

pub mod config;

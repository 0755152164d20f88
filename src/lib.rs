//! DPOP Studio: LoRA fine-tuning with DPO-Positive on any GPU, and a window that shows where plain
//! DPO collapses.
//!
//! Layers, each importing only from those before it:
//! `quant, config -> data, loss -> insight, kernels -> model -> lora -> train -> run -> worker, report -> cli, ui`.

// No panic reaches a person. (Tests may unwrap: clippy.toml.)
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::dbg_macro)]

pub mod config;
pub mod data;
pub mod gguf;
pub mod insight;
pub mod kernels;
pub mod lora;
pub mod loss;
pub mod model;
pub mod quant;
pub mod report;
pub mod run;
pub mod train;
pub mod worker;

pub mod cli;
#[cfg(feature = "window")]
pub mod ui;

//! DPOP Studio: LoRA fine-tuning with DPO-Positive on any GPU, and a window that shows where plain
//! DPO collapses.
//!
//! Layers, each importing only from those before it:
//! `config -> data, loss -> kernels -> model -> lora -> train -> run -> worker -> cli, ui`.

pub mod config;
pub mod data;
pub mod kernels;
pub mod lora;
pub mod loss;
pub mod model;
pub mod run;
pub mod train;
pub mod worker;

pub mod cli;
#[cfg(feature = "window")]
pub mod ui;

//! The training loop: no files, no threads, no printing.

pub mod event;
mod metrics;
pub mod optimizer;
mod schedule;
pub mod state;
mod trainer;

use std::path::PathBuf;

pub use trainer::{COLLAPSE_DEPTH, Trainer};

use event::Event;
use state::TrainState;

/// What the loop is told between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Continue,
    /// Save a checkpoint and end.
    Stop,
}

/// How a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    /// The observer asked for it; a checkpoint was written.
    Stopped,
}

/// Where the loop reports to: the worker writes files and answers the window, tests collect.
pub trait Observer {
    fn event(&mut self, event: Event) -> anyhow::Result<()>;

    /// Makes `state` durable; answers the checkpoint's folder.
    fn checkpoint(&mut self, state: &TrainState) -> anyhow::Result<PathBuf>;

    /// Asked before every step; blocks while the run is paused (and reports `Paused` and `Resumed`).
    fn control(&mut self, step: usize) -> anyhow::Result<Control>;
}

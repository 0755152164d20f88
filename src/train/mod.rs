//! The training loop: no files, no threads, no printing.

pub mod event;
pub mod state;

use std::path::PathBuf;

use event::Event;
use state::TrainState;

/// What the loop is told between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Continue,
    /// Save a checkpoint and end.
    Stop,
}

/// Where the loop reports to: the worker writes files and answers the window, tests collect.
pub trait Observer {
    fn event(&mut self, event: Event) -> anyhow::Result<()>;

    /// Makes `state` durable; answers the checkpoint's folder.
    fn checkpoint(&mut self, state: &TrainState) -> anyhow::Result<PathBuf>;

    /// Asked before every step; blocks while the run is paused (and reports `Paused` and `Resumed`).
    fn control(&mut self, step: usize) -> anyhow::Result<Control>;
}

//! The training loop: no files, no threads, no printing.

pub mod event;
mod forecast;
pub mod history;
mod metrics;
pub mod optimizer;
mod probe;
mod samples;
mod schedule;
pub mod state;
mod stop;
mod trainer;

use std::path::PathBuf;

pub use probe::COLLAPSE_DEPTH;
pub use samples::Samples;
pub use trainer::Trainer;

use crate::data::pair::TokenizedPair;
use crate::model::PairScore;
use crate::model::generate::Generated;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    /// A rule of `--stop-when` ended it before its budget did; a checkpoint was written.
    Ended {
        /// What was seen, as a sentence without its full stop.
        reason: String,
    },
    /// The observer asked for it; a checkpoint was written.
    Stopped,
}

/// What one probe measured: the log-probability of every answer token, by pair in the order of the probe.
pub struct ProbeScores<'a> {
    /// Updates done.
    pub step: usize,
    /// Under the base model; only where it was measured in this probe, which is the first.
    pub reference: Option<&'a [PairScore]>,
    /// By arm name.
    pub arms: Vec<(&'a str, Vec<PairScore>)>,
}

/// What every arm answered to the prompt of one probe pair.
pub struct PairAnswers<'a> {
    /// Updates done.
    pub step: usize,
    pub pair: &'a TokenizedPair,
    /// By arm name; at the start also the base model's, under [`event::REFERENCE`].
    pub arms: Vec<(&'a str, &'a Generated)>,
}

/// Where the loop reports to: the worker writes files and answers the window, tests collect.
pub trait Observer {
    fn event(&mut self, event: Event) -> anyhow::Result<()>;

    /// Told before the probe's event, so that whoever hears the event finds the record.
    fn probe(&mut self, _scores: &ProbeScores<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// Told before the checkpoint of the same step.
    fn answers(&mut self, _answers: &PairAnswers<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// Makes `state` durable; answers the checkpoint's folder.
    fn checkpoint(&mut self, state: &TrainState) -> anyhow::Result<PathBuf>;

    /// Asked before every step; blocks while the run is paused (and reports `Paused` and `Resumed`).
    fn control(&mut self, step: usize) -> anyhow::Result<Control>;
}

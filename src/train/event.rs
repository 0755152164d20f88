//! What a run tells the world: one JSON object a line, in `events.jsonl` and on the worker's stdout.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::insight::gradients::{Band, GradientProducts};

/// Metric name (TRL's names, DESIGN section 3) to value.
/// `loss, grad_norm, learning_rate, logps/chosen, logps/rejected` (sums, nats, mean over pairs),
/// `logps_per_token/chosen|rejected`, `reference/chosen|rejected` (sums) and
/// `reference_per_token/chosen|rejected`, `rewards/chosen|rejected|margins|accuracies`,
/// `dpop/penalty, dpop/active`; a probe's also `logps_per_token/chosen_p10|chosen_p90|rejected_p10|rejected_p90` over
/// its pairs.
pub type Metrics = BTreeMap<String, f64>;

/// Stands for the base model where an arm's name stands; no objective has this name.
pub const REFERENCE: &str = "reference";

/// Metrics by arm name (`dpop`, `dpo`, ..).
pub type ArmMetrics = BTreeMap<String, Metrics>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmInfo {
    pub name: String,
    /// The loss in words, e.g. `DPOP (beta 0.1, lambda 50)`.
    pub objective: String,
    /// The arm whose adapter is exported at the end.
    pub kept: bool,
}

/// One probe pair under one arm: sums in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbePair {
    pub row: usize,
    pub chosen: f64,
    pub rejected: f64,
    pub ref_chosen: f64,
    pub ref_rejected: f64,
    pub chosen_tokens: usize,
    pub rejected_tokens: usize,
}

/// One generated answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleText {
    pub text: String,
    /// The model ended it; else it was cut at the number of tokens asked for.
    pub ended: bool,
}

/// One probe pair in a forecast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairGradients {
    pub row: usize,
    #[serde(flatten)]
    pub products: GradientProducts,
    /// How many times harder the arm's loss pushes the chosen answer up than the rejected one down; 1 for DPO.
    pub ratio: Option<f64>,
    /// To first order, a step of the arm's own loss on this pair lowers the chosen answer.
    pub falls: bool,
    /// First-order change of the chosen answer (nats) by one more update in the optimiser's present direction, which
    /// all recent batches made; 0 before the first update.
    pub heading: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Started {
        /// Run folder.
        run: PathBuf,
        /// RFC 3339.
        time: String,
        steps: usize,
        steps_per_epoch: f64,
        arms: Vec<ArmInfo>,
        device: String,
        train_pairs: usize,
        probe_pairs: usize,
        trainable_parameters: usize,
        /// The step a resumed run goes on from; 0 for a new one.
        from_step: usize,
    },
    /// After the update numbered `step` (from 1); metrics are of the batch, before the update.
    Step {
        step: usize,
        epoch: f64,
        /// Training seconds since the run began, pauses left out.
        elapsed: f64,
        tokens_per_second: f64,
        num_tokens: u64,
        memory_bytes: u64,
        arms: ArmMetrics,
    },
    /// The fixed held-out pairs after `step` updates (0: before the first).
    Probe {
        step: usize,
        arms: ArmMetrics,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pairs: BTreeMap<String, Vec<ProbePair>>,
    },
    /// What the next update would do to a few probe pairs, from the gradients under one arm's adapter: after the probe
    /// of the same step.
    Forecast {
        step: usize,
        arm: String,
        /// Share of the pairs whose chosen answer a step of plain DPO would lower.
        share: f64,
        /// Ratios (`PairGradients::ratio`) that would lower no chosen and raise no rejected answer; none where
        /// `low` exceeds `high`.
        band: Option<Band>,
        pairs: Vec<PairGradients>,
    },
    /// What every arm answers to one held-out prompt after `step` updates, greedily. The first event of a prompt also has
    /// the base model's answer, under [`REFERENCE`].
    Sample {
        step: usize,
        /// Position of the prompt's pair among the rows of its file, counted from 0.
        row: usize,
        prompt: String,
        /// The answer that the pair prefers.
        chosen: String,
        arms: BTreeMap<String, SampleText>,
    },
    Checkpoint {
        step: usize,
        path: PathBuf,
    },
    Warning {
        message: String,
    },
    /// First probe where an arm's chosen log-likelihood per token lies more than 0.05 nats below the
    /// reference while its margin is positive.
    Collapse {
        step: usize,
        arm: String,
        chosen_per_token: f64,
        reference_per_token: f64,
        message: String,
    },
    Paused {
        step: usize,
    },
    Resumed {
        step: usize,
    },
    Finished {
        step: usize,
        adapter: PathBuf,
        message: String,
    },
    /// Stopped by the person or a signal after a checkpoint was written.
    Stopped {
        step: usize,
        checkpoint: PathBuf,
    },
    Failed {
        message: String,
    },
    /// Every second, so that the window knows the worker lives. Never written to `events.jsonl`.
    Heartbeat {
        phase: String,
    },
}

/// One line on the worker's stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    Pause,
    Resume,
    /// Save a checkpoint and end.
    Stop,
}

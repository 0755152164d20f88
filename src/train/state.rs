//! All that a run must remember to go on exactly where it stopped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lora::LoraAdapter;

/// Reference log-probabilities of one pair (sums, nats): the base model without adapter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub chosen: f64,
    pub rejected: f64,
}

/// One arm: adapter and AdamW moments, all flat buffers of the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmState {
    pub name: String,
    pub adapter: LoraAdapter,
    pub first_moment: Vec<f32>,
    pub second_moment: Vec<f32>,
    /// The probe step at which this arm collapsed.
    pub collapsed_at: Option<usize>,
}

/// The state between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainState {
    /// Updates done.
    pub step: usize,
    pub num_tokens: u64,
    /// Training seconds, pauses left out.
    pub elapsed: f64,
    /// In the order of `RunConfig`: the kept arm first.
    pub arms: Vec<ArmState>,
    /// Reference sums by index among the training pairs; filled when a pair is first seen.
    pub references: BTreeMap<usize, Reference>,
    /// Likewise for the probe pairs.
    pub probe_references: BTreeMap<usize, Reference>,
    /// The kept arm's mean margin at every probe so far, for `--stop-when margin-plateau`.
    pub probe_margins: Vec<f64>,
}

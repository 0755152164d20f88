//! Identity preference optimisation.
//!
//! Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences",
//! arXiv 2310.12036, Eq. 17, on sums over tokens as in the paper (TRL averages over tokens instead).
//!
//! ```text
//! loss   = (rw - rl - 1 / (2 * beta))^2
//! dL/dlw = 2 * (rw - rl - 1 / (2 * beta)) = -dL/dll
//! ```

use super::{LossOutput, PairLogps};

pub(super) fn evaluate(pair: &PairLogps, beta: f64) -> LossOutput {
    let distance = pair.margin() - 1.0 / (2.0 * beta);
    LossOutput { loss: distance * distance, d_chosen: 2.0 * distance, d_rejected: -2.0 * distance }
}

//! Conservative DPO: labels are wrong with probability `e`.
//!
//! Mitchell, "A note on DPO with noisy preferences and relationship to IPO" (2023), Eq. 3.
//!
//! ```text
//! z      = beta * (rw - rl)
//! loss   = -(1 - e) * log sigmoid(z) - e * log sigmoid(-z)
//! dL/dlw = -beta * ((1 - e) * sigmoid(-z) - e * sigmoid(z)) = -dL/dll
//! ```

use super::logistic::{sigmoid, softplus};
use super::{LossOutput, PairLogps};

pub(super) fn evaluate(pair: &PairLogps, beta: f64, label_smoothing: f64) -> LossOutput {
    let z = beta * pair.margin();
    let keep = 1.0 - label_smoothing;
    let slope = beta * (keep * sigmoid(-z) - label_smoothing * sigmoid(z));
    let loss = keep * softplus(-z) + label_smoothing * softplus(z);
    LossOutput { loss, d_chosen: -slope, d_rejected: slope }
}

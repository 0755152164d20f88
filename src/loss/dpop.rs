//! DPO-Positive and, with lambda 0, DPO.
//!
//! DPOP: Pal et al., "Smaug: Fixing Failure Modes of Preference Optimisation with DPO-Positive",
//! arXiv 2402.13228 v2, Eq. 3. DPO: Rafailov et al., arXiv 2305.18290, Eq. 7.
//!
//! ```text
//! z        = beta * (rw - rl - lambda * max(0, -rw))
//! loss     = -log sigmoid(z) = softplus(-z)
//! dL/dlw   = -beta * sigmoid(-z) * (1 + lambda * [rw < 0])
//! dL/dll   = +beta * sigmoid(-z)
//! ```
//!
//! lambda stands inside beta and inside the sigmoid. The inequality is strict: at `rw == 0`, where every pair
//! stands before the first update, the penalty has no gradient (torch's `relu` does the same).

use super::logistic::{sigmoid, softplus};
use super::{LossOutput, PairLogps};

pub(super) fn evaluate(pair: &PairLogps, beta: f64, lambda: f64) -> LossOutput {
    let z = beta * (pair.margin() - lambda * pair.penalty());
    let slope = beta * sigmoid(-z);
    let penalised = if pair.chosen_ratio() < 0.0 { lambda } else { 0.0 };
    LossOutput { loss: softplus(-z), d_chosen: -slope * (1.0 + penalised), d_rejected: slope }
}

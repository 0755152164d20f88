//! Hinge loss on the margin, as in SLiC.
//!
//! Zhao et al., "SLiC-HF: Sequence Likelihood Calibration with Human Feedback", arXiv 2305.10425, on
//! log-ratios as in Liu et al., arXiv 2309.06657 (RSO), Eq. 10.
//!
//! ```text
//! loss   = max(0, 1 - beta * (rw - rl))
//! dL/dlw = -beta * [beta * (rw - rl) < 1] = -dL/dll
//! ```

use super::{LossOutput, PairLogps};

pub(super) fn evaluate(pair: &PairLogps, beta: f64) -> LossOutput {
    let distance = 1.0 - beta * pair.margin();
    let slope = if distance > 0.0 { beta } else { 0.0 };
    LossOutput { loss: distance.max(0.0), d_chosen: -slope, d_rejected: slope }
}

//! Supervised fine-tuning on the chosen completion: its negative log-likelihood, summed over tokens.
//!
//! ```text
//! loss = -lw,   dL/dlw = -1,   dL/dll = 0
//! ```

use super::{LossOutput, PairLogps};

pub(super) fn evaluate(pair: &PairLogps) -> LossOutput {
    LossOutput { loss: -pair.chosen, d_chosen: -1.0, d_rejected: 0.0 }
}

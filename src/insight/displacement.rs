//! Scores of one pair, known before training, for how strongly plain DPO pushes its chosen answer down.

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Length-normalised CHES, the centered hidden embedding similarity of Razin et al., "Unintentional Unalignment",
/// arXiv 2410.08847, Definition 2:
///
/// ```text
/// <mean h(chosen), mean h(rejected)> - |mean h(chosen)|^2
/// ```
///
/// over the hidden states from which the answer's tokens are predicted. The higher, the more alike the answers are to the
/// model, and the more of the push against the rejected one falls on the chosen one.
pub fn ches(chosen_mean: &[f64], rejected_mean: &[f64]) -> f64 {
    dot(chosen_mean, rejected_mean) - dot(chosen_mean, chosen_mean)
}

/// Inner product.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Tokens that DPO pushes the wrong way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongWay {
    /// Tokens of the chosen answer behind the first difference that the rejected answer has as well.
    pub compared: usize,
    /// Those of them that are more likely in the chosen answer than in the rejected one.
    pub tokens: usize,
}

impl WrongWay {
    /// `None` where the answers have nothing in common behind their first difference.
    pub fn share(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.tokens as f64 / self.compared as f64)
    }

    /// Counts the tokens `t` behind the first difference with `p(t | chosen prefix) > p(t | rejected prefix)`.
    ///
    /// Pal et al., arXiv 2402.13228 v2, Eq. 2 and the discussion of it: where a token stands in both answers, DPO's gradient
    /// by its logit is proportional to `p(t | rejected prefix) - p(t | chosen prefix)`. It should raise the token, and lowers
    /// it where the correct prefix makes it more likely, which is the rule. The paper takes answers that differ in one token;
    /// for others the tokens are matched by a longest common subsequence.
    pub fn of(chosen: (&[u32], &[f32]), rejected: (&[u32], &[f32])) -> WrongWay {
        let ((chosen_ids, chosen_logps), (rejected_ids, rejected_logps)) = (chosen, rejected);
        let first = chosen_ids.iter().zip(rejected_ids).take_while(|(a, b)| a == b).count();
        let (a, b) = (&chosen_ids[first..], &rejected_ids[first..]);
        let mut found = WrongWay::default();
        for operation in capture_diff_slices(Algorithm::Myers, a, b) {
            let DiffOp::Equal { old_index, new_index, len } = operation else { continue };
            let own = chosen_logps.iter().skip(first + old_index);
            let other = rejected_logps.iter().skip(first + new_index);
            for (own, other) in own.zip(other).take(len) {
                found.compared += 1;
                found.tokens += usize::from(own > other);
            }
        }
        found
    }
}

/// Mean surprise (nats) of the chosen answer's tokens from the first difference on: `-mean log p`.
///
/// The gradient of a token's log-probability by its logit is `1 - p`: a token of which the model is certain hardly moves,
/// whatever the loss wants. So the pairs whose tokens still have room are the first to fall.
pub fn surprise(chosen_logps: &[f32], first_difference: usize) -> f64 {
    let tokens = chosen_logps.get(first_difference..).unwrap_or_default();
    let sum: f64 = tokens.iter().map(|&logp| f64::from(logp)).sum();
    // `+ 0.0` turns -0 into 0.
    -sum / tokens.len().max(1) as f64 + 0.0
}

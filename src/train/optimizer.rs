//! AdamW on one flat buffer, and gradient clipping; both as torch does them.

use rayon::prelude::*;

use super::state::ArmState;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
const CHUNK: usize = 1 << 14;

/// Euclidean norm of all gradients together, summed in f64 in a fixed order.
pub fn global_norm(grads: &[f32]) -> f64 {
    let parts: Vec<f64> = grads
        .par_chunks(CHUNK)
        .map(|chunk| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum())
        .collect();
    parts.iter().sum::<f64>().sqrt()
}

/// Scales `grads` so that their global norm is at most `limit` (torch's `clip_grad_norm_`).
pub fn clip(grads: &mut [f32], norm: f64, limit: f64) {
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 {
        grads.par_iter_mut().with_min_len(CHUNK).for_each(|g| *g *= factor as f32);
    }
}

/// What one more update in the optimiser's present direction would add to a function with this gradient, to first order:
/// `-lr <gradient, m / sqrt(v)>` with the bias-corrected moments after `step` updates. 0 before the first.
pub fn heading(arm: &ArmState, gradient: &[f32], step: usize, lr: f64) -> f64 {
    let step = i32::try_from(step).unwrap_or(i32::MAX);
    let correction1 = 1.0 - BETA1.powi(step);
    let root2 = (1.0 - BETA2.powi(step)).sqrt();
    if step == 0 {
        return 0.0;
    }
    let moments = arm.first_moment.iter().zip(&arm.second_moment);
    let along = gradient
        .iter()
        .zip(moments)
        .map(|(&g, (&m, &v))| f64::from(g) * f64::from(m) / (f64::from(v).sqrt() / root2 + EPS));
    -lr / correction1 * along.sum::<f64>()
}

/// Decoupled weight decay (arXiv 1711.05101), update number `step` counted from 1.
pub fn adamw(arm: &mut ArmState, grads: &[f32], step: usize, lr: f64, weight_decay: f64) {
    let step = i32::try_from(step).unwrap_or(i32::MAX);
    let correction1 = 1.0 - BETA1.powi(step);
    let root2 = (1.0 - BETA2.powi(step)).sqrt() as f32;
    let rate = (lr / correction1) as f32;
    let decay = (1.0 - lr * weight_decay) as f32;
    let (b1, b2) = ((1.0 - BETA1) as f32, BETA2 as f32);
    let rest2 = (1.0 - BETA2) as f32;
    let values = arm.adapter.values.par_chunks_mut(CHUNK);
    let moments =
        arm.first_moment.par_chunks_mut(CHUNK).zip(arm.second_moment.par_chunks_mut(CHUNK));
    values.zip(moments).zip(grads.par_chunks(CHUNK)).for_each(|((values, (m, v)), grads)| {
        for (((p, m), v), &g) in values.iter_mut().zip(m).zip(v).zip(grads) {
            *m += (g - *m) * b1;
            *v = *v * b2 + rest2 * g * g;
            *p = *p * decay - rate * (*m / (v.sqrt() / root2 + EPS as f32));
        }
    });
}

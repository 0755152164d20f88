//! Gated activations: `act(gate) * up`.

use rayon::prelude::*;

use super::elementwise::GRAIN;
use super::simd::{exp, vectorized};
use crate::kernels::Activation;

/// A gate's `s`, with `act(g) = g s(g)`, and `u'`, where `s = sigmoid(u(g))`.
trait Gate {
    fn sigmoid(g: f32) -> (f32, f32);
}

struct Silu;

impl Gate for Silu {
    #[inline(always)]
    fn sigmoid(g: f32) -> (f32, f32) {
        (1.0 / (1.0 + exp(-g)), 1.0)
    }
}

/// `(1 + tanh z) / 2` is `sigmoid(2 z)`.
struct GeluTanh;

impl Gate for GeluTanh {
    #[inline(always)]
    fn sigmoid(g: f32) -> (f32, f32) {
        const SCALE: f32 = 1.595_769; // 2 sqrt(2 / pi)
        const CUBE: f32 = 0.044_715;
        let square = g * g;
        let u = SCALE * g * (1.0 + CUBE * square);
        (1.0 / (1.0 + exp(-u)), SCALE * (1.0 + 3.0 * CUBE * square))
    }
}

pub fn forward(gate: &[f32], up: &[f32], activation: Activation) -> Vec<f32> {
    match activation {
        Activation::Silu => forward_of::<Silu>(gate, up),
        Activation::GeluTanh => forward_of::<GeluTanh>(gate, up),
    }
}

fn forward_of<G: Gate>(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    let tasks = out.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN));
    tasks.for_each(|((out, gate), up)| {
        vectorized(|| {
            for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                *o = g * G::sigmoid(g).0 * u;
            }
        });
    });
    out
}

pub fn backward(
    gate: &[f32],
    up: &[f32],
    dy: &[f32],
    activation: Activation,
) -> (Vec<f32>, Vec<f32>) {
    match activation {
        Activation::Silu => backward_of::<Silu>(gate, up, dy),
        Activation::GeluTanh => backward_of::<GeluTanh>(gate, up, dy),
    }
}

/// `dg = dy u s (1 + g (1 - s) u')`, `du = dy g s`.
fn backward_of<G: Gate>(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut dgate = vec![0.0; gate.len()];
    let mut dup = vec![0.0; gate.len()];
    let outs = dgate.par_chunks_mut(GRAIN).zip(dup.par_chunks_mut(GRAIN));
    let ins = gate.par_chunks(GRAIN).zip(up.par_chunks(GRAIN)).zip(dy.par_chunks(GRAIN));
    outs.zip(ins).for_each(|((dgate, dup), ((gate, up), dy))| {
        vectorized(|| {
            let ins = gate.iter().zip(up).zip(dy);
            for ((dg, du), ((&g, &u), &y)) in dgate.iter_mut().zip(dup).zip(ins) {
                let (s, slope) = G::sigmoid(g);
                *dg = y * u * s * (1.0 + g * (1.0 - s) * slope);
                *du = y * g * s;
            }
        });
    });
    (dgate, dup)
}

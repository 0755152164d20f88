//! Norms, rotary embedding, dropout: row loops on all cores.

use rayon::prelude::*;

use super::simd::{dot, sum2, vectorized};
use crate::kernels::hash;

/// Floats a task takes at least, so that small tensors do not pay for threads.
pub const GRAIN: usize = 16 * 1024;

fn rows_per_task(width: usize) -> usize {
    GRAIN.div_ceil(width.max(1))
}

pub fn rms(x: &[f32], weight: &[f32], d: usize, eps: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let rows = rows_per_task(d);
    out.par_chunks_mut(rows * d).zip(x.par_chunks(rows * d)).for_each(|(out, x)| {
        vectorized(|| {
            for (out, x) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                let r = 1.0 / (dot(x, x) / d as f32 + eps).sqrt();
                for ((o, &v), &w) in out.iter_mut().zip(x).zip(weight) {
                    *o = v * r * w;
                }
            }
        });
    });
    out
}

/// With `r = 1 / sqrt(mean(x^2) + eps)`: `dx = r w dy - x r^3 mean(w dy x)`.
pub fn rms_backward(x: &[f32], weight: &[f32], dy: &[f32], d: usize, eps: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let rows = rows_per_task(d);
    let tasks = out.par_chunks_mut(rows * d).zip(x.par_chunks(rows * d));
    tasks.zip(dy.par_chunks(rows * d)).for_each(|((out, x), dy)| {
        vectorized(|| {
            let lines = out.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d));
            for ((out, x), dy) in lines {
                let r = 1.0 / (dot(x, x) / d as f32 + eps).sqrt();
                for ((o, &g), &w) in out.iter_mut().zip(dy).zip(weight) {
                    *o = g * w;
                }
                let shared = r * r * r * sum2(out, x, |g, v| g * v) / d as f32;
                for (o, &v) in out.iter_mut().zip(x) {
                    *o = *o * r - v * shared;
                }
            }
        });
    });
    out
}

/// Channels of a head, and how many pairs of them turn.
#[derive(Clone, Copy)]
pub struct Head {
    pub dim: usize,
    pub half: usize,
}

pub fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32], heads: usize, head: Head, inverse: bool) {
    let Head { dim, half } = head;
    let width = heads * dim;
    let sign = if inverse { -1.0 } else { 1.0 };
    let rows = rows_per_task(width);
    let tables = cos.par_chunks(rows * half).zip(sin.par_chunks(rows * half));
    x.par_chunks_mut(rows * width).zip(tables).for_each(|(x, (cos, sin))| {
        vectorized(|| {
            let tables = cos.chunks_exact(half).zip(sin.chunks_exact(half));
            for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(tables) {
                for head in row.chunks_exact_mut(dim) {
                    let (first, second) = head.split_at_mut(half);
                    let pairs = first.iter_mut().zip(second);
                    for ((a, b), (&c, &s)) in pairs.zip(cos.iter().zip(sin)) {
                        let s = sign * s;
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
            }
        });
    });
}

pub fn columns(x: &[f32], width: usize, first: usize, count: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / width.max(1) * count];
    let rows = rows_per_task(count);
    out.par_chunks_mut(rows * count).zip(x.par_chunks(rows * width)).for_each(|(out, x)| {
        for (out, x) in out.chunks_exact_mut(count).zip(x.chunks_exact(width)) {
            out.copy_from_slice(&x[first..first + count]);
        }
    });
    out
}

pub fn combine_rows(
    rows: &[f32],
    weights: &[f32],
    map: &[i32],
    slots: usize,
    d: usize,
) -> Vec<f32> {
    let mut out = vec![0.0; map.len() / slots * d];
    let tokens = out.par_chunks_mut(d).zip(map.par_chunks(slots));
    tokens.with_min_len(GRAIN.div_ceil(d)).for_each(|(out, own)| {
        for &row in own {
            let Ok(row) = usize::try_from(row) else { continue };
            let weight = weights[row];
            for (o, &v) in out.iter_mut().zip(&rows[row * d..(row + 1) * d]) {
                *o += weight * v;
            }
        }
    });
    out
}

pub fn dropout(x: &[f32], probability: f32, seed: u32) -> Vec<f32> {
    let keep = 1.0 / (1.0 - probability);
    x.par_iter()
        .with_min_len(GRAIN)
        .enumerate()
        .map(|(i, &v)| {
            let uniform = (hash(i as u32, seed) >> 8) as f32 / (1u32 << 24) as f32;
            if uniform < probability { 0.0 } else { v * keep }
        })
        .collect()
}

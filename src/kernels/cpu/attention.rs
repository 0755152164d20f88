//! Causal attention over packed rows, a block of queries at a time; rows and heads run in parallel.

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

use super::matmul::{View, gemm_view};
use super::simd::{dot, exp, exp_shifted, max, softcap, vectorized};
use crate::kernels::{AttentionSpec, SPAN_COLUMNS};

/// Queries handled together: their scores stay in the cache.
const BLOCK: usize = 64;

/// Tokens that see the same keys before their own run: a shared prefix or one answer's tail.
struct Group {
    /// Keys seen whole: the shared prefix (empty for the prefix itself).
    prefix: Range<usize>,
    /// The first key behind the prefix; each query sees those from here up to its own.
    own: usize,
    queries: Range<usize>,
    /// Position of the first query: it sees so many keys and its own.
    position: usize,
}

/// One packed pair, or one sequence with a cache: tokens that may see each other.
pub struct Row {
    /// The first key.
    start: usize,
    /// The row's tokens as queries. Where no keys are cached, the same numbers name them as keys.
    tokens: Range<usize>,
    groups: Vec<Group>,
}

/// Reads the span table `[N, SPAN_COLUMNS]` back into rows and groups.
pub fn rows(table: &[i32]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (i, span) in table.chunks_exact(SPAN_COLUMNS).enumerate() {
        let [start, prefix_end, own, position] = [0, 1, 2, 4].map(|column| span[column] as usize);
        if rows.last().is_none_or(|row| row.start != start) {
            rows.push(Row { start, tokens: i..i, groups: Vec::new() });
        }
        let Some(row) = rows.last_mut() else { continue };
        row.tokens.end = i + 1;
        match row.groups.last_mut() {
            Some(group) if group.own == own => group.queries.end = i + 1,
            _ => row.groups.push(Group {
                prefix: start..prefix_end,
                own,
                queries: i..i + 1,
                position,
            }),
        }
    }
    rows
}

/// One block of queries of one group.
struct Block<'a> {
    group: &'a Group,
    queries: Range<usize>,
}

impl Block<'_> {
    /// Keys that any query of the block may see.
    fn keys(&self) -> usize {
        self.group.position + self.queries.end - self.group.queries.start
    }

    /// The columns that query `i` sees; prefix and own keys are consecutive positions.
    fn visible(&self, i: usize, window: Option<usize>) -> Range<usize> {
        let end = self.group.position + i - self.group.queries.start + 1;
        window.map_or(0, |w| end.saturating_sub(w))..end
    }
}

fn blocks(row: &Row) -> impl Iterator<Item = Block<'_>> {
    row.groups.iter().flat_map(|group| {
        group.queries.clone().step_by(BLOCK).map(move |start| Block {
            group,
            queries: start..(start + BLOCK).min(group.queries.end),
        })
    })
}

/// Columns `head * head_dim ..` of a `[N, width]` buffer.
#[derive(Clone, Copy)]
struct Head<'a> {
    values: &'a [f32],
    width: usize,
    offset: usize,
}

impl<'a> Head<'a> {
    fn new(values: &'a [f32], heads: usize, head: usize, head_dim: usize) -> Self {
        Head { values, width: heads * head_dim, offset: head * head_dim }
    }

    fn from(self, token: usize) -> View<'a> {
        let start = (token * self.width + self.offset).min(self.values.len());
        View { values: &self.values[start..], stride: self.width, transposed: false }
    }

    fn transposed(self, token: usize) -> View<'a> {
        View { transposed: true, ..self.from(token) }
    }

    fn token(self, token: usize, head_dim: usize) -> &'a [f32] {
        &self.values[token * self.width + self.offset..][..head_dim]
    }
}

/// `out [queries, keys] = alpha a b^T`, prefix keys first, then own keys.
fn against_keys(out: &mut [f32], block: &Block, a: Head, b: Head, head_dim: usize, alpha: f32) {
    let (rows, keys, shared) = (block.queries.len(), block.keys(), block.group.prefix.len());
    let a = a.from(block.queries.start);
    let none = Parallelism::None;
    let prefix = b.transposed(block.group.prefix.start);
    gemm_view(out, keys, [rows, shared, head_dim], a, prefix, alpha, false, none);
    let own = b.transposed(block.group.own);
    let size = [rows, keys - shared, head_dim];
    gemm_view(&mut out[shared..], keys, size, a, own, alpha, false, none);
}

/// `out [queries, head_dim] = weights values` over prefix and own keys; weights `[queries, keys]`.
fn mix(out: &mut [f32], block: &Block, weights: &[f32], values: Head, head_dim: usize) {
    let (rows, keys, shared) = (block.queries.len(), block.keys(), block.group.prefix.len());
    let none = Parallelism::None;
    let prefix = View { values: weights, stride: keys, transposed: false };
    let own = View { values: &weights[shared..], stride: keys, transposed: false };
    let table = values.from(block.group.prefix.start);
    if shared > 0 {
        gemm_view(out, head_dim, [rows, head_dim, shared], prefix, table, 1.0, false, none);
    }
    let table = values.from(block.group.own);
    gemm_view(out, head_dim, [rows, head_dim, keys - shared], own, table, 1.0, shared > 0, none);
}

/// Adds `weights^T a` to the rows of `out` (row-local) that belong to the block's keys.
fn spread(out: &mut [f32], first: usize, block: &Block, weights: &[f32], a: Head, head_dim: usize) {
    let (rows, keys, shared) = (block.queries.len(), block.keys(), block.group.prefix.len());
    let none = Parallelism::None;
    let a = a.from(block.queries.start);
    let prefix = View { values: weights, stride: keys, transposed: true };
    let own = View { values: &weights[shared..], stride: keys, transposed: true };
    if shared > 0 {
        let dst = &mut out[(block.group.prefix.start - first) * head_dim..];
        gemm_view(dst, head_dim, [shared, head_dim, rows], prefix, a, 1.0, true, none);
    }
    let dst = &mut out[(block.group.own - first) * head_dim..];
    gemm_view(dst, head_dim, [keys - shared, head_dim, rows], own, a, 1.0, true, none);
}

/// q `[n, heads * head_dim]`, k and v `[m, kv_heads * head_dim]` -> output like q, log-sum-exp `[n, heads]`.
pub fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    rows: &[Row],
    n: usize,
    spec: AttentionSpec,
) -> (Vec<f32>, Vec<f32>) {
    let d = spec.head_dim;
    let tasks: Vec<(&Row, usize)> =
        rows.iter().flat_map(|row| (0..spec.heads).map(move |head| (row, head))).collect();
    let results: Vec<(Vec<f32>, Vec<f32>)> =
        tasks.par_iter().map(|&(row, head)| forward_head(q, k, v, row, head, spec)).collect();
    let mut out = vec![0.0; n * spec.heads * d];
    let mut lse = vec![0.0; n * spec.heads];
    for (&(row, head), (values, sums)) in tasks.iter().zip(&results) {
        scatter(&mut out, values, row, spec.heads, head, d);
        scatter(&mut lse, sums, row, spec.heads, head, 1);
    }
    (out, lse)
}

/// Copies a row's `[tokens, d]` block into columns `head * d ..` of `[n, heads * d]`.
fn scatter(out: &mut [f32], values: &[f32], row: &Row, heads: usize, head: usize, d: usize) {
    for (token, value) in row.tokens.clone().zip(values.chunks_exact(d)) {
        out[(token * heads + head) * d..][..d].copy_from_slice(value);
    }
}

fn forward_head(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    row: &Row,
    head: usize,
    spec: AttentionSpec,
) -> (Vec<f32>, Vec<f32>) {
    let d = spec.head_dim;
    let kv_head = head / (spec.heads / spec.kv_heads);
    let q = Head::new(q, spec.heads, head, d);
    let k = Head::new(k, spec.kv_heads, kv_head, d);
    let v = Head::new(v, spec.kv_heads, kv_head, d);
    let mut out = vec![0.0; row.tokens.len() * d];
    let mut lse = vec![0.0; row.tokens.len()];
    let mut scores = Vec::new();
    for block in blocks(row) {
        let keys = block.keys();
        scores.clear();
        scores.resize(block.queries.len() * keys, 0.0);
        against_keys(&mut scores, &block, q, k, d, spec.scale);
        let local = block.queries.start - row.tokens.start;
        vectorized(|| {
            for (i, scores) in block.queries.clone().zip(scores.chunks_exact_mut(keys)) {
                let visible = block.visible(i, spec.window);
                scores[..visible.start].fill(0.0);
                scores[visible.end..].fill(0.0);
                let seen = &mut scores[visible];
                if let Some(cap) = spec.softcap {
                    seen.iter_mut().for_each(|score| *score = softcap(*score, cap).0);
                }
                let top = max(seen);
                let sum = exp_shifted(seen, top);
                let factor = 1.0 / sum;
                seen.iter_mut().for_each(|p| *p *= factor);
                lse[i - row.tokens.start] = top + sum.ln();
            }
        });
        mix(&mut out[local * d..], &block, &scores, v, d);
    }
    (out, lse)
}

/// The tensors [`forward`] saw and made, and the output's gradient.
pub struct Given<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub out: &'a [f32],
    pub lse: &'a [f32],
    pub dout: &'a [f32],
}

/// Gradients of one row by the heads that share one key/value head.
struct RowGrads {
    /// `[heads / kv_heads]` blocks of `[tokens, head_dim]`.
    dq: Vec<Vec<f32>>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

/// Gradients by q, k and v, shaped like them.
pub fn backward(
    given: &Given,
    rows: &[Row],
    n: usize,
    spec: AttentionSpec,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let d = spec.head_dim;
    let tasks: Vec<(&Row, usize)> =
        rows.iter().flat_map(|row| (0..spec.kv_heads).map(move |head| (row, head))).collect();
    let results: Vec<RowGrads> =
        tasks.par_iter().map(|&(row, kv_head)| backward_heads(given, row, kv_head, spec)).collect();
    let mut dq = vec![0.0; n * spec.heads * d];
    let mut dk = vec![0.0; n * spec.kv_heads * d];
    let mut dv = vec![0.0; n * spec.kv_heads * d];
    let shared = spec.heads / spec.kv_heads;
    for (&(row, kv_head), grads) in tasks.iter().zip(&results) {
        for (i, values) in grads.dq.iter().enumerate() {
            scatter(&mut dq, values, row, spec.heads, kv_head * shared + i, d);
        }
        scatter(&mut dk, &grads.dk, row, spec.kv_heads, kv_head, d);
        scatter(&mut dv, &grads.dv, row, spec.kv_heads, kv_head, d);
    }
    (dq, dk, dv)
}

fn backward_heads(given: &Given, row: &Row, kv_head: usize, spec: AttentionSpec) -> RowGrads {
    let d = spec.head_dim;
    let shared = spec.heads / spec.kv_heads;
    let (first, tokens) = (row.tokens.start, row.tokens.len());
    let k = Head::new(given.k, spec.kv_heads, kv_head, d);
    let v = Head::new(given.v, spec.kv_heads, kv_head, d);
    let (mut dk, mut dv) = (vec![0.0; tokens * d], vec![0.0; tokens * d]);
    let mut dq = Vec::with_capacity(shared);
    let (mut probs, mut dscores) = (Vec::new(), Vec::new());
    for head in kv_head * shared..(kv_head + 1) * shared {
        let q = Head::new(given.q, spec.heads, head, d);
        let out = Head::new(given.out, spec.heads, head, d);
        let dout = Head::new(given.dout, spec.heads, head, d);
        let mut dq_head = vec![0.0; tokens * d];
        for block in blocks(row) {
            let keys = block.keys();
            probs.clear();
            probs.resize(block.queries.len() * keys, 0.0);
            dscores.clear();
            dscores.resize(block.queries.len() * keys, 0.0);
            against_keys(&mut probs, &block, q, k, d, spec.scale);
            against_keys(&mut dscores, &block, dout, v, d, 1.0);
            vectorized(|| {
                let lines = probs.chunks_exact_mut(keys).zip(dscores.chunks_exact_mut(keys));
                for (i, (probs, dscores)) in block.queries.clone().zip(lines) {
                    let visible = block.visible(i, spec.window);
                    let lse = given.lse[i * spec.heads + head];
                    let delta = dot(out.token(i, d), dout.token(i, d));
                    finish_row(probs, dscores, visible, lse, delta, spec);
                }
            });
            spread(&mut dv, first, &block, &probs, dout, d);
            spread(&mut dk, first, &block, &dscores, q, d);
            let local = block.queries.start - first;
            mix(&mut dq_head[local * d..], &block, &dscores, k, d);
        }
        dq.push(dq_head);
    }
    RowGrads { dq, dk, dv }
}

/// Scores and `dout v^T` of one query to probabilities and score gradients; hidden keys get zero.
#[inline(always)]
fn finish_row(
    probs: &mut [f32],
    dscores: &mut [f32],
    visible: Range<usize>,
    lse: f32,
    delta: f32,
    spec: AttentionSpec,
) {
    for line in [&mut *probs, &mut *dscores] {
        line[..visible.start].fill(0.0);
        line[visible.end..].fill(0.0);
    }
    let pairs = probs[visible.clone()].iter_mut().zip(&mut dscores[visible]);
    let Some(cap) = spec.softcap else {
        for (p, ds) in pairs {
            *p = exp(*p - lse);
            *ds = *p * (*ds - delta) * spec.scale;
        }
        return;
    };
    for (p, ds) in pairs {
        let (score, slope) = softcap(*p, cap);
        *p = exp(score - lse);
        *ds = *p * (*ds - delta) * slope * spec.scale;
    }
}

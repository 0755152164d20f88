//! Products with quantised weights: a panel of rows is decoded at a time, so that the whole matrix never exists.

use gemm::Parallelism;
use rayon::prelude::*;

use super::matmul::{FEW_ROWS, Rows, View, few_rows, gemm_view};
use super::simd::vectorized;
use crate::kernels::QuantSpec;
use crate::quant::decode_rows;

/// Floats of one decoded panel (2 MiB): it stays in the cache between decoding and use.
const PANEL: usize = 512 << 10;

/// A quantised matrix's words.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    pub codes: &'a [u32],
    pub scales: &'a [u32],
    pub spec: QuantSpec,
}

impl Words<'_> {
    /// Decodes `out.len() / cols` rows from row `first` on, on all cores.
    fn decode(&self, first: usize, out: &mut [f32]) {
        let cols = self.spec.cols;
        let rows = out.par_chunks_mut(cols).enumerate().with_min_len(8);
        rows.for_each(|(i, out)| self.decode_here(first + i, out));
    }

    /// [`Self::decode`] on the calling thread.
    fn decode_here(&self, first: usize, out: &mut [f32]) {
        let QuantSpec { format, cols, .. } = self.spec;
        let (code_words, scale_words) = (format.code_words(cols), format.scale_words(cols));
        let codes = &self.codes[first * code_words..];
        let scales = &self.scales[first * scale_words..];
        vectorized(|| decode_rows(codes, scales, format, cols, out));
    }
}

/// `x W^T` `[n, rows]` for x `[n, cols]`; `transposed`: `x W` `[n, cols]` for x `[n, rows]`.
pub fn matmul(x: &[f32], n: usize, words: Words, transposed: bool) -> Vec<f32> {
    let QuantSpec { rows, cols, .. } = words.spec;
    let mut out = vec![0.0; n * if transposed { cols } else { rows }];
    if !transposed && n <= FEW_ROWS && cols > 0 {
        let decoded = |first: usize, out: &mut [f32]| words.decode_here(first, out);
        few_rows(&mut out, x, Rows::Decoded(&decoded), [n, rows, cols], 1.0, false);
        return out;
    }
    let at_once = (PANEL / cols.max(1)).clamp(1, rows.max(1));
    let mut panel = vec![0.0; at_once * cols];
    for first in (0..rows).step_by(at_once) {
        let count = at_once.min(rows - first);
        let panel = &mut panel[..count * cols];
        words.decode(first, panel);
        let all = Parallelism::Rayon(0);
        let w = View { values: panel, stride: cols, transposed: !transposed };
        if transposed {
            let x = View { values: &x[first..], stride: rows, transposed: false };
            gemm_view(&mut out, cols, [n, cols, count], x, w, 1.0, first > 0, all);
        } else {
            let x = View { values: x, stride: cols, transposed: false };
            gemm_view(&mut out[first..], rows, [n, count, cols], x, w, 1.0, false, all);
        }
    }
    out
}

/// The rows `ids` name, `[ids, cols]`; zeros for an id outside the matrix.
pub fn rows(words: Words, ids: &[i32]) -> Vec<f32> {
    let cols = words.spec.cols;
    let mut out = vec![0.0; ids.len() * cols];
    for (out, &id) in out.chunks_exact_mut(cols.max(1)).zip(ids) {
        let Some(row) = usize::try_from(id).ok().filter(|&row| row < words.spec.rows) else {
            continue;
        };
        words.decode(row, out);
    }
    out
}

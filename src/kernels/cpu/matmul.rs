//! f32 matrix products through the `gemm` crate, on all cores.

use gemm::Parallelism;
use rayon::prelude::*;

/// Sizes of `op(a) op(b)`: `[m, k] x [k, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    ta: bool,
    tb: bool,
}

impl Dims {
    /// From the stored shapes of `a` and `b`.
    pub fn of(a: (usize, usize), b: (usize, usize), ta: bool, tb: bool) -> Self {
        let (m, k) = if ta { (a.1, a.0) } else { a };
        let (kb, n) = if tb { (b.1, b.0) } else { b };
        assert_eq!(k, kb, "inner sizes of a matrix product differ");
        Dims { m, n, k, ta, tb }
    }
}

/// A view into a row-major buffer: `stride` floats from row to row.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    /// Read as its transpose.
    pub transposed: bool,
}

impl View<'_> {
    fn strides(&self) -> (isize, isize) {
        let stride = self.stride as isize;
        if self.transposed { (1, stride) } else { (stride, 1) }
    }

    /// The last float that an `rows x cols` product operand reads.
    fn covers(&self, rows: usize, cols: usize) -> bool {
        let (r, c) = if self.transposed { (cols, rows) } else { (rows, cols) };
        r == 0 || c == 0 || (r - 1) * self.stride + c <= self.values.len()
    }
}

/// Rows of `a` up to which a product with a transposed matrix is a walk over that matrix, as in text generation: `gemm`
/// would copy the matrix into its own order first, which costs more than the product.
pub const FEW_ROWS: usize = 16;

/// Floats of `b` in one task (256 KiB): they stay in the cache while every row of `a` meets them.
const TASK: usize = 64 << 10;

/// `dst = alpha op(a) op(b)`, or `dst + alpha op(a) op(b)` with `accumulate`; dst `[m, n]`.
pub fn gemm(dst: &mut [f32], a: &[f32], b: &[f32], dims: Dims, alpha: f32, accumulate: bool) {
    if (1..=FEW_ROWS).contains(&dims.m) && !dims.ta && dims.tb && dims.k > 0 {
        return few_rows(dst, a, Rows::Stored(b), [dims.m, dims.n, dims.k], alpha, accumulate);
    }
    let a = View { values: a, stride: if dims.ta { dims.m } else { dims.k }, transposed: dims.ta };
    let b = View { values: b, stride: if dims.tb { dims.k } else { dims.n }, transposed: dims.tb };
    let size = [dims.m, dims.n, dims.k];
    gemm_view(dst, dims.n, size, a, b, alpha, accumulate, Parallelism::Rayon(0));
}

/// A matrix `[n, k]`, a few rows at a time.
pub enum Rows<'a> {
    Stored(&'a [f32]),
    /// Writes rows from the given one on.
    Decoded(&'a (dyn Fn(usize, &mut [f32]) + Sync)),
}

/// `dst = alpha a b^T`, or `dst + alpha a b^T` with `accumulate`, for a `[m, k]` and b `[n, k]`: a block of `b`'s rows at
/// a time comes from memory and meets all rows of `a`.
pub fn few_rows(
    dst: &mut [f32],
    a: &[f32],
    b: Rows,
    [m, n, k]: [usize; 3],
    alpha: f32,
    accumulate: bool,
) {
    let block = (TASK / k).max(1);
    let mut products = vec![0.0; m * n]; // for each block [m, rows of the block]
    let tasks = products.par_chunks_mut(block * m).enumerate();
    tasks.for_each_init(Vec::new, |buffer, (task, products)| {
        let count = products.len() / m;
        let first = task * block;
        let values = match b {
            Rows::Stored(all) => &all[first * k..(first + count) * k],
            Rows::Decoded(decode) => {
                buffer.resize(count * k, 0.0);
                decode(first, buffer);
                buffer
            }
        };
        let b = View { values, stride: k, transposed: true };
        for (products, a) in products.chunks_exact_mut(count).zip(a.chunks_exact(k)) {
            let a = View { values: a, stride: k, transposed: false };
            gemm_view(products, count, [1, count, k], a, b, alpha, false, Parallelism::None);
        }
    });
    for (first, products) in (0..n).step_by(block).zip(products.chunks(block * m)) {
        let count = products.len() / m;
        for (i, products) in products.chunks_exact(count).enumerate() {
            let dst = &mut dst[i * n + first..][..count];
            for (value, product) in dst.iter_mut().zip(products) {
                *value = if accumulate { *value + product } else { *product };
            }
        }
    }
}

/// [`gemm`] on views; `dst_stride` floats from row to row of `dst`, size `[m, n, k]`.
#[expect(clippy::too_many_arguments, reason = "the signature of BLAS's sgemm")]
pub fn gemm_view(
    dst: &mut [f32],
    dst_stride: usize,
    [m, n, k]: [usize; 3],
    a: View,
    b: View,
    alpha: f32,
    accumulate: bool,
    parallelism: Parallelism,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * dst_stride + n <= dst.len(), "matrix product: destination too small");
    assert!(a.covers(m, k) && b.covers(k, n), "matrix product: operand too small");
    let (a_rs, a_cs) = a.strides();
    let (b_rs, b_cs) = b.strides();
    // SAFETY: the two assertions above bound every address that m, n, k and the strides reach.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            accumulate,
            a.values.as_ptr(),
            a_cs,
            a_rs,
            b.values.as_ptr(),
            b_cs,
            b_rs,
            1.0,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

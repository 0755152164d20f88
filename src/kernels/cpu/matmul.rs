//! f32 matrix products through the `gemm` crate, on all cores.

use gemm::Parallelism;

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

/// `dst = alpha op(a) op(b)`, or `dst + alpha op(a) op(b)` with `accumulate`; dst `[m, n]`.
pub fn gemm(dst: &mut [f32], a: &[f32], b: &[f32], dims: Dims, alpha: f32, accumulate: bool) {
    let a = View { values: a, stride: if dims.ta { dims.m } else { dims.k }, transposed: dims.ta };
    let b = View { values: b, stride: if dims.tb { dims.k } else { dims.n }, transposed: dims.tb };
    let size = [dims.m, dims.n, dims.k];
    gemm_view(dst, dims.n, size, a, b, alpha, accumulate, Parallelism::Rayon(0));
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

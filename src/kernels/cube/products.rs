//! Matrix products: burn's own, in pieces that keep submissions short; with decoded weights; from f16 factors.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;

use super::{contiguous, dims, launch, new_like, new_of};
use crate::kernels::pace::{self, Work};
use crate::kernels::{Arithmetic, DecoderOps, QuantSpec, shader};
use crate::quant::QuantFormat;

/// Bytes of a panel of decoded weights: below every adapter's binding limit, and few panels a matrix.
pub const DECODED_PANEL: usize = 64 << 20;

static AUTOTUNE: AtomicBool = AtomicBool::new(true);

/// Whether matrix products pick their kernel by measuring. Worth it on a GPU; on a software adapter it costs
/// seconds a shape.
pub fn set_autotune(on: bool) {
    AUTOTUNE.store(on, Ordering::Relaxed);
}

/// `a b` in f32; the factors may be f16.
fn product(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    let tuned = AUTOTUNE.load(Ordering::Relaxed);
    let strategy = if tuned { MatmulStrategy::default() } else { MatmulStrategy::Cube };
    match matmul(a.clone(), b.clone(), None, strategy, DType::F32) {
        Ok(out) => out,
        Err(_) => CubeBackend::float_cast(CubeBackend::float_matmul(a, b), FloatDType::F32),
    }
}

/// The matrix in f16.
pub(super) fn half(w: CubeTensor) -> CubeTensor {
    CubeBackend::float_cast(w, FloatDType::F16)
}

/// `x op(w)`, w in f16, sums in f32: see [`Arithmetic::F16`].
pub(super) fn half_product(x: CubeTensor, w: &CubeTensor, tb: bool) -> CubeTensor {
    let row = 2 * w.meta.shape().num_elements() as u64;
    in_rows(x, Work::Product, row, |x| {
        let [x] = contiguous([x]);
        let (n, d) = dims(&x);
        let (rows, factors) = (new_of(&x, [n, d], DType::F16), new_like(&x, [n, 1]));
        launch(shader::HALF_ROWS, n, &[&x, &rows, &factors], &[n as u32, d as u32]);
        CubeBackend::float_mul(product(rows, transposed(w.clone(), tb)), factors)
    })
}

fn transposed(tensor: CubeTensor, transpose: bool) -> CubeTensor {
    if transpose { CubeBackend::float_transpose(tensor) } else { tensor }
}

/// `op(a) op(b)`, in as many pieces of `a`'s rows as a short submission needs.
pub(super) fn paced_product(a: CubeTensor, b: CubeTensor, ta: bool, tb: bool) -> CubeTensor {
    let (k, m) = if tb { (dims(&b).1, dims(&b).0) } else { dims(&b) };
    let row = 2 * (k * m) as u64;
    if ta {
        pace::count(&a, Work::Product, row * dims(&a).1 as u64);
        return product(transposed(a, ta), transposed(b, tb));
    }
    in_rows(a, Work::Product, row, |a| product(a, transposed(b.clone(), tb)))
}

/// The codes of a matrix that is stored in f16, as the f16 tensor that they are; `None` for other formats and where rows
/// are padded.
pub(super) fn stored_half(codes: &CubeTensor, spec: QuantSpec) -> Option<CubeTensor> {
    (spec.format == QuantFormat::F16 && spec.cols.is_multiple_of(2)).then(|| {
        let (client, device) = (codes.client.clone(), codes.device.clone());
        let shape = Shape::new([spec.rows, spec.cols]);
        CubeTensor::new_contiguous(client, device, shape, codes.handle.clone(), DType::F16)
    })
}

/// `x W^T`, or `x W` where `transposed`, with panels of W decoded to f32: for many rows of x, where a decoded value serves
/// often and burn's products are faster than those that decode on the way.
pub(super) fn decoded_product(
    x: CubeTensor,
    codes: CubeTensor,
    scales: CubeTensor,
    spec: QuantSpec,
    transposed: bool,
    arithmetic: Arithmetic,
) -> CubeTensor {
    let n = dims(&x).0;
    let multiply = |x: CubeTensor, w: CubeTensor, tb: bool| match arithmetic {
        Arithmetic::F32 => paced_product(x, w, false, tb),
        Arithmetic::F16 => half_product(x, &half(w), tb),
    };
    let at_once = (DECODED_PANEL / (DType::F32.size() * spec.cols).max(1)).clamp(1, spec.rows);
    let mut parts = Vec::new();
    for first in (0..spec.rows).step_by(at_once) {
        let rows = first..spec.rows.min(first + at_once);
        let ids: Vec<i32> = (rows.start as i32..rows.end as i32).collect();
        let buffer = x.client.create_from_slice(bytemuck::cast_slice(&ids));
        let shape = Shape::new([ids.len()]);
        let (client, device) = (x.client.clone(), x.device.clone());
        let ids = CubeTensor::new_contiguous(client, device, shape, buffer, DType::I32);
        let w = CubeBackend::quantised_rows(codes.clone(), scales.clone(), ids, spec);
        if transposed {
            let x = burn_cubecl::kernel::slice(x.clone(), &[0..n, rows]);
            let part = multiply(into_contiguous(x), w, false);
            parts = match parts.pop() {
                Some(sum) => vec![CubeBackend::float_add(sum, part)],
                None => vec![part],
            };
        } else {
            parts.push(multiply(x.clone(), w, true));
        }
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => CubeBackend::float_cat(parts, 1),
    }
}

/// `compute` over pieces of `x`'s rows, each counted.
pub(super) fn in_rows(
    x: CubeTensor,
    work: Work,
    operations_a_row: u64,
    compute: impl Fn(CubeTensor) -> CubeTensor,
) -> CubeTensor {
    let (rows, width) = dims(&x);
    let at_once = pace::at_once(work, rows, operations_a_row);
    let part = |x: CubeTensor, rows: usize| {
        pace::count(&x, work, rows as u64 * operations_a_row);
        compute(x)
    };
    if at_once >= rows {
        return part(x, rows);
    }
    let parts = (0..rows).step_by(at_once).map(|first| {
        let range = first..rows.min(first + at_once);
        let count = range.len();
        part(into_contiguous(burn_cubecl::kernel::slice(x.clone(), &[range, 0..width])), count)
    });
    CubeBackend::float_cat(parts.collect(), 0)
}

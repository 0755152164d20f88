//! Do products in f16 round their factors and nothing else, whatever the size of a row? Does a whole step with them pass
//! the start-up test?

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use dpop_studio::kernels::{Arithmetic, HostMatrix, Weight};
use dpop_studio::quant::{QuantFormat, QuantMatrix};
use dpop_studio::worker::self_test;
use half::f16;

mod common;

/// The CPU's twin, and a GPU whose adapter has f16.
fn devices() -> Vec<Device> {
    std::iter::once(Device::flex()).chain(common::gpu_with_f16()).collect()
}

fn normal(count: usize, seed: u64) -> Vec<f32> {
    let cpu = Device::flex();
    cpu.seed(seed);
    let values = Tensor::<1>::random([count], Distribution::Normal(0.0, 1.0), &cpu);
    values.into_data().try_to_vec().unwrap()
}

/// Rows from 1e-30 to 1e30, as small gradients and large activations are, and one of zeros.
fn rows_of_all_sizes(n: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut values = normal(n * width, seed);
    for (i, row) in values.chunks_exact_mut(width).enumerate() {
        let size = if i == 5 { 0.0 } else { 10f32.powi((i as i32 * 7) % 61 - 30) };
        row.iter_mut().for_each(|value| *value *= size);
    }
    values
}

fn nearest(value: f64) -> f64 {
    f16::from_f64(value).to_f64()
}

/// `x op(w)` `[n, m]` in f64 with f16 factors, each row of x divided by a power of two that leaves its largest value between
/// 1 and 2.
fn want(x: &[f32], w: impl Fn(usize, usize) -> f32, [n, k, m]: [usize; 3]) -> Vec<f64> {
    let mut out = Vec::with_capacity(n * m);
    for row in x.chunks_exact(k) {
        let largest = row.iter().fold(0.0f64, |largest, v| largest.max(f64::from(v.abs())));
        let factor = if largest == 0.0 { 1.0 } else { 2f64.powf(largest.log2().floor()) };
        for j in 0..m {
            let terms = row.iter().enumerate();
            out.push(
                terms
                    .map(|(t, &v)| {
                        factor * nearest(f64::from(v) / factor) * nearest(f64::from(w(t, j)))
                    })
                    .sum(),
            );
        }
    }
    out
}

/// Row by row, because their sizes differ by sixty orders of magnitude.
#[track_caller]
fn close(what: &str, got: Tensor<2>, want: &[f64]) {
    let [_, width] = got.dims();
    let got: Vec<f32> = got.into_data().try_to_vec().unwrap();
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (got, want)) in got.chunks_exact(width).zip(want.chunks_exact(width)).enumerate() {
        let scale = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(i == 5 || scale > 0.0, "{what}: row {i} shows nothing");
        for (&got, &want) in got.iter().zip(want) {
            let off = (f64::from(got) - want).abs();
            assert!(off <= 2e-6 * scale, "{what}, row {i}: {got}, not {want}");
        }
    }
}

#[test]
fn the_factors_are_rounded_and_nothing_else() {
    let (n, rows, cols) = (70, 131, 100);
    let w: Vec<f32> = normal(rows * cols, 1).iter().map(|value| value * 0.05).collect();
    let (x, dy) = (rows_of_all_sizes(n, cols, 2), rows_of_all_sizes(n, rows, 3));
    for format in [None].into_iter().chain(QuantFormat::ALL.map(Some)) {
        let held =
            format.map_or(w.clone(), |format| QuantMatrix::encode(&w, rows, cols, format).decode());
        let y = want(&x, |k, m| held[m * cols + k], [n, cols, rows]);
        let dx = want(&dy, |m, k| held[m * cols + k], [n, rows, cols]);
        let row = format.map_or(4 * cols as u64, |format| format.bytes(1, cols));
        for device in devices() {
            let tensor = |values: &[f32], width| {
                Tensor::<2>::from_data(TensorData::new(values.to_vec(), [n, width]), &device)
            };
            for (limit, parts) in [(u64::MAX, "whole"), (40 * row, "in parts")] {
                let what = format!("{format:?} on {device:?}, {parts}");
                let weight = HostMatrix::encode(w.clone(), [rows, cols], format);
                let weight = Weight::upload(weight, limit, &device).computing_in(Arithmetic::F16);
                close(&what, weight.forward(&tensor(&x, cols)), &y);
                if parts == "whole" {
                    close(&what, weight.backward(&tensor(&dy, rows)), &dx);
                }
                // Few rows stay in f32, to the bit.
                let few = tensor(&x, cols).slice([0..3, 0..cols]);
                let full = weight.clone().computing_in(Arithmetic::F32);
                let (half, full) = (weight.forward(&few), full.forward(&few));
                half.into_data().assert_eq(&full.into_data(), true);
            }
        }
    }
}

/// The same comparison that every run in f16 begins with: gradients of a whole step against the CPU's twin.
#[test]
fn the_start_up_test_passes() {
    if let Some(gpu) = common::gpu_with_f16() {
        self_test::run(&gpu, "the adapter", Arithmetic::F16).unwrap();
    }
}

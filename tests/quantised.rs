//! Do the quantised products compute what the decoded matrix would, on the CPU and on a GPU, whole or in parts?
//! And is a block's error within what its format promises?

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use dpop_studio::kernels::{DECODED_PANEL, HostMatrix, Weight};
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::quant::{NF4, QuantFormat, QuantMatrix};

mod common;

fn devices() -> Vec<Device> {
    let mut devices = vec![Device::flex()];
    devices.extend(common::gpu());
    devices
}

fn normal(count: usize, seed: u64) -> Vec<f32> {
    let cpu = Device::flex();
    cpu.seed(seed);
    let values = Tensor::<1>::random([count], Distribution::Normal(0.0, 1.0), &cpu);
    values.into_data().try_to_vec().unwrap()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn matrix(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn upload(
    values: &[f32],
    shape: [usize; 2],
    format: Option<QuantFormat>,
    limit: u64,
    device: &Device,
) -> Weight {
    Weight::upload(HostMatrix::encode(values.to_vec(), shape, format), limit, device)
}

/// `a [n, k] b [k, m]` in f64.
fn product(a: &[f32], b: impl Fn(usize, usize) -> f32, [n, k, m]: [usize; 3]) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for i in 0..n {
        for j in 0..m {
            out[i * m + j] =
                (0..k).map(|t| f64::from(a[i * k + t]) * f64::from(b(t, j))).sum::<f64>();
        }
    }
    out
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let scale = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(scale > 0.1, "{what}: nothing to compare");
    for (i, (&a, &b)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(a) - b).abs() <= 2e-6 * scale, "{what}[{i}]: {a}, not {b}");
    }
}

/// Many rows at a time as in training, and few as in generation.
#[test]
fn products_are_those_of_the_decoded_matrix() {
    products(70);
    products(3);
}

fn products(n: usize) {
    // Rows and columns that fill no tile, no block and no word.
    let (rows, cols) = (131, 100);
    let w = normal(rows * cols, 1);
    let x = normal(n * cols, 2);
    let dy = normal(n * rows, 3);
    let base = normal(n * cols, 4);
    for format in QuantFormat::ALL {
        let decoded = QuantMatrix::encode(&w, rows, cols, format).decode();
        let y = product(&x, |k, m| decoded[m * cols + k], [n, cols, rows]);
        let dx = product(&dy, |m, k| decoded[m * cols + k], [n, rows, cols]);
        let sum: Vec<f64> = dx.iter().zip(&base).map(|(a, &b)| a + f64::from(b)).collect();
        for device in devices() {
            // One part, and parts of 40 rows with a shorter last one.
            for limit in [u64::MAX, format.bytes(40, cols)] {
                let what = format!("{} on {device:?}, limit {limit}", format.name());
                let weight = upload(&w, [rows, cols], Some(format), limit, &device);
                assert_eq!(weight.dims(), [rows, cols]);
                let x = matrix(&x, [n, cols], &device);
                let dy = matrix(&dy, [n, rows], &device);
                let base = matrix(&base, [n, cols], &device);
                close(&what, &values(weight.forward(&x)), &y);
                close(&what, &values(weight.backward(&dy)), &dx);
                close(&what, &values(weight.backward_add(&dy, Some(base))), &sum);
            }
        }
    }
}

/// A matrix of more than one panel of decoded weights.
#[test]
fn panels_add_up() {
    let Some(gpu) = common::gpu() else { return };
    let (n, rows, cols) = (65, 4200, 4100);
    assert!(4 * rows * cols > DECODED_PANEL);
    let w = normal(rows * cols, 1);
    let (x, dy) = (normal(n * cols, 2), normal(n * rows, 3));
    let products = |device: &Device| {
        let weight = upload(&w, [rows, cols], Some(QuantFormat::Bf16), u64::MAX, device);
        let x = matrix(&x, [n, cols], device);
        let dy = matrix(&dy, [n, rows], device);
        [values(weight.forward(&x)), values(weight.backward(&dy))]
    };
    for (got, want) in products(&gpu).iter().zip(products(&Device::flex())) {
        assert_eq!(got.len(), want.len());
        let scale = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Four thousand terms a sum, in another order.
        assert!(scale > 1.0 && worst < 2e-5 * scale, "off by {worst} of {scale}");
    }
}

#[test]
fn rows_are_looked_up_across_parts() {
    let (rows, cols) = (77, 36);
    let w = normal(rows * cols, 5);
    let ids = [0i32, 76, 39, 40, 3, 3];
    for format in [None].into_iter().chain(QuantFormat::ALL.map(Some)) {
        let decoded =
            format.map_or(w.clone(), |format| QuantMatrix::encode(&w, rows, cols, format).decode());
        let want: Vec<f32> = ids
            .iter()
            .flat_map(|&id| decoded[id as usize * cols..(id as usize + 1) * cols].to_vec())
            .collect();
        let row_bytes = format.map_or(4 * cols as u64, |f| f.bytes(1, cols));
        for device in devices() {
            let ids: Tensor<1, Int> =
                Tensor::from_data(TensorData::new(ids.to_vec(), [6]), &device);
            for limit in [u64::MAX, 10 * row_bytes] {
                let weight = upload(&w, [rows, cols], format, limit, &device);
                assert_eq!(values(weight.rows(&ids)), want, "{format:?} on {device:?}");
            }
        }
    }
}

/// A full-precision matrix in parts gives the same products as whole.
#[test]
fn parts_of_a_full_matrix_add_up() {
    let (n, rows, cols) = (5, 50, 24);
    let (w, x, dy) = (normal(rows * cols, 6), normal(n * cols, 7), normal(n * rows, 8));
    let y = product(&x, |k, m| w[m * cols + k], [n, cols, rows]);
    let dx = product(&dy, |m, k| w[m * cols + k], [n, rows, cols]);
    for device in devices() {
        let weight = upload(&w, [rows, cols], None, 4 * 24 * 7, &device);
        close("forward", &values(weight.forward(&matrix(&x, [n, cols], &device))), &y);
        close("backward", &values(weight.backward(&matrix(&dy, [n, rows], &device))), &dx);
    }
}

/// Bounds that follow from the formats: half a step of the block's scale, plus the f16 rounding of the scale.
#[test]
fn errors_stay_within_half_a_step() {
    let (rows, cols) = (64, 257);
    let w = normal(rows * cols, 9);
    for format in QuantFormat::ALL {
        let decoded = QuantMatrix::encode(&w, rows, cols, format).decode();
        let mut squares = (0.0, 0.0);
        for (row, got) in w.chunks(cols).zip(decoded.chunks(cols)) {
            // 16-bit floats round each weight by itself.
            let block = if format.bits() == 16 { 1 } else { format.block() };
            for (block, got) in row.chunks(block).zip(got.chunks(block)) {
                let top = block.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                // The widest gap between two neighbouring values, in units of the largest weight. Int4 reaches
                // 7/8 of it on one side only.
                let half_step = match format {
                    QuantFormat::Int8 => 0.5 / 127.0,
                    QuantFormat::Int4 => 1.0 / 8.0,
                    QuantFormat::Nf4 => {
                        NF4.windows(2).map(|v| v[1] - v[0]).fold(0.0, f32::max) / 2.0
                    }
                    QuantFormat::Bf16 => 0.5 / 128.0,
                    QuantFormat::F16 => 0.5 / 1024.0,
                };
                for (&a, &b) in block.iter().zip(got) {
                    let scale_error = if format.bits() == 16 { 0.0 } else { 1e-3 };
                    let bound = top * (half_step + scale_error);
                    assert!((a - b).abs() <= bound, "{}: {a} became {b}", format.name());
                    squares.0 += f64::from((a - b).powi(2));
                    squares.1 += f64::from(a.powi(2));
                }
            }
        }
        let relative = (squares.0 / squares.1).sqrt();
        println!("{}: relative error of normal weights {relative:.4}", format.name());
        let promised = match format {
            QuantFormat::Int8 => 0.006,
            QuantFormat::Int4 => 0.09,
            QuantFormat::Nf4 => 0.1,
            QuantFormat::Bf16 => 0.002,
            QuantFormat::F16 => 0.0003,
        };
        assert!(relative < promised, "{}: {relative}", format.name());
    }
}

#[test]
fn odd_blocks_survive() {
    // All zeros, one value, the smallest f16, and values whose scale overflows nothing.
    for format in QuantFormat::ALL {
        let zeros = QuantMatrix::encode(&[0.0; 33], 1, 33, format);
        assert_eq!(zeros.decode(), vec![0.0; 33]);
        let one = QuantMatrix::encode(&[-3.5], 1, 1, format).decode();
        assert!((one[0] + 3.5).abs() < 3.5e-3, "{}: {one:?}", format.name());
        let huge = QuantMatrix::encode(&[1e5, 1.0], 1, 2, QuantFormat::F16).decode();
        assert_eq!(huge, [65504.0, 1.0]);
        let tiny = QuantMatrix::encode(&[1e-12; 40], 1, 40, format).decode();
        assert!(tiny.iter().all(|v| v.is_finite()));
    }
}

/// A checkpoint in 16 bits that stays in them is the checkpoint.
#[test]
fn a_checkpoint_in_its_own_precision_loses_nothing() {
    for (name, format) in [("llama_bf16", QuantFormat::Bf16), ("llama_f16", QuantFormat::F16)] {
        let folder = common::fixture(&format!("models/{name}"));
        let ids: Vec<u32> = (3..40).collect();
        let logits = |format| {
            let options = LoadOptions { format, ..LoadOptions::default() };
            let model = Model::load(&folder, &Device::flex(), options).unwrap();
            values(model.logits(&ids, None).unwrap())
        };
        let (full, half) = (logits(None), logits(Some(format)));
        let worst = full.iter().zip(&half).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The same numbers in another order of summation: panels instead of the whole matrix.
        assert!(worst < 1e-5, "{name}: {worst}");
    }
}

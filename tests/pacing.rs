//! Do kernels that are cut into short submissions compute what whole ones compute?

use burn::tensor::{Device, Int, Tensor, TensorData};
use dpop_studio::kernels::pace::set_speeds;
use dpop_studio::kernels::{
    AttentionSaved, AttentionSpec, HostMatrix, SPAN_COLUMNS, Weight, attention, attention_backward,
    matmul,
};
use dpop_studio::quant::QuantFormat;

mod common;

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn matrix(shape: [usize; 2], salt: usize, device: &Device) -> Tensor<2> {
    let count = shape[0] * shape[1];
    let values = (0..count).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

/// A product, products with a decoded matrix, and attention with its gradients.
fn results(device: &Device) -> Vec<Vec<f32>> {
    let (a, b) = (matrix([50, 24], 1, device), matrix([40, 24], 2, device));
    let host = values(matrix([40, 24], 3, device));
    let host = HostMatrix::encode(host, [40, 24], Some(QuantFormat::Int8));
    let weight = Weight::upload(host, u64::MAX, device);
    let spec = AttentionSpec {
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        window: None,
        scale: 0.35,
        softcap: None,
    };
    let n = 30;
    let spans: Vec<i32> = (0..n).flat_map(|i| [0, 0, 0, n, i]).collect();
    let spans = TensorData::new(spans, [n as usize, SPAN_COLUMNS]);
    let spans: Tensor<2, Int> = Tensor::from_data(spans, device);
    let (q, k) = (matrix([30, 16], 4, device), matrix([30, 8], 5, device));
    let v = matrix([30, 8], 6, device);
    let (out, lse) = attention(&q, &k, &v, &spans, spec);
    let saved = AttentionSaved { q, k, v, out: out.clone(), lse };
    let (dq, dk, dv) = attention_backward(saved, matrix([30, 16], 7, device), &spans, spec);
    let tensors = [
        matmul(&a, &b, false, true),
        matmul(&a, &matrix([50, 24], 8, device), true, false),
        weight.forward(&a),
        weight.backward(&matrix([50, 40], 9, device)),
        out,
        dq,
        dk,
        dv,
    ];
    tensors.map(values).to_vec()
}

#[test]
fn pieces_add_up_to_the_whole() {
    let Some(device) = common::gpu() else { return };
    let whole = results(&device);
    // So slow that no kernel may do more than one row, or one query and head, at a time.
    set_speeds([1; 3]);
    let pieces = results(&device);
    set_speeds([0; 3]);
    for (i, (whole, got)) in whole.iter().zip(&pieces).enumerate() {
        let worst = whole.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(got.len(), whole.len());
        assert!(worst < 1e-5, "result {i}: off by {worst}");
        assert!(whole.iter().any(|v| v.abs() > 0.1), "result {i}: nothing to compare");
    }
}

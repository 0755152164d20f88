//! Plain-tensor twins: the same operations from burn's own tensor functions, for the tests to compare with.
//! Slow and memory-hungry on purpose: nothing here is shared with the kernels. Any float type works, so finite
//! differences can run in f64.

use burn::tensor::{Int, Tensor, TensorData, activation};

use super::{Activation, AttentionSpec, SPAN_COLUMNS};

/// Twin of [`super::rms_norm`].
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let mean = x.clone().powi_scalar(2).mean_dim(1);
    x / (mean + eps).sqrt() * weight.unsqueeze()
}

/// Twin of [`super::rope`].
pub fn rope(x: Tensor<2>, cos: Tensor<2>, sin: Tensor<2>, heads: usize) -> Tensor<2> {
    let [n, width] = x.dims();
    let dim = width / heads;
    let [_, half] = cos.dims();
    let x = x.reshape([n, heads, dim]);
    let first = x.clone().slice([0..n, 0..heads, 0..half]);
    let second = x.clone().slice([0..n, 0..heads, half..2 * half]);
    let mut parts = Vec::new();
    if 2 * half < dim {
        parts.push(x.slice([0..n, 0..heads, 2 * half..dim]));
    }
    let cos: Tensor<3> = cos.unsqueeze_dim(1);
    let sin: Tensor<3> = sin.unsqueeze_dim(1);
    let a = first.clone() * cos.clone() - second.clone() * sin.clone();
    let b = second * cos + first * sin;
    parts.splice(0..0, [a, b]);
    Tensor::cat(parts, 2).reshape([n, width])
}

/// Twin of [`super::gated_activation`].
pub fn gated_activation(gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
    let activated = match activation {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => {
            let cube = gate.clone().powi_scalar(3) * 0.044715;
            let inner = (gate.clone() + cube) * (2.0 / std::f64::consts::PI).sqrt();
            gate * (inner.tanh() + 1.0) * 0.5
        }
    };
    activated * up
}

/// `cap tanh(x / cap)`, of scores and of logits.
fn soft_capped(x: Tensor<2>, cap: Option<f32>) -> Tensor<2> {
    match cap {
        Some(cap) => (x / f64::from(cap)).tanh() * f64::from(cap),
        None => x,
    }
}

/// Twin of [`super::attention`] (output alone): dense scores under a dense mask made from `spans`
/// (`[N, SPAN_COLUMNS]`, row-major).
pub fn attention(
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    spans: &[i32],
    spec: AttentionSpec,
) -> Tensor<2> {
    let n = spans.len() / SPAN_COLUMNS;
    let [m, _] = k.dims();
    let device = q.device();
    let mut hidden = vec![1i32; n * m];
    for (i, span) in spans.chunks_exact(SPAN_COLUMNS).enumerate() {
        let [start, prefix_end, own, position] = [0, 1, 2, 4].map(|column| span[column] as usize);
        let shared = prefix_end - start;
        // Each key that the query may see, with the key's own position.
        let prefix = (start..prefix_end).enumerate();
        let tail = (shared..=position).map(|at| (at, own + at - shared));
        for (at, key) in prefix.chain(tail) {
            if spec.window.is_none_or(|window| position - at < window) {
                hidden[i * m + key] = 0;
            }
        }
    }
    let hidden: Tensor<2, Int> = Tensor::from_data(TensorData::new(hidden, [n, m]), &device);
    let hidden = hidden.equal_scalar(1);
    let d = spec.head_dim;
    let heads = (0..spec.heads).map(|head| {
        let kv = head / (spec.heads / spec.kv_heads);
        let columns = |t: &Tensor<2>, h: usize| {
            let rows = t.dims()[0];
            t.clone().slice([0..rows, h * d..(h + 1) * d])
        };
        let scores = columns(&q, head).matmul(columns(&k, kv).transpose()) * spec.scale as f64;
        let scores = soft_capped(scores, spec.softcap).mask_fill(hidden.clone(), -1e30);
        activation::softmax(scores, 1).matmul(columns(&v, kv))
    });
    Tensor::cat(heads.collect(), 1)
}

/// Twin of [`super::head_log_probs`], with the whole logit matrix.
pub fn head_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    softcap: Option<f32>,
) -> Tensor<1> {
    let logits = soft_capped(hidden.matmul(weight.transpose()), softcap);
    let logps = activation::log_softmax(logits, 1);
    let [entries, _] = logps.dims();
    logps.gather(1, targets.reshape([entries, 1])).reshape([entries])
}

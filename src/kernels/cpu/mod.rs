//! Native CPU form of the decoder operations, on burn's `flex` backend.

mod attention;
mod elementwise;
mod gated;
mod half;
mod head;
mod matmul;
mod quantised;
mod simd;

use burn::backend::Flex;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;

use super::{Activation, Arithmetic, AttentionSpec, DecoderOps, QuantSpec};

/// A contiguous tensor's values.
struct Floats(FlexTensor);

impl Floats {
    fn new(tensor: FlexTensor) -> Self {
        let whole = tensor.layout().start_offset() == 0 && tensor.is_contiguous();
        Floats(if whole { tensor } else { tensor.to_contiguous() })
    }

    fn get(&self) -> &[f32] {
        let count = self.0.layout().num_elements();
        &self.0.storage::<f32>()[..count]
    }

    fn dims(&self) -> (usize, usize) {
        let shape = self.0.layout().shape();
        (shape[0], shape[1])
    }
}

/// Integer values, whichever width the device prefers.
fn ints(tensor: FlexTensor) -> Vec<i32> {
    let tensor = tensor.to_contiguous();
    let count = tensor.layout().num_elements();
    let start = tensor.layout().start_offset();
    match tensor.dtype() {
        DType::I64 => {
            tensor.storage::<i64>()[start..start + count].iter().map(|&v| v as i32).collect()
        }
        _ => tensor.storage::<i32>()[start..start + count].to_vec(),
    }
}

/// The bits of a 32-bit integer tensor that was uploaded whole.
fn words(tensor: &FlexTensor) -> &[u32] {
    bytemuck::cast_slice(tensor.storage::<i32>())
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

impl DecoderOps for Flex {
    fn mm(a: FloatTensor<Self>, b: FloatTensor<Self>, ta: bool, tb: bool) -> FloatTensor<Self> {
        let (a, b) = (Floats::new(a), Floats::new(b));
        let dims = matmul::Dims::of(a.dims(), b.dims(), ta, tb);
        let mut out = vec![0.0; dims.m * dims.n];
        matmul::gemm(&mut out, a.get(), b.get(), dims, 1.0, false);
        tensor(out, [dims.m, dims.n])
    }

    fn mm_add(
        acc: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        ta: bool,
        tb: bool,
        alpha: f32,
    ) -> FloatTensor<Self> {
        let (a, b) = (Floats::new(a), Floats::new(b));
        let dims = matmul::Dims::of(a.dims(), b.dims(), ta, tb);
        let mut acc = Floats::new(acc).0;
        matmul::gemm(
            &mut acc.storage_mut::<f32>()[..dims.m * dims.n],
            a.get(),
            b.get(),
            dims,
            alpha,
            true,
        );
        acc
    }

    fn rms(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let (x, weight) = (Floats::new(x), Floats::new(weight));
        let (n, d) = x.dims();
        tensor(elementwise::rms(x.get(), weight.get(), d, eps), [n, d])
    }

    fn rms_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let (x, weight, dy) = (Floats::new(x), Floats::new(weight), Floats::new(dy));
        let (n, d) = x.dims();
        tensor(elementwise::rms_backward(x.get(), weight.get(), dy.get(), d, eps), [n, d])
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        inverse: bool,
    ) -> FloatTensor<Self> {
        let (cos, sin) = (Floats::new(cos), Floats::new(sin));
        let mut x = Floats::new(x).0;
        let count = x.layout().num_elements();
        let (n, half) = cos.dims();
        let head = elementwise::Head { dim: count / (n * heads).max(1), half };
        let values = &mut x.storage_mut::<f32>()[..count];
        elementwise::rotate(values, cos.get(), sin.get(), heads, head, inverse);
        x
    }

    fn take_columns(x: FloatTensor<Self>, first: usize, count: usize) -> FloatTensor<Self> {
        let x = Floats::new(x);
        let (n, width) = x.dims();
        tensor(elementwise::columns(x.get(), width, first, count), [n, count])
    }

    fn gate(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let (gate, up) = (Floats::new(gate), Floats::new(up));
        let (n, f) = gate.dims();
        tensor(gated::forward(gate.get(), up.get(), activation), [n, f])
    }

    fn gate_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up, dy) = (Floats::new(gate), Floats::new(up), Floats::new(dy));
        let (n, f) = gate.dims();
        let (dgate, dup) = gated::backward(gate.get(), up.get(), dy.get(), activation);
        (tensor(dgate, [n, f]), tensor(dup, [n, f]))
    }

    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        spans: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (q, k, v) = (Floats::new(q), Floats::new(k), Floats::new(v));
        let (n, width) = q.dims();
        let rows = attention::rows(&ints(spans));
        let (out, lse) = attention::forward(q.get(), k.get(), v.get(), &rows, n, spec);
        (tensor(out, [n, width]), tensor(lse, [n, spec.heads]))
    }

    fn packed_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        dout: FloatTensor<Self>,
        spans: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, out, lse, dout] = [q, k, v, out, lse, dout].map(Floats::new);
        let (n, width) = q.dims();
        let kv_width = k.dims().1;
        let rows = attention::rows(&ints(spans));
        let given = attention::Given {
            q: q.get(),
            k: k.get(),
            v: v.get(),
            out: out.get(),
            lse: lse.get(),
            dout: dout.get(),
        };
        let (dq, dk, dv) = attention::backward(&given, &rows, n, spec);
        (tensor(dq, [n, width]), tensor(dk, [n, kv_width]), tensor(dv, [n, kv_width]))
    }

    fn log_prob_rows(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        softcap: Option<f32>,
        gradient: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let mut logits = Floats::new(logits).0;
        let count = logits.layout().num_elements();
        let targets = ints(targets);
        let values = &mut logits.storage_mut::<f32>()[..count];
        let logps = head::log_prob_rows(values, &targets, softcap, gradient);
        (tensor(logps, [targets.len()]), logits)
    }

    fn half_mm(x: FloatTensor<Self>, w: FloatTensor<Self>, tb: bool) -> FloatTensor<Self> {
        let (x, w) = (Floats::new(x), Floats::new(w));
        let dims = matmul::Dims::of(x.dims(), w.dims(), false, tb);
        let (x, w) = (half::scaled_rows(x.get(), dims.k), half::rounded(w.get()));
        let mut out = vec![0.0; dims.m * dims.n];
        matmul::gemm(&mut out, &x, &w, dims, 1.0, false);
        tensor(out, [dims.m, dims.n])
    }

    fn quantised_mm(
        x: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: IntTensor<Self>,
        spec: QuantSpec,
        transposed: bool,
        arithmetic: Arithmetic,
    ) -> FloatTensor<Self> {
        let words = quantised::Words { codes: words(&codes), scales: words(&scales), spec };
        if arithmetic == Arithmetic::F16 {
            let all: Vec<i32> = (0..spec.rows as i32).collect();
            let w = tensor(quantised::rows(words, &all), [spec.rows, spec.cols]);
            return Self::half_mm(x, w, !transposed);
        }
        let x = Floats::new(x);
        let n = x.dims().0;
        let out = quantised::matmul(x.get(), n, words, transposed);
        tensor(out, [n, if transposed { spec.cols } else { spec.rows }])
    }

    fn quantised_rows(
        codes: IntTensor<Self>,
        scales: IntTensor<Self>,
        ids: IntTensor<Self>,
        spec: QuantSpec,
    ) -> FloatTensor<Self> {
        let ids = ints(ids);
        let words = quantised::Words { codes: words(&codes), scales: words(&scales), spec };
        tensor(quantised::rows(words, &ids), [ids.len(), spec.cols])
    }

    fn combine_rows(
        rows: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        map: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let (rows, weights) = (Floats::new(rows), Floats::new(weights));
        let d = rows.dims().1;
        let shape = map.layout().shape();
        let (n, slots) = (shape[0], shape[1]);
        let out = elementwise::combine_rows(rows.get(), weights.get(), &ints(map), slots, d);
        tensor(out, [n, d])
    }

    fn hash_dropout(x: FloatTensor<Self>, probability: f32, seed: u32) -> FloatTensor<Self> {
        let x = Floats::new(x);
        let (n, d) = x.dims();
        tensor(elementwise::dropout(x.get(), probability, seed), [n, d])
    }
}

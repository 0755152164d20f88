//! WGSL form of the decoder operations, on burn's wgpu backend.

mod products;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::KernelId;
use cubecl::server::KernelArguments;
use cubecl::{CubeCount, CubeDim};

pub use self::products::{DECODED_PANEL, set_autotune};
use self::products::{decoded_product, half, half_product, in_rows, paced_product, stored_half};
use super::pace::{self, Work};
use super::shader::{self, ByHead, Shader, Tiles, WORKGROUP};
use super::{Activation, Arithmetic, AttentionSpec, DecoderOps, QuantSpec};
use crate::quant::QuantFormat;

/// Rows and columns of the output that a workgroup of the quantised products computes.
const QUANT_TILE: usize = 64;

/// Workgroups along one dimension of a grid; WebGPU's limit.
const GRID: usize = 65_535;

struct Source(Shader);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.source)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.0.id)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

fn contiguous<const N: usize>(tensors: [CubeTensor; N]) -> [CubeTensor; N] {
    tensors.map(into_contiguous)
}

fn dims(tensor: &CubeTensor) -> (usize, usize) {
    let shape = tensor.meta.shape();
    (shape[0], shape[1])
}

fn new_like<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    new_of(like, shape, DType::F32)
}

fn new_of<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    let shape = Shape::new(shape);
    let buffer = like.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape, buffer, dtype)
}

/// Runs `shader` with `groups` workgroups on the given buffers, then the integers of `info`.
fn launch(shader: Shader, groups: usize, buffers: &[&CubeTensor], info: &[u32]) {
    let Some(first) = buffers.first() else { return };
    let client = first.client.clone();
    let mut bindings: Vec<_> = buffers.iter().map(|b| b.handle.clone().binding()).collect();
    bindings.push(client.create_from_slice(bytemuck::cast_slice(info)).binding());
    let x = groups.min(GRID);
    let y = groups.div_ceil(GRID.max(1));
    let kernel = SourceKernel::new(Source(shader), CubeDim::new_1d(WORKGROUP));
    client.launch(
        Box::new(kernel),
        CubeCount::Static(x as u32, y as u32, 1),
        KernelArguments::new().with_buffers(bindings),
    );
}

/// Workgroups for one thread an element.
fn per_element(count: usize) -> usize {
    count.div_ceil(WORKGROUP as usize)
}

fn by_head(shaders: ByHead, tiles: &Tiles) -> Shader {
    shaders[tiles.width]
}

/// Runs an attention shader in as many pieces as short submissions need. `pairs`: queries times keys, at most, that one
/// workgroup computes.
fn launch_attention(
    shader: Shader,
    groups: usize,
    pairs: usize,
    buffers: &[&CubeTensor],
    tokens: usize,
    spec: AttentionSpec,
) {
    let operations = pace::attention_operations(spec, pairs);
    let at_once = pace::at_once(Work::Attention, groups, operations);
    for first in (0..groups).step_by(at_once) {
        let count = at_once.min(groups - first);
        pace::count(buffers[0], Work::Attention, count as u64 * operations);
        launch(shader, count, buffers, &attention_info(tokens, spec, first));
    }
}

fn attention_info(tokens: usize, spec: AttentionSpec, first_group: usize) -> [u32; 8] {
    [
        tokens as u32,
        spec.heads as u32,
        spec.kv_heads as u32,
        spec.head_dim as u32,
        spec.window.unwrap_or(0) as u32,
        spec.scale.to_bits(),
        cap_bits(spec.softcap),
        first_group as u32,
    ]
}

/// The shaders take 0 for no cap.
fn cap_bits(softcap: Option<f32>) -> u32 {
    softcap.unwrap_or(0.0).to_bits()
}

fn activation_info(elements: usize, activation: Activation) -> [u32; 2] {
    let code = match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
    };
    [elements as u32, code]
}

fn quant_info(n: usize, spec: QuantSpec) -> [u32; 4] {
    let format = match spec.format {
        QuantFormat::Int8 => 0,
        QuantFormat::Int4 => 1,
        QuantFormat::Nf4 => 2,
        QuantFormat::Bf16 => 3,
        QuantFormat::F16 => 4,
    };
    [n as u32, spec.rows as u32, spec.cols as u32, format]
}

impl DecoderOps for CubeBackend {
    fn mm(a: FloatTensor<Self>, b: FloatTensor<Self>, ta: bool, tb: bool) -> FloatTensor<Self> {
        paced_product(a, b, ta, tb)
    }

    fn mm_add(
        acc: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        ta: bool,
        tb: bool,
        alpha: f32,
    ) -> FloatTensor<Self> {
        let out = paced_product(a, b, ta, tb);
        let out = if alpha == 1.0 { out } else { Self::float_mul_scalar(out, alpha.into()) };
        Self::float_add(acc, out)
    }

    fn rms(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let [x, weight] = contiguous([x, weight]);
        let (n, d) = dims(&x);
        let out = new_like(&x, [n, d]);
        let info = [n as u32, d as u32, eps.to_bits()];
        launch(shader::RMS_NORM, n, &[&x, &weight, &out], &info);
        out
    }

    fn rms_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let [x, weight, dy] = contiguous([x, weight, dy]);
        let (n, d) = dims(&x);
        let out = new_like(&x, [n, d]);
        let info = [n as u32, d as u32, eps.to_bits()];
        launch(shader::RMS_NORM_BACKWARD, n, &[&x, &weight, &dy, &out], &info);
        out
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        inverse: bool,
    ) -> FloatTensor<Self> {
        let [x, cos, sin] = contiguous([x, cos, sin]);
        let (n, width) = dims(&x);
        let half = dims(&cos).1;
        let out = new_like(&x, [n, width]);
        let info = [n, heads, width / heads, half, usize::from(inverse)].map(|v| v as u32);
        launch(shader::ROPE, per_element(n * width / 2), &[&x, &cos, &sin, &out], &info);
        out
    }

    fn take_columns(x: FloatTensor<Self>, first: usize, count: usize) -> FloatTensor<Self> {
        let rows = dims(&x).0;
        into_contiguous(burn_cubecl::kernel::slice(x, &[0..rows, first..first + count]))
    }

    fn gate(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let [gate, up] = contiguous([gate, up]);
        let (n, f) = dims(&gate);
        let out = new_like(&gate, [n, f]);
        let info = activation_info(n * f, activation);
        launch(shader::GATED_ACTIVATION, per_element(n * f), &[&gate, &up, &out], &info);
        out
    }

    fn gate_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [gate, up, dy] = contiguous([gate, up, dy]);
        let (n, f) = dims(&gate);
        let (dgate, dup) = (new_like(&gate, [n, f]), new_like(&gate, [n, f]));
        launch(
            shader::GATED_ACTIVATION_BACKWARD,
            per_element(n * f),
            &[&gate, &up, &dy, &dgate, &dup],
            &activation_info(n * f, activation),
        );
        (dgate, dup)
    }

    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        spans: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [q, k, v, spans] = contiguous([q, k, v, spans]);
        let (n, width) = dims(&q);
        let (out, lse) = (new_like(&q, [n, width]), new_like(&q, [n, spec.heads]));
        let buffers = [&q, &k, &v, &spans, &out, &lse];
        let (keys, tiles) = (dims(&k).0, Tiles::of(spec.head_dim));
        if n < tiles.queries {
            // Too few queries for a tile: a workgroup each (text generation).
            launch_attention(shader::ATTENTION, n * spec.heads, keys, &buffers, n, spec);
        } else {
            let groups = n.div_ceil(tiles.queries) * spec.heads;
            let keys = keys * tiles.queries;
            let shader = by_head(shader::ATTENTION_TILED, &tiles);
            launch_attention(shader, groups, keys, &buffers, n, spec);
        }
        (out, lse)
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
        let [q, k, v, out, lse, dout, spans] = contiguous([q, k, v, out, lse, dout, spans]);
        let (n, width) = dims(&q);
        let kv_width = dims(&k).1;
        let dq = new_like(&q, [n, width]);
        let delta = new_like(&q, [n, spec.heads]);
        let (dk, dv) = (new_like(&q, [n, kv_width]), new_like(&q, [n, kv_width]));
        let tiles = Tiles::of(spec.head_dim);
        let blocks = n.div_ceil(tiles.own);
        // Two and a half times the forward pass' work, in two kernels; a key serves a whole group of heads.
        let pairs = 3 * n * tiles.own / 2;
        let queries = [&q, &k, &v, &out, &lse, &dout, &spans, &dq, &delta];
        let shader = by_head(shader::ATTENTION_BACKWARD_Q, &tiles);
        launch_attention(shader, blocks * spec.heads, pairs, &queries, n, spec);
        let keys = [&q, &k, &v, &lse, &delta, &dout, &spans, &dk, &dv];
        let shader = by_head(shader::ATTENTION_BACKWARD_KV, &tiles);
        let pairs = pairs * (spec.heads / spec.kv_heads);
        launch_attention(shader, blocks * spec.kv_heads, pairs, &keys, n, spec);
        (dq, dk, dv)
    }

    fn log_prob_rows(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        softcap: Option<f32>,
        gradient: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [logits, targets] = contiguous([logits, targets]);
        let (rows, vocabulary) = dims(&logits);
        let result = new_like(&logits, [rows, 2]);
        let info = [rows as u32, vocabulary as u32, cap_bits(softcap)];
        let buffers = [&logits, &targets, &result];
        launch(shader::HEAD_LOG_PROBS, rows, &buffers, &info);
        if gradient {
            launch(shader::HEAD_LOG_PROBS_BACKWARD, rows, &buffers, &info);
        }
        let logps = burn_cubecl::kernel::slice(result, &[0..rows, 0..1]);
        (Self::float_reshape(into_contiguous(logps), Shape::new([rows])), logits)
    }

    fn half_mm(x: FloatTensor<Self>, w: FloatTensor<Self>, tb: bool) -> FloatTensor<Self> {
        half_product(x, &half(w), tb)
    }

    fn quantised_mm(
        x: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: IntTensor<Self>,
        spec: QuantSpec,
        transposed: bool,
        arithmetic: Arithmetic,
    ) -> FloatTensor<Self> {
        if arithmetic == Arithmetic::F16
            && let Some(w) = stored_half(&codes, spec)
        {
            return half_product(x, &w, !transposed);
        }
        if dims(&x).0 > QUANT_TILE {
            return decoded_product(x, codes, scales, spec, transposed, arithmetic);
        }
        let (shader, width) = if transposed {
            (shader::QUANTISED_MATMUL_TRANSPOSED, spec.cols)
        } else {
            (shader::QUANTISED_MATMUL, spec.rows)
        };
        let row = 2 * (spec.rows * spec.cols) as u64;
        let [x] = contiguous([x]);
        in_rows(x, Work::Decoding, row, |x| {
            let n = dims(&x).0;
            let out = new_like(&x, [n, width]);
            let tiles = n.div_ceil(QUANT_TILE) * width.div_ceil(QUANT_TILE);
            launch(shader, tiles, &[&x, &codes, &scales, &out], &quant_info(n, spec));
            out
        })
    }

    fn quantised_rows(
        codes: IntTensor<Self>,
        scales: IntTensor<Self>,
        ids: IntTensor<Self>,
        spec: QuantSpec,
    ) -> FloatTensor<Self> {
        let [ids] = contiguous([ids]);
        let n = ids.meta.shape()[0];
        let out = new_like(&codes, [n, spec.cols]);
        let groups = per_element(n * spec.cols);
        let buffers = [&codes, &scales, &ids, &out];
        launch(shader::QUANTISED_ROWS, groups, &buffers, &quant_info(n, spec));
        out
    }

    fn combine_rows(
        rows: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        map: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let [rows, weights, map] = contiguous([rows, weights, map]);
        let ((n, slots), d) = (dims(&map), dims(&rows).1);
        let out = new_like(&rows, [n, d]);
        let buffers = [&rows, &weights, &map, &out];
        let info = [n as u32, d as u32, slots as u32];
        launch(shader::COMBINE_ROWS, per_element(n * d), &buffers, &info);
        out
    }

    fn hash_dropout(x: FloatTensor<Self>, probability: f32, seed: u32) -> FloatTensor<Self> {
        let [x] = contiguous([x]);
        let (n, d) = dims(&x);
        let out = new_like(&x, [n, d]);
        let info = [(n * d) as u32, seed, probability.to_bits()];
        launch(shader::DROPOUT, per_element(n * d), &[&x, &out], &info);
        out
    }
}

//! The operations of a decoder's forward and backward pass, as an extension of burn's backends.
//!
//! Each operation has three forms of the same name: WGSL (`cube/` with `../shaders/*.wgsl`), native CPU
//! (`cpu/`), and a plain-tensor twin built from burn's own operations (`plain.rs`) that the tests hold the
//! first two against. All floats are f32, all tensors row-major.
//!
//! There is no autodiff here: every operation comes with its written-out derivative (ARCHITECTURE.md says why).

mod cpu;
mod cube;
mod head;
pub mod pace;
pub mod plain;
mod shader;
mod weight;

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

pub use cube::{DECODED_PANEL, set_autotune};
pub use head::{head_log_probs, head_log_probs_grad, logits_block};
pub use shader::SHADERS;
pub use weight::{HostMatrix, Weight};

use crate::quant::QuantFormat;

/// Head counts and mask of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    pub heads: usize,
    /// Grouped-query attention: query head `h` reads key/value head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// A key at distance `>= window` is hidden.
    pub window: Option<usize>,
    /// Factor on `q k^T`.
    pub scale: f32,
    /// Scores behind the factor become `cap tanh(score / cap)` (Gemma 2).
    pub softcap: Option<f32>,
}

/// The activation of a gated MLP's gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`; with the gate SwiGLU (arXiv 2002.05202).
    Silu,
    /// GELU in its tanh form, `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`; with the gate GeGLU.
    GeluTanh,
}

/// Columns of the span table (see `model::layout`): which keys a token sees, and which queries see it.
pub const SPAN_COLUMNS: usize = 5;

/// In what a product with a frozen matrix computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    #[default]
    F32,
    /// Both factors rounded to f16 (each row of the input divided by a power of two first, so that nothing leaves f16's
    /// range), sums in f32.
    F16,
}

/// Format and size of a quantised matrix `[rows, cols]` (layout: `crate::quant`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantSpec {
    pub format: QuantFormat,
    pub rows: usize,
    pub cols: usize,
}

/// See the functions of this module for shapes; this trait is what the backends implement.
#[backend_extension(Cube, Flex)]
pub trait DecoderOps: Backend {
    fn mm(a: FloatTensor<Self>, b: FloatTensor<Self>, ta: bool, tb: bool) -> FloatTensor<Self>;
    fn mm_add(
        acc: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        ta: bool,
        tb: bool,
        alpha: f32,
    ) -> FloatTensor<Self>;
    fn rms(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    fn rms_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        heads: usize,
        inverse: bool,
    ) -> FloatTensor<Self>;
    fn take_columns(x: FloatTensor<Self>, first: usize, count: usize) -> FloatTensor<Self>;
    fn gate(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;
    fn gate_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn packed_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        spans: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    #[allow(clippy::too_many_arguments)]
    fn packed_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        dout: FloatTensor<Self>,
        spans: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn log_prob_rows(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        softcap: Option<f32>,
        gradient: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn half_mm(x: FloatTensor<Self>, w: FloatTensor<Self>, tb: bool) -> FloatTensor<Self>;
    fn quantised_mm(
        x: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: IntTensor<Self>,
        spec: QuantSpec,
        transposed: bool,
        arithmetic: Arithmetic,
    ) -> FloatTensor<Self>;
    fn quantised_rows(
        codes: IntTensor<Self>,
        scales: IntTensor<Self>,
        ids: IntTensor<Self>,
        spec: QuantSpec,
    ) -> FloatTensor<Self>;
    fn combine_rows(
        rows: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        map: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    fn hash_dropout(x: FloatTensor<Self>, probability: f32, seed: u32) -> FloatTensor<Self>;
}

fn wrap<const D: usize>(tensor: FloatTensor<Dispatch>) -> Tensor<D> {
    Tensor::from_dispatch(tensor)
}

/// `op(a) op(b)`, where `op` transposes when asked: `[M, K] x [K, N] -> [M, N]`.
pub fn matmul(a: &Tensor<2>, b: &Tensor<2>, ta: bool, tb: bool) -> Tensor<2> {
    wrap(Dispatch::mm(a.clone().into_dispatch(), b.clone().into_dispatch(), ta, tb))
}

/// `acc + alpha op(a) op(b)`; reuses `acc`'s memory where it can.
pub fn matmul_add(
    acc: Tensor<2>,
    a: &Tensor<2>,
    b: &Tensor<2>,
    ta: bool,
    tb: bool,
    alpha: f32,
) -> Tensor<2> {
    wrap(Dispatch::mm_add(
        acc.into_dispatch(),
        a.clone().into_dispatch(),
        b.clone().into_dispatch(),
        ta,
        tb,
        alpha,
    ))
}

/// Root-mean-square norm over the last axis (Zhang & Sennrich 2019): `x / sqrt(mean(x^2) + eps) * weight`,
/// x `[N, D]`, weight `[D]`.
pub fn rms_norm(x: &Tensor<2>, weight: &Tensor<1>, eps: f32) -> Tensor<2> {
    wrap(Dispatch::rms(x.clone().into_dispatch(), weight.clone().into_dispatch(), eps))
}

/// Gradient of [`rms_norm`] by `x`, given `dy` `[N, D]`.
pub fn rms_norm_backward(x: &Tensor<2>, weight: &Tensor<1>, dy: Tensor<2>, eps: f32) -> Tensor<2> {
    wrap(Dispatch::rms_backward(
        x.clone().into_dispatch(),
        weight.clone().into_dispatch(),
        dy.into_dispatch(),
        eps,
    ))
}

/// Rotary embedding in Hugging Face's half-split form: channel `j` pairs with `j + half`; channels of a head from
/// `2 half` on stay as they are. x `[N, heads * head_dim]`, cos and sin `[N, half]`. `inverse` rotates back, which
/// is the gradient.
pub fn rope(
    x: Tensor<2>,
    cos: &Tensor<2>,
    sin: &Tensor<2>,
    heads: usize,
    inverse: bool,
) -> Tensor<2> {
    wrap(Dispatch::rotate(
        x.into_dispatch(),
        cos.clone().into_dispatch(),
        sin.clone().into_dispatch(),
        heads,
        inverse,
    ))
}

/// Some columns of x `[N, W]` as a tensor of their own; their gradients are put side by side again.
pub fn columns(x: &Tensor<2>, range: Range<usize>) -> Tensor<2> {
    wrap(Dispatch::take_columns(x.clone().into_dispatch(), range.start, range.len()))
}

/// `activation(gate) * up`, all `[N, F]`.
pub fn gated_activation(gate: &Tensor<2>, up: &Tensor<2>, activation: Activation) -> Tensor<2> {
    wrap(Dispatch::gate(gate.clone().into_dispatch(), up.clone().into_dispatch(), activation))
}

/// Gradients of [`gated_activation`] by gate and up.
pub fn gated_activation_backward(
    gate: Tensor<2>,
    up: Tensor<2>,
    dy: Tensor<2>,
    activation: Activation,
) -> (Tensor<2>, Tensor<2>) {
    let (dgate, dup) = Dispatch::gate_backward(
        gate.into_dispatch(),
        up.into_dispatch(),
        dy.into_dispatch(),
        activation,
    );
    (wrap(dgate), wrap(dup))
}

/// Causal attention over packed rows with shared prefixes.
///
/// q `[N, heads * head_dim]`, k and v `[M, kv_heads * head_dim]`, spans `[N, SPAN_COLUMNS]`. The spans name rows of k
/// and v: in training those of the batch's own tokens (M = N), in text generation those of a cache. The backward pass
/// knows the former alone.
/// Answers the output `[N, heads * head_dim]` and the log-sum-exp of the scores `[N, heads]`.
pub fn attention(
    q: &Tensor<2>,
    k: &Tensor<2>,
    v: &Tensor<2>,
    spans: &Tensor<2, Int>,
    spec: AttentionSpec,
) -> (Tensor<2>, Tensor<2>) {
    let (out, lse) = Dispatch::packed_attention(
        q.clone().into_dispatch(),
        k.clone().into_dispatch(),
        v.clone().into_dispatch(),
        spans.clone().into_dispatch(),
        spec,
    );
    (wrap(out), wrap(lse))
}

/// What [`attention`] was given and answered; its backward needs all of it.
pub struct AttentionSaved {
    pub q: Tensor<2>,
    pub k: Tensor<2>,
    pub v: Tensor<2>,
    pub out: Tensor<2>,
    pub lse: Tensor<2>,
}

/// Gradients of [`attention`] by q, k and v; the probabilities are recomputed from the log-sum-exp
/// (FlashAttention, arXiv 2205.14135), so no `[S, S]` matrix is kept.
pub fn attention_backward(
    saved: AttentionSaved,
    dout: Tensor<2>,
    spans: &Tensor<2, Int>,
    spec: AttentionSpec,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let (dq, dk, dv) = Dispatch::packed_attention_backward(
        saved.q.into_dispatch(),
        saved.k.into_dispatch(),
        saved.v.into_dispatch(),
        saved.out.into_dispatch(),
        saved.lse.into_dispatch(),
        dout.into_dispatch(),
        spans.clone().into_dispatch(),
        spec,
    );
    (wrap(dq), wrap(dk), wrap(dv))
}

/// Sums weighted rows back to tokens: `out[n] = sum_r weights[r] rows[r]` over the rows that `map[n]` names (-1: none),
/// in the map's order. rows `[R, D]`, weights `[R]`, map `[N, S]` -> `[N, D]`. With weights 1 it is the derivative of
/// picking rows by their tokens.
pub fn combine_rows(rows: Tensor<2>, weights: Tensor<1>, map: &Tensor<2, Int>) -> Tensor<2> {
    wrap(Dispatch::combine_rows(
        rows.into_dispatch(),
        weights.into_dispatch(),
        map.clone().into_dispatch(),
    ))
}

/// Inverted dropout whose mask is a hash of seed and position, so that the backward pass draws the same mask.
pub fn dropout(x: &Tensor<2>, probability: f32, seed: u32) -> Tensor<2> {
    wrap(Dispatch::hash_dropout(x.clone().into_dispatch(), probability, seed))
}

/// The hash behind [`dropout`]: PCG-RXS-M-XS on position and seed (Jarzynski & Olano 2020).
pub(crate) fn hash(position: u32, seed: u32) -> u32 {
    let state = (position ^ seed.wrapping_mul(0x9E37_79B9))
        .wrapping_mul(747_796_405)
        .wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

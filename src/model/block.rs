//! One decoder block, forward and backward, mirroring `LlamaDecoderLayer` and its Qwen and Mistral kin.

use burn::tensor::{Int, Tensor};

use super::cache::CachedLayer;
use super::linear::{Linear, LowRank, LowRankGrads};
use crate::config::Target;
use crate::kernels::{
    AttentionSaved, AttentionSpec, attention, attention_backward, rms_norm, rms_norm_backward,
    rope, swiglu, swiglu_backward,
};

/// The weights of one block, frozen.
pub struct Block {
    pub input_norm: Tensor<1>,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// Qwen3's norms over each head, `[head_dim]`.
    pub q_norm: Option<Tensor<1>>,
    pub k_norm: Option<Tensor<1>>,
    pub post_norm: Tensor<1>,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    pub attention: AttentionSpec,
    pub eps: f32,
}

/// What every block of a batch shares.
pub struct Context {
    /// `[N, head_dim / 2]`
    pub cos: Tensor<2>,
    pub sin: Tensor<2>,
    /// `[N, SPAN_COLUMNS]`
    pub spans: Tensor<2, Int>,
}

/// The trainable updates of one block, by `Target as usize`.
pub type BlockUpdates = [Option<LowRank>; 7];

/// Gradients of one block's updates, by `Target as usize`.
pub type BlockGrads = [Option<LowRankGrads>; 7];

/// Activations that the backward pass cannot cheaply recompute.
pub struct BlockSaved {
    x: Tensor<2>,
    /// Before the head norm and the rotation; only kept with a head norm.
    q_raw: Option<Tensor<2>>,
    k_raw: Option<Tensor<2>>,
    attention: AttentionSaved,
    y: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
    /// `A x` of each updated layer, by `Target as usize`.
    low_rank: [Option<Tensor<2>>; 7],
}

impl Block {
    fn linear(&self, target: Target) -> &Linear {
        match target {
            Target::Q => &self.q,
            Target::K => &self.k,
            Target::V => &self.v,
            Target::O => &self.o,
            Target::Gate => &self.gate,
            Target::Up => &self.up,
            Target::Down => &self.down,
        }
    }

    /// x `[N, D]` -> the next block's input `[N, D]`. With a cache, the spans name its rows, and the batch's keys and
    /// values join it; there is no backward pass then.
    pub fn forward(
        &self,
        x: Tensor<2>,
        context: &Context,
        updates: Option<&BlockUpdates>,
        cache: Option<CachedLayer<'_>>,
    ) -> (Tensor<2>, BlockSaved) {
        let mut low_rank: [Option<Tensor<2>>; 7] = Default::default();
        let mut apply = |target: Target, input: &Tensor<2>| {
            let update = updates.and_then(|all| all[target as usize].as_ref());
            let (out, xa) = self.linear(target).forward(input, update);
            low_rank[target as usize] = xa;
            out
        };
        let spec = self.attention;
        let h = rms_norm(&x, &self.input_norm, self.eps); // [N, D]
        let (q, q_raw) = self.head_norm(apply(Target::Q, &h), self.q_norm.as_ref());
        let (k, k_raw) = self.head_norm(apply(Target::K, &h), self.k_norm.as_ref());
        let v = apply(Target::V, &h); // [N, KV * head_dim]
        let q = rope(q, &context.cos, &context.sin, spec.heads, false); // [N, H * head_dim]
        let k = rope(k, &context.cos, &context.sin, spec.kv_heads, false);
        let (k, v) = match cache {
            Some(cache) => cache.join(k, v), // [rows of the cache, KV * head_dim]
            None => (k, v),
        };
        let (out, lse) = attention(&q, &k, &v, &context.spans, spec);
        let y = x.clone() + apply(Target::O, &out); // [N, D]
        let h = rms_norm(&y, &self.post_norm, self.eps);
        let gate = apply(Target::Gate, &h); // [N, F]
        let up = apply(Target::Up, &h); // [N, F]
        let result = y.clone() + apply(Target::Down, &swiglu(&gate, &up)); // [N, D]
        let attention = AttentionSaved { q, k, v, out, lse };
        (result, BlockSaved { x, q_raw, k_raw, attention, y, gate, up, low_rank })
    }

    /// Norm over each head; answers the input too where there is a norm.
    fn head_norm(
        &self,
        x: Tensor<2>,
        weight: Option<&Tensor<1>>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let Some(weight) = weight else { return (x, None) };
        let [n, width] = x.dims();
        let d = self.attention.head_dim;
        let heads = x.clone().reshape([n * width / d, d]);
        (rms_norm(&heads, weight, self.eps).reshape([n, width]), Some(x))
    }

    fn head_norm_backward(
        &self,
        dy: Tensor<2>,
        raw: Option<Tensor<2>>,
        weight: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        let (Some(raw), Some(weight)) = (raw, weight) else { return dy };
        let [n, width] = raw.dims();
        let shape = [n * width / self.attention.head_dim, self.attention.head_dim];
        rms_norm_backward(&raw.reshape(shape), weight, dy.reshape(shape), self.eps)
            .reshape([n, width])
    }

    /// dout `[N, D]` -> gradients of the updates, and by x `[N, D]`.
    pub fn backward(
        &self,
        saved: BlockSaved,
        dout: Tensor<2>,
        context: &Context,
        updates: &BlockUpdates,
    ) -> (Tensor<2>, BlockGrads) {
        let BlockSaved { x, q_raw, k_raw, attention, y, gate, up, mut low_rank } = saved;
        let mut grads: BlockGrads = Default::default();
        let mut back = |target: Target, x: &Tensor<2>, dy: &Tensor<2>, dx: Option<Tensor<2>>| {
            let at = target as usize;
            let update = updates[at].as_ref().zip(low_rank[at].take());
            let (dx, own) = self.linear(target).backward(x, dy, update, dx);
            grads[at] = own;
            dx
        };
        let spec = self.attention;
        let dact = back(Target::Down, &swiglu(&gate, &up), &dout, None); // [N, F]
        let (dgate, dup) = swiglu_backward(gate, up, dact);
        let h = rms_norm(&y, &self.post_norm, self.eps);
        let dh = back(Target::Gate, &h, &dgate, None);
        let dh = back(Target::Up, &h, &dup, Some(dh)); // [N, D]
        let dy = dout + rms_norm_backward(&y, &self.post_norm, dh, self.eps);

        let dattended = back(Target::O, &attention.out, &dy, None); // [N, H * head_dim]
        let (dq, dk, dv) = attention_backward(attention, dattended, &context.spans, spec);
        let dq = rope(dq, &context.cos, &context.sin, spec.heads, true);
        let dk = rope(dk, &context.cos, &context.sin, spec.kv_heads, true);
        let dq = self.head_norm_backward(dq, q_raw, self.q_norm.as_ref());
        let dk = self.head_norm_backward(dk, k_raw, self.k_norm.as_ref());
        let h = rms_norm(&x, &self.input_norm, self.eps);
        let dh = back(Target::Q, &h, &dq, None);
        let dh = back(Target::K, &h, &dk, Some(dh));
        let dh = back(Target::V, &h, &dv, Some(dh)); // [N, D]
        let dx = dy + rms_norm_backward(&x, &self.input_norm, dh, self.eps);
        (dx, grads)
    }
}

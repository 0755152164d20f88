//! The first half of a decoder block: self-attention with rotary positions, between its projections.

use burn::tensor::{Int, Tensor};

use super::cache::CachedLayer;
use super::linear::Linear;
use super::norm::Norm;
use super::updates::{BackwardPass, ForwardPass};
use crate::config::Target;
use crate::kernels::{AttentionSaved, AttentionSpec, attention, attention_backward, columns, rope};

/// What every block of a batch shares.
pub struct Context {
    /// `[N, half]`, half the channels of a head that turn.
    pub cos: Tensor<2>,
    pub sin: Tensor<2>,
    /// `[N, SPAN_COLUMNS]`
    pub spans: Tensor<2, Int>,
}

/// The layers that make queries, keys and values.
#[expect(clippy::large_enum_variant, reason = "one a block, never moved in a loop")]
pub enum Qkv {
    Apart {
        q: Linear,
        k: Linear,
        v: Linear,
    },
    /// One layer whose output is all three, one behind the other (Phi-3).
    Fused(Linear),
}

pub struct SelfAttention {
    pub qkv: Qkv,
    pub o: Linear,
    /// Qwen3's norms over each head, `[head_dim]`.
    pub q_norm: Option<Norm>,
    pub k_norm: Option<Norm>,
    pub spec: AttentionSpec,
}

/// Activations that the backward pass cannot cheaply recompute.
pub struct SelfAttentionSaved {
    /// Before the head norm and the rotation; only kept with a head norm.
    q_raw: Option<Tensor<2>>,
    k_raw: Option<Tensor<2>>,
    core: AttentionSaved,
}

/// Norm over each head; answers the input too where there is a norm.
fn head_norm(x: Tensor<2>, norm: Option<&Norm>) -> (Tensor<2>, Option<Tensor<2>>) {
    match norm {
        Some(norm) => (norm.heads(&x), Some(x)),
        None => (x, None),
    }
}

fn head_norm_backward(dy: Tensor<2>, raw: Option<Tensor<2>>, norm: Option<&Norm>) -> Tensor<2> {
    match raw.zip(norm) {
        Some((raw, norm)) => norm.heads_backward(raw, dy),
        None => dy,
    }
}

impl Qkv {
    fn forward(
        &self,
        x: &Tensor<2>,
        spec: AttentionSpec,
        pass: &mut ForwardPass<'_>,
    ) -> [Tensor<2>; 3] {
        match self {
            Qkv::Apart { q, k, v } => [
                pass.linear(Target::Q, q, x),
                pass.linear(Target::K, k, x),
                pass.linear(Target::V, v, x),
            ],
            Qkv::Fused(layer) => {
                let all = pass.linear(Target::Q, layer, x);
                let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
                [0..q, q..q + kv, q + kv..q + 2 * kv].map(|range| columns(&all, range))
            }
        }
    }

    /// The gradient by x, given x and the gradients by queries, keys and values.
    fn backward(
        &self,
        x: &Tensor<2>,
        [dq, dk, dv]: [Tensor<2>; 3],
        pass: &mut BackwardPass<'_>,
    ) -> Tensor<2> {
        match self {
            Qkv::Apart { q, k, v } => {
                let dx = pass.linear(Target::Q, q, x, &dq, None);
                let dx = pass.linear(Target::K, k, x, &dk, Some(dx));
                pass.linear(Target::V, v, x, &dv, Some(dx))
            }
            Qkv::Fused(layer) => {
                let all = Tensor::cat(vec![dq, dk, dv], 1);
                pass.linear(Target::Q, layer, x, &all, None)
            }
        }
    }
}

impl SelfAttention {
    /// x `[N, D]`, already normed -> `[N, D]`. With a cache, its keys and values and the batch's are seen, and there is
    /// no backward pass.
    pub fn forward(
        &self,
        x: &Tensor<2>,
        context: &Context,
        pass: &mut ForwardPass<'_>,
        cache: Option<CachedLayer<'_>>,
    ) -> (Tensor<2>, SelfAttentionSaved) {
        let spec = self.spec;
        let [q, k, v] = self.qkv.forward(x, spec, pass);
        let (q, q_raw) = head_norm(q, self.q_norm.as_ref()); // [N, H * head_dim]
        let (k, k_raw) = head_norm(k, self.k_norm.as_ref()); // [N, KV * head_dim]
        let q = rope(q, &context.cos, &context.sin, spec.heads, false);
        let k = rope(k, &context.cos, &context.sin, spec.kv_heads, false);
        let (k, v) = match cache {
            Some(cache) => cache.join(k, v), // [rows of the cache, KV * head_dim]
            None => (k, v),
        };
        let (out, lse) = attention(&q, &k, &v, &context.spans, spec);
        let y = pass.linear(Target::O, &self.o, &out);
        (y, SelfAttentionSaved { q_raw, k_raw, core: AttentionSaved { q, k, v, out, lse } })
    }

    /// The gradient by x `[N, D]`, given dout `[N, D]`; `x` computes the input once more, when it is needed.
    pub fn backward(
        &self,
        saved: SelfAttentionSaved,
        x: impl FnOnce() -> Tensor<2>,
        dout: &Tensor<2>,
        context: &Context,
        pass: &mut BackwardPass<'_>,
    ) -> Tensor<2> {
        let SelfAttentionSaved { q_raw, k_raw, core } = saved;
        let spec = self.spec;
        let dattended = pass.linear(Target::O, &self.o, &core.out, dout, None); // [N, H * head_dim]
        let (dq, dk, dv) = attention_backward(core, dattended, &context.spans, spec);
        let dq = rope(dq, &context.cos, &context.sin, spec.heads, true);
        let dk = rope(dk, &context.cos, &context.sin, spec.kv_heads, true);
        let dq = head_norm_backward(dq, q_raw, self.q_norm.as_ref());
        let dk = head_norm_backward(dk, k_raw, self.k_norm.as_ref());
        self.qkv.backward(&x(), [dq, dk, dv], pass)
    }
}

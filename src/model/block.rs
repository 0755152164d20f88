//! One decoder block, forward and backward, mirroring `LlamaDecoderLayer` and its Qwen and Mistral kin.

use burn::tensor::{Int, Tensor};

use super::error::ModelError;
use super::linear::Linear;
use super::mlp::{Mlp, MlpSaved};
use super::updates::{BackwardPass, BlockGrads, BlockUpdates, ForwardPass, LowRankInputs};
use crate::config::Target;
use crate::kernels::{
    AttentionSaved, AttentionSpec, attention, attention_backward, rms_norm, rms_norm_backward, rope,
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
    pub mlp: Mlp,
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

/// Activations that the backward pass cannot cheaply recompute.
pub struct BlockSaved {
    x: Tensor<2>,
    /// Before the head norm and the rotation; only kept with a head norm.
    q_raw: Option<Tensor<2>>,
    k_raw: Option<Tensor<2>>,
    attention: AttentionSaved,
    y: Tensor<2>,
    mlp: MlpSaved,
    low_rank: LowRankInputs,
}

impl BlockSaved {
    /// The block's input alone, from which the rest can be computed again.
    pub fn into_input(self) -> Tensor<2> {
        self.x
    }
}

impl Block {
    /// x `[N, D]` -> the next block's input `[N, D]`.
    ///
    /// # Errors
    /// Those of [`Mlp::forward`].
    pub fn forward(
        &self,
        x: Tensor<2>,
        context: &Context,
        updates: Option<&BlockUpdates>,
    ) -> Result<(Tensor<2>, BlockSaved), ModelError> {
        let mut pass = ForwardPass::new(updates);
        let spec = self.attention;
        let h = rms_norm(&x, &self.input_norm, self.eps); // [N, D]
        let (q, q_raw) = self.head_norm(pass.linear(Target::Q, &self.q, &h), self.q_norm.as_ref());
        let (k, k_raw) = self.head_norm(pass.linear(Target::K, &self.k, &h), self.k_norm.as_ref());
        let v = pass.linear(Target::V, &self.v, &h); // [N, KV * head_dim]
        let q = rope(q, &context.cos, &context.sin, spec.heads, false); // [N, H * head_dim]
        let k = rope(k, &context.cos, &context.sin, spec.kv_heads, false);
        let (out, lse) = attention(&q, &k, &v, &context.spans, spec);
        let y = x.clone() + pass.linear(Target::O, &self.o, &out); // [N, D]
        let h = rms_norm(&y, &self.post_norm, self.eps);
        let (added, mlp) = self.mlp.forward(&h, &mut pass)?;
        let result = y.clone() + added; // [N, D]
        let attention = AttentionSaved { q, k, v, out, lse };
        Ok((result, BlockSaved { x, q_raw, k_raw, attention, y, mlp, low_rank: pass.finish() }))
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
        let BlockSaved { x, q_raw, k_raw, attention, y, mlp, low_rank } = saved;
        let mut pass = BackwardPass::new(updates, low_rank);
        let spec = self.attention;
        let h = rms_norm(&y, &self.post_norm, self.eps);
        let dh = self.mlp.backward(mlp, &h, &dout, &mut pass); // [N, D]
        let dy = dout + rms_norm_backward(&y, &self.post_norm, dh, self.eps);

        let dattended = pass.linear(Target::O, &self.o, &attention.out, &dy, None); // [N, H * head_dim]
        let (dq, dk, dv) = attention_backward(attention, dattended, &context.spans, spec);
        let dq = rope(dq, &context.cos, &context.sin, spec.heads, true);
        let dk = rope(dk, &context.cos, &context.sin, spec.kv_heads, true);
        let dq = self.head_norm_backward(dq, q_raw, self.q_norm.as_ref());
        let dk = self.head_norm_backward(dk, k_raw, self.k_norm.as_ref());
        let h = rms_norm(&x, &self.input_norm, self.eps);
        let dh = pass.linear(Target::Q, &self.q, &h, &dq, None);
        let dh = pass.linear(Target::K, &self.k, &h, &dk, Some(dh));
        let dh = pass.linear(Target::V, &self.v, &h, &dv, Some(dh)); // [N, D]
        let dx = dy + rms_norm_backward(&x, &self.input_norm, dh, self.eps);
        (dx, pass.finish())
    }
}

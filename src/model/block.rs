//! One decoder block, forward and backward, mirroring `LlamaDecoderLayer` and its kin.

use burn::tensor::Tensor;

use super::attention::{Context, SelfAttention, SelfAttentionSaved};
use super::cache::CachedLayer;
use super::error::ModelError;
use super::mlp::{Mlp, MlpSaved};
use super::norm::Norm;
use super::updates::{BackwardPass, BlockGrads, BlockUpdates, ForwardPass, LowRankInputs};

/// The weights of one block, frozen.
pub struct Block {
    pub attention_norm: Norm,
    pub attention: SelfAttention,
    /// Gemma 2 norms what each half adds as well.
    pub attention_out_norm: Option<Norm>,
    pub mlp_norm: Norm,
    pub mlp: Mlp,
    pub mlp_out_norm: Option<Norm>,
}

/// Activations that the backward pass cannot cheaply recompute.
pub struct BlockSaved {
    x: Tensor<2>,
    attention: SelfAttentionSaved,
    /// What a half added before it was normed; only kept where it is.
    attention_out: Option<Tensor<2>>,
    y: Tensor<2>,
    mlp: MlpSaved,
    mlp_out: Option<Tensor<2>>,
    low_rank: LowRankInputs,
}

impl BlockSaved {
    /// The block's input alone, from which the rest can be computed again.
    pub fn into_input(self) -> Tensor<2> {
        self.x
    }
}

/// Norms what a half adds, where it has such a norm; answers the input too then.
fn out_norm(out: Tensor<2>, norm: Option<&Norm>) -> (Tensor<2>, Option<Tensor<2>>) {
    match norm {
        Some(norm) => (norm.forward(&out), Some(out)),
        None => (out, None),
    }
}

fn out_norm_backward(dout: &Tensor<2>, out: Option<Tensor<2>>, norm: Option<&Norm>) -> Tensor<2> {
    match out.zip(norm) {
        Some((out, norm)) => norm.backward(&out, dout.clone()),
        None => dout.clone(),
    }
}

impl Block {
    /// x `[N, D]` -> the next block's input `[N, D]`. With a cache, the spans name its rows, and the batch's keys and
    /// values join it; there is no backward pass then.
    ///
    /// # Errors
    /// Those of [`Mlp::forward`].
    pub fn forward(
        &self,
        x: Tensor<2>,
        context: &Context,
        updates: Option<&BlockUpdates>,
        cache: Option<CachedLayer<'_>>,
    ) -> Result<(Tensor<2>, BlockSaved), ModelError> {
        let mut pass = ForwardPass::new(updates);
        let h = self.attention_norm.forward(&x); // [N, D]
        let (out, attention) = self.attention.forward(&h, context, &mut pass, cache);
        let (out, attention_out) = out_norm(out, self.attention_out_norm.as_ref());
        let y = x.clone() + out; // [N, D]
        let h = self.mlp_norm.forward(&y);
        let (out, mlp) = self.mlp.forward(&h, &mut pass)?;
        let (out, mlp_out) = out_norm(out, self.mlp_out_norm.as_ref());
        let result = y.clone() + out; // [N, D]
        let low_rank = pass.finish();
        Ok((result, BlockSaved { x, attention, attention_out, y, mlp, mlp_out, low_rank }))
    }

    /// dout `[N, D]` -> gradients of the updates, and by x `[N, D]`.
    pub fn backward(
        &self,
        saved: BlockSaved,
        dout: Tensor<2>,
        context: &Context,
        updates: &BlockUpdates,
    ) -> (Tensor<2>, BlockGrads) {
        let BlockSaved { x, attention, attention_out, y, mlp, mlp_out, low_rank } = saved;
        let mut pass = BackwardPass::new(updates, low_rank);
        let dmlp = out_norm_backward(&dout, mlp_out, self.mlp_out_norm.as_ref());
        let h = self.mlp_norm.forward(&y);
        let dh = self.mlp.backward(mlp, &h, &dmlp, &mut pass); // [N, D]
        let dy = dout + self.mlp_norm.backward(&y, dh);

        let dattention = out_norm_backward(&dy, attention_out, self.attention_out_norm.as_ref());
        let normed = || self.attention_norm.forward(&x);
        let dh = self.attention.backward(attention, normed, &dattention, context, &mut pass);
        let dx = dy + self.attention_norm.backward(&x, dh);
        (dx, pass.finish())
    }
}

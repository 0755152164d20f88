//! A frozen linear layer with an optional trainable low-rank update (LoRA, arXiv 2106.09685, Eq. 3):
//! `y = W x + b + s B A dropout(x)`.

use burn::tensor::Tensor;

use crate::kernels::{Weight, dropout, matmul, matmul_add};

/// Frozen weight `[O, I]` as checkpoints store it, and bias `[O]`.
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Tensor<1>>,
}

/// The trainable update of one layer: `a` `[r, I]`, `b` `[O, r]`.
pub struct LowRank {
    pub a: Tensor<2>,
    pub b: Tensor<2>,
    pub scale: f32,
    /// Probability and the seed of this layer's mask in this step; `None` for no dropout.
    pub dropout: Option<(f32, u32)>,
}

impl LowRank {
    fn input(&self, x: &Tensor<2>) -> Tensor<2> {
        match self.dropout {
            Some((probability, seed)) => dropout(x, probability, seed),
            None => x.clone(),
        }
    }
}

/// Gradients of one site: by `a` and by `b`.
pub struct LowRankGrads {
    pub a: Tensor<2>,
    pub b: Tensor<2>,
}

impl Linear {
    /// x `[N, I]` -> y `[N, O]`, and `A x` `[N, r]`, which the backward pass needs.
    pub fn forward(
        &self,
        x: &Tensor<2>,
        update: Option<&LowRank>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let mut y = self.weight.forward(x);
        if let Some(bias) = &self.bias {
            y = y + bias.clone().unsqueeze();
        }
        let Some(update) = update else { return (y, None) };
        let xa = matmul(&update.input(x), &update.a, false, true);
        let y = matmul_add(y, &xa, &update.b, false, true, update.scale);
        (y, Some(xa))
    }

    /// Adds the gradient by x to `dx` (`None`: starts from zero), given x, `A x` and dy `[N, O]`.
    pub fn backward(
        &self,
        x: &Tensor<2>,
        dy: &Tensor<2>,
        update: Option<(&LowRank, Tensor<2>)>,
        dx: Option<Tensor<2>>,
    ) -> (Tensor<2>, Option<LowRankGrads>) {
        let dx = self.weight.backward_add(dy, dx);
        let Some((update, xa)) = update else { return (dx, None) };
        let dxa = matmul(dy, &update.b, false, false) * update.scale; // [N, r]
        let grads = LowRankGrads {
            a: matmul(&dxa, &update.input(x), true, false),
            b: matmul(dy, &xa, true, false) * update.scale,
        };
        let dx = match update.dropout {
            Some((probability, seed)) => {
                dx + dropout(&matmul(&dxa, &update.a, false, false), probability, seed)
            }
            None => matmul_add(dx, &dxa, &update.a, false, false, 1.0),
        };
        (dx, Some(grads))
    }
}

//! A root-mean-square norm with its frozen weight.

use burn::tensor::Tensor;

use crate::kernels::{rms_norm, rms_norm_backward};

pub struct Norm {
    pub weight: Tensor<1>,
    pub eps: f32,
}

impl Norm {
    /// x `[N, D]`, `[D]` being the weight's shape.
    pub fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        rms_norm(x, &self.weight, self.eps)
    }

    /// The gradient by x.
    pub fn backward(&self, x: &Tensor<2>, dy: Tensor<2>) -> Tensor<2> {
        rms_norm_backward(x, &self.weight, dy, self.eps)
    }

    /// x `[N, heads * D]`, every head by itself.
    pub fn heads(&self, x: &Tensor<2>) -> Tensor<2> {
        let shape = x.dims();
        self.forward(&self.rows(x.clone())).reshape(shape)
    }

    /// The gradient of [`Self::heads`] by x.
    pub fn heads_backward(&self, x: Tensor<2>, dy: Tensor<2>) -> Tensor<2> {
        let shape = x.dims();
        self.backward(&self.rows(x), self.rows(dy)).reshape(shape)
    }

    fn rows(&self, x: Tensor<2>) -> Tensor<2> {
        let ([n, width], [d]) = (x.dims(), self.weight.dims());
        x.reshape([n * width / d, d])
    }
}

//! The second half of a decoder block: a gated MLP, `down(silu(gate x) * up x)`.

use burn::tensor::Tensor;

use super::linear::Linear;
use super::place::Place;
use super::updates::{BackwardPass, ForwardPass};
use crate::config::Target;
use crate::kernels::{swiglu, swiglu_backward};

/// Three linear layers, frozen.
pub struct GatedMlp {
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

/// Activations that the backward pass cannot cheaply recompute, both `[N, F]`.
pub struct GatedSaved {
    gate: Tensor<2>,
    up: Tensor<2>,
}

impl GatedMlp {
    /// x `[N, D]` -> `[N, D]`. `expert`: which of a block's experts this is.
    pub fn forward(
        &self,
        x: &Tensor<2>,
        expert: Option<usize>,
        pass: &mut ForwardPass<'_>,
    ) -> (Tensor<2>, GatedSaved) {
        let place = |target| Place { expert, target };
        let gate = pass.linear(place(Target::Gate), &self.gate, x); // [N, F]
        let up = pass.linear(place(Target::Up), &self.up, x); // [N, F]
        let out = pass.linear(place(Target::Down), &self.down, &swiglu(&gate, &up)); // [N, D]
        (out, GatedSaved { gate, up })
    }

    /// The gradient by x `[N, D]`, given x once more and dout `[N, D]`.
    pub fn backward(
        &self,
        saved: GatedSaved,
        x: &Tensor<2>,
        dout: &Tensor<2>,
        expert: Option<usize>,
        pass: &mut BackwardPass<'_>,
    ) -> Tensor<2> {
        let GatedSaved { gate, up } = saved;
        let place = |target| Place { expert, target };
        let dact = pass.linear(place(Target::Down), &self.down, &swiglu(&gate, &up), dout, None);
        let (dgate, dup) = swiglu_backward(gate, up, dact);
        let dx = pass.linear(place(Target::Gate), &self.gate, x, &dgate, None);
        pass.linear(place(Target::Up), &self.up, x, &dup, Some(dx))
    }
}

//! The second half of a decoder block: a gated MLP, `down(act(gate x) * up x)`.

use burn::tensor::Tensor;

use super::linear::Linear;
use super::place::Place;
use super::updates::{BackwardPass, ForwardPass};
use crate::config::Target;
use crate::kernels::{Activation, columns, gated_activation, gated_activation_backward};

/// The layers that widen.
pub enum GateUp {
    Apart {
        gate: Linear,
        up: Linear,
    },
    /// One layer whose output is the gate and, behind it, what it gates (Phi-3).
    Fused(Linear),
}

/// Its linear layers, frozen.
pub struct GatedMlp {
    pub gate_up: GateUp,
    pub down: Linear,
    pub activation: Activation,
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
        let (gate, up) = match &self.gate_up {
            GateUp::Apart { gate, up } => (
                pass.linear(place(Target::Gate), gate, x), // [N, F]
                pass.linear(place(Target::Up), up, x),
            ),
            GateUp::Fused(layer) => {
                let both = pass.linear(place(Target::Gate), layer, x); // [N, 2 F]
                let f = both.dims()[1] / 2;
                (columns(&both, 0..f), columns(&both, f..2 * f))
            }
        };
        let active = gated_activation(&gate, &up, self.activation);
        let out = pass.linear(place(Target::Down), &self.down, &active); // [N, D]
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
        let active = gated_activation(&gate, &up, self.activation);
        let dactive = pass.linear(place(Target::Down), &self.down, &active, dout, None);
        drop(active);
        let (dgate, dup) = gated_activation_backward(gate, up, dactive, self.activation);
        match &self.gate_up {
            GateUp::Apart { gate, up } => {
                let dx = pass.linear(place(Target::Gate), gate, x, &dgate, None);
                pass.linear(place(Target::Up), up, x, &dup, Some(dx))
            }
            GateUp::Fused(layer) => {
                let both = Tensor::cat(vec![dgate, dup], 1); // [N, 2 F]
                pass.linear(place(Target::Gate), layer, x, &both, None)
            }
        }
    }
}

//! The second half of a decoder block: a gated MLP, `down(act(gate x) * up x)`, or several to which a router sends
//! each token.

use burn::tensor::Tensor;

use super::error::ModelError;
use super::linear::Linear;
use super::place::Place;
use super::routing::{Router, Routing, Share};
use super::updates::{BackwardPass, ForwardPass};
use crate::config::Target;
use crate::kernels::{Activation, columns, gated_activation, gated_activation_backward};

/// The MLP of a block.
pub struct Mlp {
    /// One, or the experts in their order.
    pub units: Vec<GatedMlp>,
    pub router: Option<Router>,
}

/// Its linear layers, frozen.
pub struct GatedMlp {
    pub gate_up: GateUp,
    pub down: Linear,
    pub activation: Activation,
}

/// The layers that widen.
#[expect(clippy::large_enum_variant, reason = "one a block, never moved in a loop")]
pub enum GateUp {
    Apart {
        gate: Linear,
        up: Linear,
    },
    /// One layer whose output is the gate and, behind it, what it gates (Phi-3).
    Fused(Linear),
}

/// Activations that the backward pass cannot cheaply recompute.
pub struct MlpSaved {
    parts: Vec<(Share, GatedSaved)>,
    routing: Option<Routing>,
}

/// What one gated MLP computed before its activation, both `[R, F]` for its R rows.
struct GatedSaved {
    gate: Tensor<2>,
    up: Tensor<2>,
}

impl GatedSaved {
    fn activated(&self, activation: Activation) -> Tensor<2> {
        gated_activation(&self.gate, &self.up, activation)
    }
}

impl GateUp {
    /// x `[R, D]` -> the gate and what it gates, both `[R, F]`. `at` gives the place of a target.
    fn forward(
        &self,
        x: &Tensor<2>,
        at: impl Fn(Target) -> Place,
        pass: &mut ForwardPass<'_>,
    ) -> GatedSaved {
        match self {
            GateUp::Apart { gate, up } => GatedSaved {
                gate: pass.linear(at(Target::Gate), gate, x),
                up: pass.linear(at(Target::Up), up, x),
            },
            GateUp::Fused(layer) => {
                let both = pass.linear(at(Target::Gate), layer, x); // [R, 2 F]
                let f = both.dims()[1] / 2;
                GatedSaved { gate: columns(&both, 0..f), up: columns(&both, f..2 * f) }
            }
        }
    }

    /// The gradient by x, given x and the gradients by both outputs.
    fn backward(
        &self,
        x: &Tensor<2>,
        (dgate, dup): (Tensor<2>, Tensor<2>),
        at: impl Fn(Target) -> Place,
        pass: &mut BackwardPass<'_>,
    ) -> Tensor<2> {
        match self {
            GateUp::Apart { gate, up } => {
                let dx = pass.linear(at(Target::Gate), gate, x, &dgate, None);
                pass.linear(at(Target::Up), up, x, &dup, Some(dx))
            }
            GateUp::Fused(layer) => {
                let both = Tensor::cat(vec![dgate, dup], 1); // [R, 2 F]
                pass.linear(at(Target::Gate), layer, x, &both, None)
            }
        }
    }
}

impl Mlp {
    fn unit(&self, share: &Share) -> &GatedMlp {
        &self.units[share.expert.unwrap_or(0)]
    }

    /// x `[N, D]` -> `[N, D]`.
    ///
    /// # Errors
    /// When the device fails while the router's choice is read.
    pub fn forward(
        &self,
        x: &Tensor<2>,
        pass: &mut ForwardPass<'_>,
    ) -> Result<(Tensor<2>, MlpSaved), ModelError> {
        let (routing, shares) = match &self.router {
            Some(router) => router.route(x).map(|(routing, shares)| (Some(routing), shares))?,
            None => (None, vec![Share::whole()]),
        };
        let mut outs = Vec::with_capacity(shares.len());
        let mut parts = Vec::with_capacity(shares.len());
        for share in shares {
            let mlp = self.unit(&share);
            let place = |target| Place { expert: share.expert, target };
            let rows = share.gather(x); // [R, D]
            let saved = mlp.gate_up.forward(&rows, place, pass);
            // `down` is linear and has no bias where rows are weighed: the weight may go in front of it, where the
            // backward pass finds its derivative without the output.
            let activated = share.weigh(saved.activated(mlp.activation));
            outs.push(pass.linear(place(Target::Down), &mlp.down, &activated)); // [R, D]
            parts.push((share, saved));
        }
        Ok((join(outs, routing.as_ref()), MlpSaved { parts, routing }))
    }

    /// The gradient by x `[N, D]`, given x once more and dout `[N, D]`.
    pub fn backward(
        &self,
        saved: MlpSaved,
        x: &Tensor<2>,
        dout: &Tensor<2>,
        pass: &mut BackwardPass<'_>,
    ) -> Tensor<2> {
        let MlpSaved { parts, routing } = saved;
        let mut dxs = Vec::with_capacity(parts.len());
        let mut dweights = Vec::with_capacity(parts.len());
        for (share, saved) in parts {
            let mlp = self.unit(&share);
            let place = |target| Place { expert: share.expert, target };
            let (dact, dweight) = {
                let activated = saved.activated(mlp.activation); // [R, F]
                let weighed = share.weigh(activated.clone());
                let dout = share.gather(dout); // [R, D]
                let dact = pass.linear(place(Target::Down), &mlp.down, &weighed, &dout, None);
                share.weigh_backward(activated, dact)
            };
            dweights.extend(dweight);
            let GatedSaved { gate, up } = saved;
            let both = gated_activation_backward(gate, up, dact, mlp.activation);
            let rows = share.gather(x); // [R, D]
            dxs.push(mlp.gate_up.backward(&rows, both, place, pass));
        }
        let dx = join(dxs, routing.as_ref()); // [N, D]
        match (&self.router, routing) {
            (Some(router), Some(routing)) => router.backward(routing, dweights, dx),
            _ => dx,
        }
    }
}

/// Every part's rows `[R, D]`, one part after the other, to a sum for each token `[N, D]`.
fn join(mut parts: Vec<Tensor<2>>, routing: Option<&Routing>) -> Tensor<2> {
    let rows = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) };
    match routing {
        Some(routing) => routing.combine(rows),
        None => rows,
    }
}

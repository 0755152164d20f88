//! The linear layers of a decoder block: one list, from which tensor names, adapter sites and sizes follow.

use super::config::ModelConfig;
use crate::config::Target;

/// Which linear layer of a block. Ordered as the lists of this module are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Where the MLP is a set of experts: which one.
    pub expert: Option<usize>,
    pub target: Target,
}

impl From<Target> for Place {
    fn from(target: Target) -> Place {
        Place { expert: None, target }
    }
}

/// One linear layer: its shape, and its module name in checkpoints and adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearSpec {
    pub place: Place,
    /// `model.layers.0.self_attn.q_proj`
    pub module: String,
    pub output: usize,
    pub input: usize,
    pub bias: bool,
}

impl ModelConfig {
    /// Every linear layer of a block, in the order of the forward pass.
    pub fn linears(&self, layer: usize) -> impl Iterator<Item = LinearSpec> + '_ {
        Target::ALL.into_iter().map(move |target| self.linear(layer, target.into()))
    }

    /// One linear layer of a block.
    pub fn linear(&self, layer: usize, place: Place) -> LinearSpec {
        let target = place.target;
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let (output, input, bias) = match target {
            Target::Q => (q, hidden, self.qkv_bias),
            Target::K | Target::V => (kv, hidden, self.qkv_bias),
            Target::O => (hidden, q, self.o_bias),
            Target::Gate | Target::Up => (inner, hidden, self.mlp_bias),
            Target::Down => (hidden, inner, self.mlp_bias),
        };
        let (parent, own) = (target.parent_name(), target.module_name());
        let module = format!("model.layers.{layer}.{parent}.{own}");
        LinearSpec { place, module, output, input, bias }
    }
}

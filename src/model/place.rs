//! The linear layers of a decoder block: one list, from which tensor names, adapter sites and sizes follow.

use super::config::{Architecture, ModelConfig};
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

/// The module names of the experts' linear layers.
fn expert_module(architecture: Architecture, target: Target) -> &'static str {
    match (architecture, target) {
        (Architecture::Mixtral, Target::Gate) => "w1",
        (Architecture::Mixtral, Target::Down) => "w2",
        (Architecture::Mixtral, Target::Up) => "w3",
        _ => target.module_name(),
    }
}

impl ModelConfig {
    /// How many experts a layer has; `None` where its MLP is dense.
    pub fn experts_of(&self, layer: usize) -> Option<usize> {
        self.experts.as_ref().filter(|experts| experts.layers[layer]).map(|experts| experts.count)
    }

    /// Every linear layer of a block that can carry an adapter, in the order of the forward pass; experts one after
    /// the other.
    pub fn linears(&self, layer: usize) -> impl Iterator<Item = LinearSpec> + '_ {
        let attention = Target::ALL.into_iter().filter(|target| !target.is_mlp()).map(Place::from);
        let units = match self.experts_of(layer) {
            Some(count) => (0..count).map(Some).collect(),
            None => vec![None],
        };
        let mlp = units.into_iter().flat_map(|expert| {
            let targets = Target::ALL.into_iter().filter(|target| target.is_mlp());
            targets.map(move |target| Place { expert, target })
        });
        attention.chain(mlp).map(move |place| self.linear(layer, place))
    }

    /// One linear layer of a block.
    pub fn linear(&self, layer: usize, place: Place) -> LinearSpec {
        let Place { expert, target } = place;
        let hidden = self.hidden_size;
        let inner = match (&self.experts, expert) {
            (Some(experts), Some(_)) => experts.intermediate_size,
            _ => self.intermediate_size,
        };
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let (output, input, bias) = match target {
            Target::Q => (q, hidden, self.qkv_bias),
            Target::K | Target::V => (kv, hidden, self.qkv_bias),
            Target::O => (hidden, q, self.o_bias),
            Target::Gate | Target::Up => (inner, hidden, self.mlp_bias),
            Target::Down => (hidden, inner, self.mlp_bias),
        };
        let module = match expert {
            Some(expert) => {
                let own = expert_module(self.architecture, target);
                format!("{}.experts.{expert}.{own}", self.experts_module(layer))
            }
            None => {
                let (parent, own) = (target.parent_name(), target.module_name());
                format!("model.layers.{layer}.{parent}.{own}")
            }
        };
        LinearSpec { place, module, output, input, bias }
    }

    /// The module of a layer's router: a frozen matrix `[experts, hidden]` without a bias.
    pub fn router_module(&self, layer: usize) -> String {
        format!("{}.gate", self.experts_module(layer))
    }

    fn experts_module(&self, layer: usize) -> String {
        let own = match self.architecture {
            Architecture::Mixtral => "block_sparse_moe",
            _ => "mlp",
        };
        format!("model.layers.{layer}.{own}")
    }
}

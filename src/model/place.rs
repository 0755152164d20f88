//! The linear layers of a decoder block: one list, from which tensor names, adapter sites and sizes follow.

use super::config::{Architecture, ModelConfig};
use super::error::ModelError;
use crate::config::Target;

/// Which linear layer of a block. Ordered as the lists of this module are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Where the MLP is a set of experts: which one.
    pub expert: Option<usize>,
    /// Of a fused layer: the first target it stands for.
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

/// The last part of a module's name: `q_proj`, `qkv_proj`.
pub fn own_name(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or_default()
}

impl LinearSpec {
    pub fn own_name(&self) -> &str {
        own_name(&self.module)
    }
}

/// The parameters in which transformers 5 holds a layer's experts, `[experts, rows, columns]`, behind the module's
/// name, and whose rows each expert's part holds.
pub const STACKS: [(&str, &[Target]); 2] =
    [("experts.gate_up_proj", &[Target::Gate, Target::Up]), ("experts.down_proj", &[Target::Down])];

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
        let attention = self.apart().filter(|target| !target.is_mlp()).map(Place::from);
        let units = match self.experts_of(layer) {
            Some(count) => (0..count).map(Some).collect(),
            None => vec![None],
        };
        let mlp = units.into_iter().flat_map(move |expert| {
            let targets = self.apart().filter(|target| target.is_mlp());
            targets.map(move |target| Place { expert, target })
        });
        attention.chain(mlp).map(move |place| self.linear(layer, place))
    }

    /// The targets that one layer stands for, `target` among them: several where the model fuses them.
    pub fn together(&self, target: Target) -> &'static [Target] {
        match target {
            Target::Q | Target::K | Target::V if self.fused_projections => {
                &[Target::Q, Target::K, Target::V]
            }
            Target::Gate | Target::Up if self.fused_projections => &[Target::Gate, Target::Up],
            Target::Q => &[Target::Q],
            Target::K => &[Target::K],
            Target::V => &[Target::V],
            Target::O => &[Target::O],
            Target::Gate => &[Target::Gate],
            Target::Up => &[Target::Up],
            Target::Down => &[Target::Down],
        }
    }

    /// One target for each layer of its own: all of them, or of those that one layer stands for the first.
    pub fn apart(&self) -> impl Iterator<Item = Target> + '_ {
        Target::ALL.into_iter().filter(|&target| self.together(target)[0] == target)
    }

    /// Whether an adapter can sit on these targets and on no others.
    ///
    /// # Errors
    /// Names the fused layer of which `targets` wants a part.
    pub fn check_targets(&self, targets: &[Target]) -> Result<(), ModelError> {
        let parted = targets
            .iter()
            .find(|target| self.together(**target).iter().any(|other| !targets.contains(other)));
        let Some(&target) = parted else { return Ok(()) };
        let names = |list: &[Target]| list.iter().map(|t| t.name()).collect::<Vec<_>>().join(",");
        Err(ModelError::PartOfFused {
            architecture: self.architecture.name(),
            module: self.linear(0, target.into()).own_name().to_owned(),
            together: names(self.together(target)),
            asked: names(targets),
        })
    }

    /// One linear layer of a block; of a fused one, any of its targets names it.
    pub fn linear(&self, layer: usize, place: Place) -> LinearSpec {
        let together = self.together(place.target);
        let place = Place { target: together[0], ..place };
        let Place { expert, target } = place;
        let hidden = self.hidden_size;
        let inner = match (&self.experts, expert) {
            (Some(experts), Some(_)) => experts.intermediate_size,
            _ => self.intermediate_size,
        };
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let (width, input, bias) = match target {
            Target::Q => (q, hidden, self.qkv_bias),
            Target::K | Target::V => (kv, hidden, self.qkv_bias),
            Target::O => (hidden, q, self.o_bias),
            Target::Gate | Target::Up => (inner, hidden, self.mlp_bias),
            Target::Down => (hidden, inner, self.mlp_bias),
        };
        let (output, own) = match together {
            [Target::Q, _, _] => (q + 2 * kv, "qkv_proj"),
            [Target::Gate, _] => (2 * inner, "gate_up_proj"),
            _ => (width, target.module_name()),
        };
        let module = match expert {
            Some(expert) => {
                let own = expert_module(self.architecture, target);
                format!("{}.experts.{expert}.{own}", self.experts_module(layer))
            }
            None => format!("model.layers.{layer}.{}.{own}", target.parent_name()),
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

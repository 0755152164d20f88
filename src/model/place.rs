//! The linear layers of a decoder block: one list, from which tensor names, adapter sites and sizes follow.

use super::config::ModelConfig;
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

impl ModelConfig {
    /// Every linear layer of a block, in the order of the forward pass.
    pub fn linears(&self, layer: usize) -> impl Iterator<Item = LinearSpec> + '_ {
        let apart = Target::ALL.into_iter().filter(|&target| self.together(target)[0] == target);
        apart.map(move |target| self.linear(layer, target.into()))
    }

    /// The targets that one layer stands for, `target` among them: several where the model fuses them.
    pub fn together(&self, target: Target) -> &'static [Target] {
        if self.fused_projections {
            return match target {
                Target::Q | Target::K | Target::V => &[Target::Q, Target::K, Target::V],
                Target::O => &[Target::O],
                Target::Gate | Target::Up => &[Target::Gate, Target::Up],
                Target::Down => &[Target::Down],
            };
        }
        match target {
            Target::Q => &[Target::Q],
            Target::K => &[Target::K],
            Target::V => &[Target::V],
            Target::O => &[Target::O],
            Target::Gate => &[Target::Gate],
            Target::Up => &[Target::Up],
            Target::Down => &[Target::Down],
        }
    }

    /// One linear layer of a block; of a fused one, any of its targets names it.
    pub fn linear(&self, layer: usize, place: Place) -> LinearSpec {
        let targets = self.together(place.target);
        let target = targets[0];
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
        let (width, input, bias) = match target {
            Target::Q => (q, hidden, self.qkv_bias),
            Target::K | Target::V => (kv, hidden, self.qkv_bias),
            Target::O => (hidden, q, self.o_bias),
            Target::Gate | Target::Up => (inner, hidden, self.mlp_bias),
            Target::Down => (hidden, inner, self.mlp_bias),
        };
        let (output, own) = match targets {
            [Target::Q, ..] if targets.len() > 1 => (q + 2 * kv, "qkv_proj"),
            [Target::Gate, ..] if targets.len() > 1 => (2 * inner, "gate_up_proj"),
            _ => (width, target.module_name()),
        };
        let module = format!("model.layers.{layer}.{}.{own}", target.parent_name());
        LinearSpec { place: Place { target, ..place }, module, output, input, bias }
    }

    /// Whether an adapter can sit on these targets and on no others.
    ///
    /// # Errors
    /// Names the fused layer of which `targets` wants a part.
    pub fn check_targets(&self, targets: &[Target]) -> Result<(), ModelError> {
        for target in targets {
            let together = self.together(*target);
            if together.iter().any(|other| !targets.contains(other)) {
                let names =
                    |list: &[Target]| list.iter().map(|t| t.name()).collect::<Vec<_>>().join(",");
                return Err(ModelError::PartOfFused {
                    architecture: self.architecture.name(),
                    module: self.linear(0, (*target).into()).own_name().to_owned(),
                    together: names(together),
                    asked: names(targets),
                });
            }
        }
        Ok(())
    }
}

impl LinearSpec {
    /// The last part of the module's name: `q_proj`, `qkv_proj`.
    pub fn own_name(&self) -> &str {
        self.module.rsplit('.').next().unwrap_or_default()
    }
}

//! What config.json says about a mixture of experts.

use serde_json::Value;

use super::config::{Architecture, unsupported};
use super::error::ModelError;
use super::json_fields::Fields;

/// The experts of a mixture-of-experts decoder, and how tokens are sent to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpertsConfig {
    /// Experts of one layer.
    pub count: usize,
    /// Experts that each token passes through.
    pub chosen: usize,
    /// Inner width of one expert.
    pub intermediate_size: usize,
    /// Whether the chosen experts' probabilities are scaled to a sum of 1.
    pub renormalise: bool,
    /// For each layer: whether its MLP is a set of experts.
    pub layers: Vec<bool>,
}

/// `None` for an architecture without experts. Absent fields take the defaults of transformers.
pub(super) fn read_experts(
    fields: &Fields,
    architecture: Architecture,
    num_layers: usize,
) -> Result<Option<ExpertsConfig>, ModelError> {
    let experts = match architecture {
        Architecture::Mixtral => {
            // The noise belongs to training from scratch; a run with it would not be what is computed here.
            if let Some(noise) = fields.number("router_jitter_noise")?.filter(|noise| *noise != 0.0)
            {
                return Err(unsupported(fields, "router_jitter_noise", &noise.to_string(), "0"));
            }
            ExpertsConfig {
                count: count(fields)?.unwrap_or(8),
                chosen: fields.size("num_experts_per_tok")?.unwrap_or(2),
                intermediate_size: fields.required_size("intermediate_size")?,
                renormalise: true,
                layers: vec![true; num_layers],
            }
        }
        Architecture::Qwen3Moe => ExpertsConfig {
            count: count(fields)?.unwrap_or(128),
            chosen: fields.size("num_experts_per_tok")?.unwrap_or(8),
            intermediate_size: fields.size("moe_intermediate_size")?.unwrap_or(768),
            renormalise: fields.flag("norm_topk_prob")?.unwrap_or(false),
            layers: sparse_layers(fields, num_layers)?,
        },
        _ => return Ok(None),
    };
    if experts.chosen > experts.count {
        let problem =
            format!("is {}, more than there are experts ({})", experts.chosen, experts.count);
        return Err(fields.error("num_experts_per_tok", problem));
    }
    Ok(Some(experts))
}

/// Both spellings of the number of experts are in use for either architecture.
fn count(fields: &Fields) -> Result<Option<usize>, ModelError> {
    match fields.size("num_local_experts")? {
        Some(count) => Ok(Some(count)),
        None => fields.size("num_experts"),
    }
}

/// Every `decoder_sparse_step`-th layer has experts, but for those that `mlp_only_layers` names.
fn sparse_layers(fields: &Fields, num_layers: usize) -> Result<Vec<bool>, ModelError> {
    let step = fields.size("decoder_sparse_step")?.unwrap_or(1);
    let dense = fields.list("mlp_only_layers")?.map(Vec::as_slice).unwrap_or_default();
    if let Some(odd) = dense.iter().find(|layer| layer.as_u64().is_none()) {
        return Err(fields.error("mlp_only_layers", format!("names the layer {odd}")));
    }
    let is_dense = |layer: usize| dense.iter().filter_map(Value::as_u64).any(|d| d == layer as u64);
    Ok((0..num_layers).map(|layer| (layer + 1).is_multiple_of(step) && !is_dense(layer)).collect())
}

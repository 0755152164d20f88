//! GGUF's names for the tensors of a checkpoint, and the order of rotary channels undone.

use crate::gguf::TensorInfo;
use crate::model::config::ModelConfig;

/// Where a tensor of a checkpoint may lie in a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    /// Which of the stacked experts; `None`: the whole tensor.
    pub expert: Option<usize>,
}

impl Place {
    /// The shape of the tensor, or of one expert of it; `None` where it has no such expert.
    pub fn shape(&self, tensor: &TensorInfo) -> Option<Vec<usize>> {
        let own = match self.expert {
            None => &tensor.shape[..],
            Some(expert) => {
                let (count, rest) = tensor.shape.split_first()?;
                ((expert as u64) < *count).then_some(rest)?
            }
        };
        own.iter().map(|&size| usize::try_from(size).ok()).collect()
    }
}

/// The places of a tensor by its safetensors name, newer spelling first; none for a name that GGUF has not.
pub fn places(name: &str) -> Vec<Place> {
    match name {
        "model.embed_tokens.weight" => return whole("token_embd.weight"),
        "model.norm.weight" => return whole("output_norm.weight"),
        "lm_head.weight" => return whole("output.weight"),
        _ => {}
    }
    of_layer(name).unwrap_or_default()
}

fn whole(name: impl Into<String>) -> Vec<Place> {
    vec![Place { name: name.into(), expert: None }]
}

fn of_layer(name: &str) -> Option<Vec<Place>> {
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = part.rsplit_once('.')?;
    let own = match module {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "block_sparse_moe.gate" | "mlp.gate" => "ffn_gate_inp",
        _ => return of_expert(layer, module, kind),
    };
    Some(whole(format!("blk.{layer}.{own}.{kind}")))
}

/// Experts are stacked into one tensor; files from before that have a tensor for each.
fn of_expert(layer: &str, module: &str, kind: &str) -> Option<Vec<Place>> {
    let rest = module
        .strip_prefix("block_sparse_moe.experts.")
        .or_else(|| module.strip_prefix("mlp.experts."))?;
    let (expert, matrix) = rest.split_once('.')?;
    let own = match matrix {
        "w1" | "gate_proj" => "ffn_gate",
        "w2" | "down_proj" => "ffn_down",
        "w3" | "up_proj" => "ffn_up",
        _ => return None,
    };
    let number = expert.parse().ok()?;
    let stacked = Place { name: format!("blk.{layer}.{own}_exps.{kind}"), expert: Some(number) };
    let apart = Place { name: format!("blk.{layer}.{own}.{number}.{kind}"), expert: None };
    Some(vec![stacked, apart])
}

/// Whether llama.cpp reorders the rows of a tensor.
pub fn is_permuted(name: &str) -> bool {
    name.contains("self_attn.q_proj") || name.contains("self_attn.k_proj")
}

/// llama.cpp interleaves the rotary halves of q and k in files of the `llama` architecture; puts them back.
pub fn unpermute(name: &str, values: Vec<f32>, shape: &[usize], config: &ModelConfig) -> Vec<f32> {
    if !is_permuted(name) {
        return values;
    }
    let heads =
        if name.contains("self_attn.q_proj") { config.num_heads } else { config.num_kv_heads };
    let rows = shape.first().copied().unwrap_or(0);
    let width = values.len() / rows.max(1);
    let head = rows / heads.max(1);
    let half = head / 2;
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        // Row `j` of a half stands at `2 j` (first half) or `2 j + 1` (second half) of its head.
        let (start, within) = (row / head.max(1) * head, row % head.max(1));
        let from = start + if within < half { 2 * within } else { 2 * (within - half) + 1 };
        out.extend_from_slice(&values[from * width..(from + 1) * width]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_looked_for_stacked_and_apart() {
        let places = places("model.layers.3.block_sparse_moe.experts.5.w2.weight");
        let stacked = Place { name: "blk.3.ffn_down_exps.weight".into(), expert: Some(5) };
        let apart = Place { name: "blk.3.ffn_down.5.weight".into(), expert: None };
        assert_eq!(places, [stacked.clone(), apart.clone()]);
        let info = |shape: &[u64]| TensorInfo { shape: shape.into(), kind: 0, start: 0, part: 0 };
        assert_eq!(stacked.shape(&info(&[8, 16, 32])), Some(vec![16, 32]));
        assert_eq!(stacked.shape(&info(&[5, 16, 32])), None, "there is no sixth expert");
        assert_eq!(apart.shape(&info(&[16, 32])), Some(vec![16, 32]));
    }

    #[test]
    fn names_of_every_supported_module_are_known() {
        let own = |name: &str| super::places(name).into_iter().next().map(|place| place.name);
        for (theirs, ours) in [
            ("model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias"),
            ("model.layers.0.self_attn.k_norm.weight", "blk.0.attn_k_norm.weight"),
            ("model.layers.1.block_sparse_moe.gate.weight", "blk.1.ffn_gate_inp.weight"),
            ("model.layers.1.block_sparse_moe.experts.0.w1.weight", "blk.1.ffn_gate_exps.weight"),
            ("model.layers.1.mlp.experts.7.up_proj.weight", "blk.1.ffn_up_exps.weight"),
            ("lm_head.weight", "output.weight"),
        ] {
            assert_eq!(own(theirs).as_deref(), Some(ours));
        }
        assert_eq!(own("model.layers.0.self_attn.rotary.inv_freq"), None);
        assert_eq!(own("model.layers.0.block_sparse_moe.experts.x.w1.weight"), None);
    }
}

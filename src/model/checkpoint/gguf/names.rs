//! GGUF's names for what safetensors and config.json call otherwise, and the order of rotary channels undone.

use serde_json::{Map, Value as Json, json};

use super::header::{Header, TensorInfo, Value};
use crate::model::config::ModelConfig;

/// Where a tensor of a checkpoint lies in a GGUF file.
pub struct Place {
    pub name: String,
    /// Experts are stacked into one tensor.
    pub expert: Option<usize>,
}

impl Place {
    /// The shape of the tensor, or of one expert of it.
    pub fn shape(&self, tensor: &TensorInfo) -> Option<Vec<usize>> {
        let skip = usize::from(self.expert.is_some());
        tensor.shape.get(skip..)?.iter().map(|&size| usize::try_from(size).ok()).collect()
    }
}

/// The place of a tensor by its safetensors name.
pub fn place(name: &str) -> Option<Place> {
    let whole = |name: String| Some(Place { name, expert: None });
    match name {
        "model.embed_tokens.weight" => return whole("token_embd.weight".to_owned()),
        "model.norm.weight" => return whole("output_norm.weight".to_owned()),
        "lm_head.weight" => return whole("output.weight".to_owned()),
        _ => {}
    }
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
        _ => {
            let rest = module
                .strip_prefix("block_sparse_moe.experts.")
                .or_else(|| module.strip_prefix("mlp.experts."))?;
            let (expert, matrix) = rest.split_once('.')?;
            let stacked = match matrix {
                "w1" | "gate_proj" => "ffn_gate_exps",
                "w2" | "down_proj" => "ffn_down_exps",
                "w3" | "up_proj" => "ffn_up_exps",
                _ => return None,
            };
            let name = format!("blk.{layer}.{stacked}.{kind}");
            return Some(Place { name, expert: Some(expert.parse().ok()?) });
        }
    };
    whole(format!("blk.{layer}.{own}.{kind}"))
}

/// llama.cpp interleaves the rotary halves of q and k in files of the `llama` architecture; puts them back.
pub fn unpermute(name: &str, values: Vec<f32>, shape: &[usize], config: &ModelConfig) -> Vec<f32> {
    let heads = if name.contains("self_attn.q_proj") {
        config.num_heads
    } else if name.contains("self_attn.k_proj") {
        config.num_kv_heads
    } else {
        return values;
    };
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

/// The config.json that the metadata amount to; `Err` names what is missing.
pub fn config_json(header: &Header) -> Result<Json, String> {
    let architecture = header.architecture().ok_or("general.architecture is missing")?;
    let number = |key: &str| match header.own(key) {
        Some(Value::Integer(number)) => Some(json!(number)),
        Some(Value::Real(number)) => Some(json!(number)),
        _ => None,
    };
    let needed =
        |key: &str| number(key).ok_or_else(|| format!("its metadata lack {architecture}.{key}"));
    let experts = number("expert_count").filter(|count| count.as_i64().is_some_and(|n| n > 0));
    let class = match (architecture, &experts) {
        ("llama", None) => "LlamaForCausalLM",
        ("llama", Some(_)) => "MixtralForCausalLM",
        ("qwen2", _) => "Qwen2ForCausalLM",
        ("qwen3", _) => "Qwen3ForCausalLM",
        ("qwen3moe", _) => "Qwen3MoeForCausalLM",
        (other, _) => {
            return Err(format!(
                "its architecture is {other}; of GGUF files llama, qwen2, qwen3 and qwen3moe can be read"
            ));
        }
    };
    let has = |name: &str| header.tensors.contains_key(name);
    let rows = header.tensors.get("token_embd.weight").and_then(|tensor| tensor.shape.first());
    let mut config = Map::new();
    let mut set = |key: &str, value: Json| config.insert(key.to_owned(), value);
    set("architectures", json!([class]));
    set("model_type", json!(class.trim_end_matches("ForCausalLM").to_lowercase()));
    set("hidden_act", json!("silu"));
    set("vocab_size", json!(rows.ok_or("it holds no token_embd.weight")?));
    set("hidden_size", needed("embedding_length")?);
    set("num_hidden_layers", needed("block_count")?);
    set("num_attention_heads", needed("attention.head_count")?);
    set("rms_norm_eps", needed("attention.layer_norm_rms_epsilon")?);
    set("intermediate_size", needed("feed_forward_length")?);
    set("max_position_embeddings", needed("context_length")?);
    let kv_heads = number("attention.head_count_kv").or_else(|| number("attention.head_count"));
    set("num_key_value_heads", kv_heads.unwrap_or_default());
    set("rope_theta", number("rope.freq_base").unwrap_or(json!(10_000.0)));
    let head = number("attention.key_length").or_else(|| number("rope.dimension_count"));
    if let Some(head) = head {
        set("head_dim", head);
    }
    if let Some(experts) = experts {
        set("num_local_experts", experts.clone());
        set("num_experts", experts);
        set("num_experts_per_tok", needed("expert_used_count")?);
        set("norm_topk_prob", json!(true));
        if let Some(width) = number("expert_feed_forward_length") {
            set("moe_intermediate_size", width);
        }
    }
    set("tie_word_embeddings", json!(!has("output.weight")));
    set("attention_bias", json!(has("blk.0.attn_q.bias")));
    set("mlp_bias", json!(has("blk.0.ffn_up.bias")));
    if let Some(scaling) = rope_scaling(header) {
        set("rope_scaling", scaling);
    }
    for (key, own) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")] {
        if let Some(Value::Integer(id)) = header.metadata.get(&format!("tokenizer.ggml.{own}")) {
            set(key, json!(id));
        }
    }
    Ok(Json::Object(config))
}

fn rope_scaling(header: &Header) -> Option<Json> {
    let Some(Value::Text(kind)) = header.own("rope.scaling.type") else { return None };
    let factor = match header.own("rope.scaling.factor") {
        Some(Value::Real(factor)) => *factor,
        _ => return None,
    };
    let original = match header.own("rope.scaling.original_context_length") {
        Some(Value::Integer(length)) => json!(length),
        _ => Json::Null,
    };
    match kind.as_str() {
        "linear" => Some(json!({"rope_type": "linear", "factor": factor})),
        "yarn" => Some(json!({
            "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
        })),
        _ => None,
    }
}

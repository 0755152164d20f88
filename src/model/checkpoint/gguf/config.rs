//! The config.json that a GGUF file's metadata amount to.

use serde_json::{Map, Value as Json, json};

use crate::gguf::{Gguf, Value};

/// Keys under the architecture's prefix that change the computation in a way that no supported family has. A number
/// that leaves it as it is may stand there.
const REFUSED: [(&str, f64); 13] = [
    ("attention.scale", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
    ("expert_shared_count", 0.0),
    ("leading_dense_block_count", 0.0),
    ("nextn_predict_layers", 0.0),
    ("rope.scaling.attn_factor", 1.0),
    ("rope.scaling.yarn_ext_factor", 1.0),
];

/// The metadata of one architecture.
struct Metadata<'a> {
    file: &'a Gguf,
    architecture: &'a str,
}

impl Metadata<'_> {
    /// A number, or `None` where the key is absent; a list (one value a layer) is refused.
    fn number(&self, key: &str) -> Result<Option<Json>, String> {
        match self.file.own(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(json!(number))),
            Some(Value::Real(number)) => Ok(Some(json!(number))),
            Some(Value::Array { .. }) => {
                Err(format!("{}.{key} differs from layer to layer", self.architecture))
            }
            Some(_) => Err(format!("{}.{key} is no number", self.architecture)),
        }
    }

    fn needed(&self, key: &str) -> Result<Json, String> {
        self.number(key)?.ok_or_else(|| format!("its metadata lack {}.{key}", self.architecture))
    }

    fn whole(&self, key: &str) -> Result<Option<i64>, String> {
        Ok(self.number(key)?.and_then(|number| number.as_i64()))
    }
}

/// The config.json; `Err` names what is missing or cannot be computed here.
pub fn config_json(file: &Gguf) -> Result<Json, String> {
    let architecture = file.architecture().ok_or("general.architecture is missing")?;
    let metadata = Metadata { file, architecture };
    let class = class_name(&metadata)?;
    for (key, neutral) in REFUSED {
        match metadata.number(key)?.and_then(|number| number.as_f64()) {
            Some(number) if number != neutral => {
                return Err(format!("{architecture}.{key} is {number}, which is not supported"));
            }
            _ => {}
        }
    }
    let has = |name: &str| file.tensors().contains_key(name);
    let rows = file.tensors().get("token_embd.weight").and_then(|tensor| tensor.shape.first());
    let mut config = Map::new();
    let mut set = |key: &str, value: Json| config.insert(key.to_owned(), value);
    set("architectures", json!([class]));
    set("model_type", json!(class.trim_end_matches("ForCausalLM").to_lowercase()));
    set("hidden_act", json!("silu"));
    set("vocab_size", json!(rows.ok_or("it holds no token_embd.weight")?));
    set("hidden_size", metadata.needed("embedding_length")?);
    set("num_hidden_layers", metadata.needed("block_count")?);
    let heads = metadata.needed("attention.head_count")?;
    let kv_heads = metadata.number("attention.head_count_kv")?;
    set("num_key_value_heads", kv_heads.unwrap_or_else(|| heads.clone()));
    set("num_attention_heads", heads);
    set("rms_norm_eps", metadata.needed("attention.layer_norm_rms_epsilon")?);
    set("intermediate_size", metadata.needed("feed_forward_length")?);
    set("max_position_embeddings", metadata.needed("context_length")?);
    set("rope_theta", metadata.number("rope.freq_base")?.unwrap_or(json!(10_000.0)));
    if let Some(head) = head_dim(&metadata)? {
        set("head_dim", json!(head));
    }
    set("tie_word_embeddings", json!(!has("output.weight")));
    set("attention_bias", json!(has("blk.0.attn_q.bias")));
    set("mlp_bias", json!(has("blk.0.ffn_up.bias")));
    if let Some(scaling) = rope_scaling(&metadata)? {
        set("rope_scaling", scaling);
    }
    for (key, id) in [("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")] {
        if let Some(id) = file.value(&format!("tokenizer.ggml.{id}")).and_then(Value::integer) {
            set(key, json!(id));
        }
    }
    set_window(&metadata, class, &mut config)?;
    set_experts(&metadata, &mut config)?;
    Ok(Json::Object(config))
}

/// llama.cpp keeps Mistral and Mixtral under `llama`: a window makes the one, experts the other.
fn class_name(metadata: &Metadata) -> Result<&'static str, String> {
    let experts = metadata.whole("expert_count")?.is_some_and(|count| count > 0);
    let window = metadata.whole("attention.sliding_window")?.is_some_and(|window| window > 0);
    match metadata.architecture {
        "llama" if experts => Ok("MixtralForCausalLM"),
        "llama" if window => Ok("MistralForCausalLM"),
        "llama" => Ok("LlamaForCausalLM"),
        "qwen2" => Ok("Qwen2ForCausalLM"),
        "qwen3" => Ok("Qwen3ForCausalLM"),
        "qwen3moe" => Ok("Qwen3MoeForCausalLM"),
        other => Err(format!(
            "its architecture is {other}, and of GGUF files llama, qwen2, qwen3 and qwen3moe can be read"
        )),
    }
}

fn set_window(
    metadata: &Metadata,
    class: &str,
    config: &mut Map<String, Json>,
) -> Result<(), String> {
    let window = metadata.whole("attention.sliding_window")?.filter(|window| *window > 0);
    match window {
        None => {
            // Mixtral's and Mistral's classes would take a window by default.
            config.insert("sliding_window".to_owned(), Json::Null);
            Ok(())
        }
        Some(window) if class.starts_with("Mi") => {
            config.insert("sliding_window".to_owned(), json!(window));
            Ok(())
        }
        Some(window) => Err(format!(
            "{}.attention.sliding_window is {window}, which is not supported in this architecture",
            metadata.architecture
        )),
    }
}

fn set_experts(metadata: &Metadata, config: &mut Map<String, Json>) -> Result<(), String> {
    let Some(experts) = metadata.whole("expert_count")?.filter(|count| *count > 0) else {
        return Ok(());
    };
    config.insert("num_local_experts".to_owned(), json!(experts));
    config.insert("num_experts".to_owned(), json!(experts));
    config.insert("num_experts_per_tok".to_owned(), metadata.needed("expert_used_count")?);
    config.insert("norm_topk_prob".to_owned(), json!(true));
    if let Some(width) = metadata.number("expert_feed_forward_length")? {
        config.insert("moe_intermediate_size".to_owned(), width);
    }
    Ok(())
}

/// Channels of a head; the rotary embedding and the values must cover the same.
fn head_dim(metadata: &Metadata) -> Result<Option<i64>, String> {
    let key = metadata.whole("attention.key_length")?;
    for other in ["attention.value_length", "rope.dimension_count"] {
        match (key, metadata.whole(other)?) {
            (Some(key), Some(other_length)) if key != other_length => {
                let architecture = metadata.architecture;
                return Err(format!(
                    "{architecture}.{other} is {other_length} for heads of {key} channels, which is not supported"
                ));
            }
            _ => {}
        }
    }
    Ok(key.or(metadata.whole("rope.dimension_count")?))
}

fn rope_scaling(metadata: &Metadata) -> Result<Option<Json>, String> {
    let kind = metadata.file.own("rope.scaling.type").and_then(Value::text);
    let factor = metadata.number("rope.scaling.factor")?;
    let Some(kind) = kind else {
        // The key of files from before scaling had types.
        let linear = metadata.number("rope.scale_linear")?.and_then(|factor| factor.as_f64());
        let stretched = linear.filter(|factor| *factor != 0.0 && *factor != 1.0);
        return Ok(stretched.map(|factor| json!({"rope_type": "linear", "factor": factor})));
    };
    let lacks = || format!("its metadata lack {}.rope.scaling.factor", metadata.architecture);
    let mut scaling = Map::new();
    match kind {
        "none" => return Ok(None),
        "linear" | "yarn" => {
            scaling.insert("rope_type".to_owned(), json!(kind));
            scaling.insert("factor".to_owned(), factor.ok_or_else(lacks)?);
        }
        other => return Err(format!("its rope.scaling.type {other} is not supported")),
    }
    let names = [
        ("original_max_position_embeddings", "rope.scaling.original_context_length"),
        ("beta_fast", "rope.scaling.yarn_beta_fast"),
        ("beta_slow", "rope.scaling.yarn_beta_slow"),
    ];
    for (name, key) in names {
        if let Some(number) = metadata.number(key)? {
            scaling.insert(name.to_owned(), number);
        }
    }
    Ok(Some(Json::Object(scaling)))
}

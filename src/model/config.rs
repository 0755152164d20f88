//! `config.json`, in both spellings (transformers 4 and 5), as the decoder needs it.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::ModelError;
use super::experts_config::{ExpertsConfig, read_experts};
use super::json_fields::Fields;
use super::rope::{Scaling, Yarn, frequencies};

/// Which published architecture the folder holds; decides tensor names and small differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
}

/// Rotary embedding, with `inv_freq[j]` in radians per position for channel pair `j` of `head_dim / 2`.
/// All scaling types (default, linear, llama3, yarn) reduce to these two.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Length `head_dim / 2`.
    pub inv_freq: Vec<f32>,
    /// YaRN's attention factor, multiplied into cos and sin; 1 otherwise.
    pub attention_scaling: f32,
}

/// The sizes and switches of one decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f32,
    pub rope: Rope,
    /// A key at distance `>= window` is hidden; `None` for full causal attention.
    /// One entry a layer (Qwen2's `max_window_layers`, `layer_types`).
    pub sliding_window: Vec<Option<usize>>,
    pub tie_word_embeddings: bool,
    /// Biases on q, k, v.
    pub qkv_bias: bool,
    /// Bias on o.
    pub o_bias: bool,
    pub mlp_bias: bool,
    /// RMS norm over each head of q and k (Qwen3).
    pub qk_norm: bool,
    /// Where the MLP of some layers is a set of experts.
    pub experts: Option<ExpertsConfig>,
    pub max_position_embeddings: usize,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

impl Architecture {
    const ALL: [Architecture; 6] = [
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Mixtral,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::Qwen3Moe,
    ];

    /// The class name in `architectures` of config.json.
    pub fn class_name(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Mistral => "MistralForCausalLM",
            Architecture::Mixtral => "MixtralForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
            Architecture::Qwen3Moe => "Qwen3MoeForCausalLM",
        }
    }

    /// The name people use: `Llama`, `Mistral`, `Qwen3Moe`, ..
    pub fn name(self) -> &'static str {
        self.class_name().trim_end_matches("ForCausalLM")
    }

    /// `model_type` of config.json.
    fn model_type(self) -> String {
        match self {
            Architecture::Qwen3Moe => "qwen3_moe".to_owned(),
            other => other.name().to_lowercase(),
        }
    }

    /// Names of all supported class names, for messages.
    pub fn supported() -> String {
        Self::ALL.map(Self::class_name).join(", ")
    }

    fn is_qwen(self) -> bool {
        matches!(self, Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Qwen3Moe)
    }

    fn is_mistral(self) -> bool {
        matches!(self, Architecture::Mistral | Architecture::Mixtral)
    }

    fn read(fields: &Fields) -> Result<Architecture, ModelError> {
        let class =
            fields.list("architectures")?.and_then(|list| list.first()).and_then(Value::as_str);
        let model_type = fields.text("model_type")?;
        let known = Self::ALL.into_iter().find(|a| match (class, model_type) {
            (Some(class), _) => class == a.class_name(),
            (None, Some(model_type)) => model_type == a.model_type(),
            (None, None) => false,
        });
        match (known, class.or(model_type)) {
            (Some(architecture), _) => Ok(architecture),
            (None, Some(found)) => Err(ModelError::Architecture {
                path: fields.path.to_path_buf(),
                found: found.to_owned(),
            }),
            (None, None) => Err(fields.error("architectures", "is missing")),
        }
    }
}

/// More layers than any published decoder has; a guard against absurd files.
const MAX_LAYERS: usize = 4096;

impl ModelConfig {
    /// Reads the text of a config.json; `path` only names it in errors.
    ///
    /// Absent fields take the defaults of transformers' configuration classes.
    pub fn parse(text: &str, path: &Path) -> Result<ModelConfig, ModelError> {
        let json = |source| ModelError::Json { path: path.to_path_buf(), source };
        let map: Map<String, Value> = serde_json::from_str(text).map_err(json)?;
        let fields = Fields { path, prefix: "", map: &map };

        let architecture = Architecture::read(&fields)?;
        let (qwen, qwen2, mistral) = (
            architecture.is_qwen(),
            architecture == Architecture::Qwen2,
            architecture.is_mistral(),
        );
        check_activation(&fields)?;

        let hidden_size = fields.required_size("hidden_size")?;
        let num_layers = fields.required_size("num_hidden_layers")?;
        if num_layers > MAX_LAYERS {
            return Err(
                fields.error("num_hidden_layers", format!("is {num_layers}, above {MAX_LAYERS}"))
            );
        }
        let (num_heads, num_kv_heads, head_dim) = read_heads(&fields, architecture, hidden_size)?;
        let default_positions = if qwen {
            32_768
        } else if mistral {
            131_072
        } else {
            2048
        };
        let max_position_embeddings =
            fields.size("max_position_embeddings")?.unwrap_or(default_positions);
        // Qwen2 always has them and says nothing; Mistral never has them.
        let attention_bias = !qwen2 && !mistral && fields.flag("attention_bias")?.unwrap_or(false);
        let special =
            |field: &str, default: u32| (!qwen && !map.contains_key(field)).then_some(default);
        let eos_token_ids = fields.token_ids("eos_token_id")?;

        Ok(ModelConfig {
            architecture,
            vocab_size: fields.required_size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size")?,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            rms_norm_eps: fields.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope: read_rope(&fields, architecture, head_dim, max_position_embeddings)?,
            sliding_window: read_sliding_window(&fields, architecture, num_layers)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: qwen2 || attention_bias,
            o_bias: attention_bias,
            mlp_bias: architecture == Architecture::Llama
                && fields.flag("mlp_bias")?.unwrap_or(false),
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe),
            experts: read_experts(&fields, architecture, num_layers)?,
            max_position_embeddings,
            bos_token_id: fields.token_id("bos_token_id")?.or(special("bos_token_id", 1)),
            eos_token_ids: special("eos_token_id", 2).map_or(eos_token_ids, |id| vec![id]),
        })
    }
}

fn check_activation(fields: &Fields) -> Result<(), ModelError> {
    match fields.text("hidden_act")? {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(fields.unsupported("hidden_act", other, "silu")),
    }
}

/// Query heads, key/value heads, channels a head.
fn read_heads(
    fields: &Fields,
    architecture: Architecture,
    hidden_size: usize,
) -> Result<(usize, usize, usize), ModelError> {
    let heads = fields.required_size("num_attention_heads")?;
    let absent = match architecture {
        Architecture::Llama => heads,
        Architecture::Mistral | Architecture::Mixtral => 8,
        Architecture::Qwen2 | Architecture::Qwen3 => 32,
        Architecture::Qwen3Moe => 4,
    };
    let null = fields.map.get("num_key_value_heads").is_some_and(Value::is_null);
    let kv_heads = fields.size("num_key_value_heads")?.unwrap_or(if null { heads } else { absent });
    if !heads.is_multiple_of(kv_heads) {
        let problem = format!("is {kv_heads}, which does not divide num_attention_heads ({heads})");
        return Err(fields.error("num_key_value_heads", problem));
    }
    let head_dim = match fields.size("head_dim")? {
        Some(given) => given,
        None if architecture == Architecture::Qwen3 && !fields.map.contains_key("head_dim") => 128,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let problem =
                format!("is {hidden_size}, not a multiple of num_attention_heads ({heads})");
            return Err(fields.error("hidden_size", problem));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(fields
            .error("head_dim", format!("is {head_dim}; rotary embedding needs an even number")));
    }
    Ok((heads, kv_heads, head_dim))
}

fn read_rope(
    fields: &Fields,
    architecture: Architecture,
    head_dim: usize,
    max_positions: usize,
) -> Result<Rope, ModelError> {
    // transformers 4 writes rope_scaling beside a top-level rope_theta, transformers 5 one rope_parameters.
    let scaling = match fields.object("rope_scaling", "rope_scaling.")? {
        Some(object) => Some(object),
        None => fields.object("rope_parameters", "rope_parameters.")?,
    };
    let absent = if architecture == Architecture::Mixtral { 1e6 } else { 1e4 };
    let outer_theta = fields.positive("rope_theta")?.unwrap_or(absent);
    let outer_partial = fields.number("partial_rotary_factor")?;
    let Some(rope) = scaling else {
        check_partial(fields, outer_partial)?;
        return Ok(frequencies(head_dim, outer_theta, &Scaling::Default));
    };
    if rope.map.values().any(Value::is_object) {
        return Err(rope.unsupported(
            "(one set per layer type)",
            "nested",
            "one set for all layers",
        ));
    }
    check_partial(&rope, rope.number("partial_rotary_factor")?.or(outer_partial))?;
    let theta = rope.positive("rope_theta")?.unwrap_or(outer_theta);
    let original_max = match fields.size("original_max_position_embeddings")? {
        Some(outer) => outer,
        None => rope.size("original_max_position_embeddings")?.unwrap_or(max_positions),
    } as f64;
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => Scaling::Default,
        "linear" => Scaling::Linear { factor: rope.required_positive("factor")? },
        "llama3" => read_llama3(&rope, original_max)?,
        "yarn" => Scaling::Yarn(read_yarn(&rope, original_max, max_positions)?),
        other => {
            return Err(rope.unsupported("rope_type", other, "default, linear, llama3 or yarn"));
        }
    };
    Ok(frequencies(head_dim, theta, &scaling))
}

fn check_partial(fields: &Fields, factor: Option<f64>) -> Result<(), ModelError> {
    match factor {
        Some(part) if part != 1.0 => {
            Err(fields.unsupported("partial_rotary_factor", &part.to_string(), "1"))
        }
        _ => Ok(()),
    }
}

fn read_llama3(rope: &Fields, original_max: f64) -> Result<Scaling, ModelError> {
    let low_freq_factor = rope.required_positive("low_freq_factor")?;
    let high_freq_factor = rope.required_positive("high_freq_factor")?;
    if high_freq_factor <= low_freq_factor {
        let problem =
            format!("is {high_freq_factor}, not above low_freq_factor ({low_freq_factor})");
        return Err(rope.error("high_freq_factor", problem));
    }
    let factor = rope.required_positive("factor")?;
    Ok(Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max })
}

fn read_yarn(rope: &Fields, original_max: f64, max_positions: usize) -> Result<Yarn, ModelError> {
    let nonzero = |field: &str, default: f64| -> Result<f64, ModelError> {
        Ok(rope.number(field)?.filter(|x| *x != 0.0).unwrap_or(default))
    };
    Ok(Yarn {
        factor: rope.positive("factor")?.unwrap_or(max_positions as f64 / original_max),
        original_max,
        beta_fast: nonzero("beta_fast", 32.0)?,
        beta_slow: nonzero("beta_slow", 1.0)?,
        attention_factor: rope.number("attention_factor")?,
        mscale: rope.number("mscale")?,
        mscale_all_dim: rope.number("mscale_all_dim")?,
        truncate: rope.flag("truncate")?.unwrap_or(true),
    })
}

/// The window of each layer. Llama has none. Mistral has one for all layers (4096 where config.json says
/// nothing; Mixtral none then). Qwen has one only with `use_sliding_window`, on the layers from `max_window_layers` up
/// or as `layer_types` says (Qwen3-MoE on all).
fn read_sliding_window(
    fields: &Fields,
    architecture: Architecture,
    num_layers: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    if architecture == Architecture::Llama {
        return Ok(vec![None; num_layers]);
    }
    let absent = !fields.map.contains_key("sliding_window");
    let absent = absent && architecture != Architecture::Mixtral;
    let window = fields.size("sliding_window")?.or(absent.then_some(4096));
    if architecture.is_mistral() {
        return Ok(vec![window; num_layers]);
    }
    let window =
        window.filter(|_| matches!(fields.map.get("use_sliding_window"), Some(Value::Bool(true))));
    if architecture == Architecture::Qwen3Moe {
        return Ok(vec![window; num_layers]);
    }
    let Some(types) = fields.list("layer_types")? else {
        let first = match fields.get("max_window_layers").map(Value::as_u64) {
            None => 28,
            Some(Some(first)) => first as usize,
            Some(None) => return Err(fields.error("max_window_layers", "is not a whole number")),
        };
        return Ok((0..num_layers).map(|layer| window.filter(|_| layer >= first)).collect());
    };
    if types.len() != num_layers {
        let problem = format!("has {} entries for {num_layers} layers", types.len());
        return Err(fields.error("layer_types", problem));
    }
    types
        .iter()
        .map(|kind| match kind.as_str() {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(window),
            _ => Err(fields.unsupported(
                "layer_types",
                &kind.to_string(),
                "full_attention or sliding_attention",
            )),
        })
        .collect()
}

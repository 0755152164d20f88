//! `config.json`, in both spellings (transformers 4 and 5), as the decoder needs it.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::ModelError;
use super::experts_config::{ExpertsConfig, read_experts};
use super::json_fields::Fields;
use super::rope_fields::read_rope;
use crate::kernels::Activation;

/// Which published architecture the folder holds; decides tensor names and small differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Mixtral,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Phi3,
    Gemma2,
}

/// Rotary embedding, with `inv_freq[j]` in radians per position for channel pair `j`.
/// All scaling types (default, linear, llama3, yarn, longrope) reduce to these.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Half as many as a head has channels that turn: all of them, or Phi-3's `partial_rotary_factor`.
    pub inv_freq: Vec<f32>,
    /// The attention factor of YaRN and LongRoPE, multiplied into cos and sin; 1 otherwise.
    pub attention_scaling: f32,
    pub long: Option<LongRope>,
}

/// LongRoPE's second set of frequencies (arXiv 2402.13753).
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// For all positions of sequences of more tokens than this.
    pub beyond: usize,
    pub inv_freq: Vec<f32>,
}

impl Rope {
    /// The frequencies for a sequence of `length` tokens.
    pub fn inv_freq(&self, length: usize) -> &[f32] {
        match &self.long {
            Some(long) if length > long.beyond => &long.inv_freq,
            _ => &self.inv_freq,
        }
    }
}

/// Names of a block's norms, without `model.layers.N.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockNorms {
    pub attention: &'static str,
    pub mlp: &'static str,
    /// Over what each half adds (Gemma 2).
    pub attention_out: Option<&'static str>,
    pub mlp_out: Option<&'static str>,
}

impl BlockNorms {
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [Some(self.attention), self.attention_out, Some(self.mlp), self.mlp_out]
            .into_iter()
            .flatten()
    }
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
    /// One layer for q, k and v, and one for gate and up (Phi-3).
    pub fused_projections: bool,
    pub activation: Activation,
    /// Factor on `q k^T`.
    pub attention_scale: f32,
    /// Attention scores become `cap tanh(score / cap)`, and logits (Gemma 2).
    pub attention_softcap: Option<f32>,
    pub logit_softcap: Option<f32>,
    /// Factor on embeddings: Gemma's `sqrt(hidden_size)`.
    pub embedding_scale: f32,
    /// Norms multiply by one plus their weight (Gemma).
    pub unit_offset_norms: bool,
    /// What attention and MLP add is normed as well (Gemma 2).
    pub out_norms: bool,
    /// Where the MLP of some layers is a set of experts.
    pub experts: Option<ExpertsConfig>,
    pub max_position_embeddings: usize,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

impl Architecture {
    const ALL: [Architecture; 8] = [
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Mixtral,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::Qwen3Moe,
        Architecture::Phi3,
        Architecture::Gemma2,
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
            Architecture::Phi3 => "Phi3ForCausalLM",
            Architecture::Gemma2 => "Gemma2ForCausalLM",
        }
    }

    /// The name people use: `Llama`, `Mistral`, `Qwen2`, `Phi3`, ..
    pub fn name(self) -> &'static str {
        self.class_name().trim_end_matches("ForCausalLM")
    }

    /// Names of all supported class names, for messages.
    pub fn supported() -> String {
        Self::ALL.map(Self::class_name).join(", ")
    }

    /// `model_type` of config.json.
    fn model_type(self) -> String {
        match self {
            Architecture::Qwen3Moe => "qwen3_moe".to_owned(),
            other => other.name().to_lowercase(),
        }
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
        let defaults = Defaults::of(architecture);
        let activation = read_activation(&fields, architecture)?;
        let hidden_size = fields.required_size("hidden_size")?;
        let num_layers = fields.required_size("num_hidden_layers")?;
        if num_layers > MAX_LAYERS {
            return Err(
                fields.error("num_hidden_layers", format!("is {num_layers}, above {MAX_LAYERS}"))
            );
        }
        let (num_heads, num_kv_heads, head_dim) = read_heads(&fields, architecture, hidden_size)?;
        let positions =
            fields.size("max_position_embeddings")?.unwrap_or(defaults.max_position_embeddings);
        let (qkv_bias, o_bias, mlp_bias) = read_biases(&fields, architecture)?;
        let gemma2 = architecture == Architecture::Gemma2;
        let softcap = |field, default| read_softcap(&fields, gemma2, field, default);
        let absent = |field: &str| !map.contains_key(field);
        let mut eos_token_ids = fields.token_ids("eos_token_id")?;
        eos_token_ids.extend(defaults.eos_token_id.filter(|_| absent("eos_token_id")));

        Ok(ModelConfig {
            architecture,
            vocab_size: fields.required_size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size")?,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            rms_norm_eps: fields.positive("rms_norm_eps")?.unwrap_or(defaults.rms_norm_eps) as f32,
            rope: read_rope(&fields, architecture, head_dim, positions)?,
            sliding_window: read_sliding_window(&fields, architecture, num_layers)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(gemma2),
            qkv_bias,
            o_bias,
            mlp_bias,
            qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe),
            fused_projections: architecture == Architecture::Phi3,
            activation,
            attention_scale: read_attention_scale(&fields, architecture, head_dim)?,
            attention_softcap: softcap("attn_logit_softcapping", 50.0)?,
            logit_softcap: softcap("final_logit_softcapping", 30.0)?,
            // transformers rounds it to the type of the weights; here all of them are f32.
            embedding_scale: if gemma2 { (hidden_size as f64).sqrt() as f32 } else { 1.0 },
            unit_offset_norms: gemma2,
            out_norms: gemma2,
            experts: read_experts(&fields, architecture, num_layers)?,
            max_position_embeddings: positions,
            bos_token_id: fields
                .token_id("bos_token_id")?
                .or(defaults.bos_token_id.filter(|_| absent("bos_token_id"))),
            eos_token_ids,
        })
    }

    /// Names of the norms of each block.
    pub fn block_norms(&self) -> BlockNorms {
        if self.out_norms {
            return BlockNorms {
                attention: "input_layernorm",
                mlp: "pre_feedforward_layernorm",
                attention_out: Some("post_attention_layernorm"),
                mlp_out: Some("post_feedforward_layernorm"),
            };
        }
        BlockNorms {
            attention: "input_layernorm",
            mlp: "post_attention_layernorm",
            attention_out: None,
            mlp_out: None,
        }
    }
}

/// What transformers' configuration classes assume where config.json says nothing.
struct Defaults {
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    bos_token_id: Option<u32>,
    eos_token_id: Option<u32>,
}

impl Defaults {
    fn of(architecture: Architecture) -> Defaults {
        let (max_position_embeddings, rms_norm_eps, special) = match architecture {
            Architecture::Llama => (2048, 1e-6, Some((1, 2))),
            Architecture::Mistral | Architecture::Mixtral => (131_072, 1e-6, Some((1, 2))),
            Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Qwen3Moe => {
                (32_768, 1e-6, None)
            }
            Architecture::Phi3 => (4096, 1e-5, Some((1, 32_000))),
            Architecture::Gemma2 => (8192, 1e-6, Some((2, 1))),
        };
        let (bos_token_id, eos_token_id) = special.unzip();
        Defaults { max_position_embeddings, rms_norm_eps, bos_token_id, eos_token_id }
    }
}

fn read_activation(fields: &Fields, architecture: Architecture) -> Result<Activation, ModelError> {
    if architecture == Architecture::Gemma2 {
        // Gemma ignores `hidden_act`.
        return match fields.text("hidden_activation")? {
            None | Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(other) => {
                Err(unsupported(fields, "hidden_activation", other, "gelu_pytorch_tanh"))
            }
        };
    }
    match fields.text("hidden_act")? {
        None | Some("silu" | "swish") => Ok(Activation::Silu),
        Some(other) => Err(unsupported(fields, "hidden_act", other, "silu")),
    }
}

/// Biases on q, k and v, on o, on the MLP's layers.
fn read_biases(
    fields: &Fields,
    architecture: Architecture,
) -> Result<(bool, bool, bool), ModelError> {
    let attention = fields.flag("attention_bias")?.unwrap_or(false);
    let mlp = fields.flag("mlp_bias")?.unwrap_or(false);
    Ok(match architecture {
        Architecture::Llama => (attention, attention, mlp),
        Architecture::Qwen3 | Architecture::Qwen3Moe | Architecture::Gemma2 => {
            (attention, attention, false)
        }
        // Always has them and says nothing.
        Architecture::Qwen2 => (true, false, false),
        // Never have them.
        Architecture::Mistral | Architecture::Mixtral | Architecture::Phi3 => (false, false, false),
    })
}

fn read_attention_scale(
    fields: &Fields,
    architecture: Architecture,
    head_dim: usize,
) -> Result<f32, ModelError> {
    if architecture == Architecture::Gemma2 {
        if fields.flag("use_bidirectional_attention")? == Some(true) {
            return Err(unsupported(fields, "use_bidirectional_attention", "true", "false"));
        }
        let scalar = fields.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
        return Ok(scalar.powf(-0.5) as f32);
    }
    Ok(1.0 / (head_dim as f32).sqrt())
}

/// Gemma 2's soft caps; null switches one off.
fn read_softcap(
    fields: &Fields,
    gemma2: bool,
    field: &str,
    default: f64,
) -> Result<Option<f32>, ModelError> {
    if !gemma2 {
        return Ok(None);
    }
    let absent = (!fields.map.contains_key(field)).then_some(default);
    Ok(fields.positive(field)?.or(absent).map(|cap| cap as f32))
}

pub(super) fn unsupported(
    fields: &Fields,
    field: &str,
    found: &str,
    supported: &'static str,
) -> ModelError {
    ModelError::Unsupported {
        path: fields.path.to_path_buf(),
        field: format!("{}{field}", fields.prefix),
        found: found.to_owned(),
        supported,
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
        Architecture::Llama | Architecture::Phi3 => heads,
        Architecture::Mistral | Architecture::Mixtral => 8,
        Architecture::Qwen2 | Architecture::Qwen3 => 32,
        Architecture::Qwen3Moe | Architecture::Gemma2 => 4,
    };
    let null = fields.map.get("num_key_value_heads").is_some_and(Value::is_null);
    let kv_heads = fields.size("num_key_value_heads")?.unwrap_or(if null { heads } else { absent });
    if !heads.is_multiple_of(kv_heads) {
        let problem = format!("is {kv_heads}, which does not divide num_attention_heads ({heads})");
        return Err(fields.error("num_key_value_heads", problem));
    }
    let absent = !fields.map.contains_key("head_dim");
    let head_dim = match fields.size("head_dim")? {
        Some(given) => given,
        None if architecture == Architecture::Qwen3 && absent => 128,
        None if architecture == Architecture::Gemma2 && absent => 256,
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

/// The window of each layer. Llama has none. Mistral, Mixtral and Phi-3 have one for all layers (Mistral: 4096 where
/// config.json says nothing). Qwen has one only with `use_sliding_window`, on the layers from `max_window_layers` up
/// or as `layer_types` says (Qwen3-MoE on all); Gemma 2 on every other layer, the first among them, or as `layer_types` says.
fn read_sliding_window(
    fields: &Fields,
    architecture: Architecture,
    num_layers: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    let absent = !fields.map.contains_key("sliding_window");
    let window = fields.size("sliding_window")?;
    let window_or_4096 = window.or(absent.then_some(4096));
    let first = match fields.get("max_window_layers").map(Value::as_u64) {
        None => 28,
        Some(Some(first)) => first as usize,
        Some(None) => return Err(fields.error("max_window_layers", "is not a whole number")),
    };
    let all = |window| Ok(vec![window; num_layers]);
    let some = |window: Option<usize>, has: &dyn Fn(usize) -> bool| match window_layers(
        fields, num_layers,
    )? {
        Some(typed) => Ok(typed.into_iter().map(|windowed| window.filter(|_| windowed)).collect()),
        None => Ok((0..num_layers).map(|layer| window.filter(|_| has(layer))).collect()),
    };
    match architecture {
        Architecture::Llama => all(None),
        Architecture::Mistral => all(window_or_4096),
        Architecture::Mixtral | Architecture::Phi3 => all(window),
        Architecture::Qwen2 | Architecture::Qwen3 => {
            let on = matches!(fields.map.get("use_sliding_window"), Some(Value::Bool(true)));
            some(window_or_4096.filter(|_| on), &|layer| layer >= first)
        }
        Architecture::Qwen3Moe => {
            let on = matches!(fields.map.get("use_sliding_window"), Some(Value::Bool(true)));
            all(window_or_4096.filter(|_| on))
        }
        Architecture::Gemma2 => some(window_or_4096, &|layer| layer % 2 == 0),
    }
}

/// Which layers `layer_types` gives the window; `None` where config.json does not have it.
fn window_layers(fields: &Fields, num_layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    let Some(types) = fields.list("layer_types")? else { return Ok(None) };
    if types.len() != num_layers {
        let problem = format!("has {} entries for {num_layers} layers", types.len());
        return Err(fields.error("layer_types", problem));
    }
    let windowed = types.iter().map(|kind| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(unsupported(
            fields,
            "layer_types",
            &kind.to_string(),
            "full_attention or sliding_attention",
        )),
    });
    windowed.collect::<Result<_, _>>().map(Some)
}

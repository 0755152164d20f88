//! `config.json`, in both spellings (transformers 4 and 5), as the decoder needs it.

/// Which published architecture the folder holds; decides tensor names and small differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
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
    pub max_position_embeddings: usize,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

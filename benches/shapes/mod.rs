//! The shapes that the benchmarks share.

use dpop_studio::model::config::{Architecture, ModelConfig, Rope};

/// A Llama of 15M or 110M parameters, and the length of its sequences in training.
pub fn model_config(size: &str) -> (ModelConfig, usize) {
    let (hidden, inner, layers, heads, sequence) = match size {
        "110m" => (768, 2048, 12, 12, 512),
        _ => (288, 768, 6, 6, 256),
    };
    let head_dim = hidden / heads;
    let config = ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 32_000,
        hidden_size: hidden,
        intermediate_size: inner,
        num_layers: layers,
        num_heads: heads,
        num_kv_heads: heads,
        head_dim,
        rms_norm_eps: 1e-6,
        rope: Rope {
            inv_freq: (0..head_dim / 2)
                .map(|j| 10_000f32.powf(-2.0 * j as f32 / head_dim as f32))
                .collect(),
            attention_scaling: 1.0,
        },
        sliding_window: vec![None; layers],
        tie_word_embeddings: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
        max_position_embeddings: 1024,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    };
    (config, sequence)
}

//! The models that the benchmarks share: known shapes with random weights.

use std::borrow::Cow;
use std::path::Path;

use dpop_studio::model::checkpoint::expected_tensors;
use dpop_studio::model::config::ModelConfig;
use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Shape and usual length of a sequence: llama2.c's 15M and 110M models, Llama 3.2 1B, and a Mixtral whose two chosen of
/// eight experts have the width of the 110M's MLP.
pub fn model_config(size: &str) -> anyhow::Result<(serde_json::Value, usize)> {
    let (hidden, inner, layers, heads, kv_heads, vocabulary, sequence) = match size {
        "15m" => (288, 768, 6, 6, 6, 32_000, 256),
        "110m" => (768, 2048, 12, 12, 12, 32_000, 512),
        "8x110m" => (768, 1024, 12, 12, 12, 32_000, 512),
        "1b" => (2048, 8192, 16, 32, 8, 128_256, 128),
        other => anyhow::bail!("--size {other}: choose 15m, 110m, 8x110m or 1b"),
    };
    let class = if size == "8x110m" { "MixtralForCausalLM" } else { "LlamaForCausalLM" };
    let config = serde_json::json!({
        "architectures": [class], "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary, "rms_norm_eps": 1e-6, "rope_theta": 10_000.0,
        "tie_word_embeddings": true, "max_position_embeddings": 1024,
    });
    Ok((config, sequence))
}

/// A tensor of seeded random values, made when it is written.
struct RandomTensor {
    shape: Vec<usize>,
    seed: u64,
}

impl safetensors::View for &RandomTensor {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Norms around 1, matrices of deviation 0.02.
    fn data(&self) -> Cow<'_, [u8]> {
        let centre = if self.shape.len() == 1 { 1.0 } else { 0.0 };
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed);
        let bound = 0.02 * 3f32.sqrt();
        let count = self.shape.iter().product::<usize>();
        let values = (0..count).map(|_| bf16::from_f32(centre + rng.random_range(-bound..bound)));
        Cow::Owned(values.flat_map(bf16::to_le_bytes).collect())
    }

    fn data_len(&self) -> usize {
        2 * self.shape.iter().product::<usize>()
    }
}

/// Writes a model folder.
pub fn write_model(folder: &Path, config: &serde_json::Value) -> anyhow::Result<()> {
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let shape = ModelConfig::read(folder)?;
    let tensors: Vec<_> = expected_tensors(&shape)
        .into_iter()
        .zip(0..)
        .map(|((name, shape), seed)| (name, RandomTensor { shape, seed }))
        .collect();
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    Ok(safetensors::serialize_to_file(views, None, &folder.join("model.safetensors"))?)
}

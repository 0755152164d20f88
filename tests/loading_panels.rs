//! Is a matrix that is quantised while it is read, some rows at a time, the one that would be quantised whole?

use std::path::Path;

use dpop_studio::kernels::HostMatrix;
use dpop_studio::model::checkpoint::{Checkpoint, READ_PANEL, expected_tensors};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::quant::QuantFormat;
use safetensors::SafeTensors;

mod common;
mod shapes;

const EMBEDDING: &str = "model.embed_tokens.weight";

/// One layer whose embedding takes three panels, the last one short.
fn written(folder: &Path) -> ModelConfig {
    let (vocabulary, hidden) = (17_000, 512);
    assert!((2 * READ_PANEL..3 * READ_PANEL).contains(&(vocabulary * hidden)));
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary,
        "hidden_size": hidden, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
        "max_position_embeddings": 64, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
    });
    shapes::write(folder, &config);
    shapes::parse(&config)
}

fn same(folder: &Path, config: &ModelConfig) {
    let checkpoint = Checkpoint::open(folder, config).unwrap();
    let matrices = expected_tensors(config).into_iter().filter(|(_, shape)| shape.len() == 2);
    for (name, shape) in matrices {
        let whole = checkpoint.tensor(&name).unwrap();
        assert_eq!(whole.shape, shape);
        for format in [None].into_iter().chain(QuantFormat::ALL.map(Some)) {
            let want = HostMatrix::encode(whole.values.clone(), [shape[0], shape[1]], format);
            let got = checkpoint.matrix(&name, format).unwrap();
            assert!(got == want, "{name} of {} in {format:?}", folder.display());
        }
    }
}

#[test]
fn panels_make_the_same_matrix() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    same(folder.path(), &config);
}

/// Whole matrices where rows are reordered, parts of stacked experts, files in parts.
#[test]
fn gguf_models_and_mixtures_too() {
    for fixture in ["gguf/llama_bf16", "gguf/mixtral", "gguf/split", "models/mixtral_fused"] {
        let folder = common::fixture(fixture);
        same(&folder, &ModelConfig::read(&folder).unwrap());
    }
}

#[test]
fn a_damaged_value_in_the_last_panel_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let end = 8 + header + metadata.info(EMBEDDING).unwrap().data_offsets.1;
    bytes[end - 2..end].copy_from_slice(&half::bf16::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let checkpoint = Checkpoint::open(folder.path(), &config).unwrap();
    let refused = checkpoint.matrix(EMBEDDING, Some(QuantFormat::Nf4)).unwrap_err().to_string();
    assert!(refused.contains(EMBEDDING) && refused.contains("1 values of 8704000"), "{refused}");
}

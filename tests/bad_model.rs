//! Is every broken model folder refused with a sentence that says what is wrong and what to do?

use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::model::checkpoint::{Checkpoint, ModelSummary, expected_tensors, model_hash};
use dpop_studio::model::config::ModelConfig;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

mod edit;

use edit::{Tensor, edit, edit_json, find, load, refused};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// A writable copy of a fixture.
fn copy(name: &str) -> TempDir {
    edit::copy(&fixture(name))
}

const NORM: &str = "model.layers.1.input_layernorm.weight";
const UP: &str = "model.layers.0.mlp.up_proj.weight";

#[test]
fn whole_models_are_accepted() {
    for entry in fs::read_dir(fixture("")).unwrap() {
        let dir = entry.unwrap().path();
        if dir.is_dir() {
            load(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        }
    }
}

#[test]
fn expected_tensors_are_those_that_transformers_saves() {
    let summary = fs::read_to_string(fixture("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let mut seen = 0;
    for (name, model) in summary["models"].as_object().unwrap() {
        let Ok(config) = ModelConfig::read(&fixture(name)) else { continue };
        let expected = expected_tensors(&config);
        assert_eq!(expected.len() as u64, model["n_tensors"].as_u64().unwrap(), "{name}");
        let parameters: usize =
            expected.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(parameters as u64, model["params"].as_u64().unwrap(), "{name}");
        seen += 1;
    }
    assert!(seen >= 12);
}

#[test]
fn no_folder() {
    let dir = tempfile::tempdir().unwrap();
    refused(&dir.path().join("absent"), &["absent is not a folder", "Choose"]);
}

#[test]
fn no_config() {
    let dir = copy("llama_gqa_untied");
    fs::remove_file(dir.path().join("config.json")).unwrap();
    refused(dir.path(), &["has no config.json", "Choose a Hugging Face model folder"]);
}

#[test]
fn config_is_not_json() {
    let dir = copy("llama_gqa_untied");
    fs::write(dir.path().join("config.json"), "{\"hidden_size\": 64,").unwrap();
    refused(dir.path(), &["config.json is not valid JSON", "line 1", "Download the file again"]);
}

#[test]
fn unknown_architecture() {
    let dir = copy("llama_gqa_untied");
    edit_json(&dir.path().join("config.json"), |c| {
        c["architectures"] = json!(["MambaForCausalLM"])
    });
    refused(dir.path(), &["MambaForCausalLM", "LlamaForCausalLM", "choose one of these"]);
}

#[test]
fn no_weights() {
    let dir = copy("llama_gqa_untied");
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    refused(dir.path(), &["holds no weights", "Download the *.safetensors files"]);
}

#[test]
fn git_lfs_pointer_instead_of_weights() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    for file in ["model.safetensors", "config.json"] {
        let dir = copy("llama_gqa_untied");
        fs::write(dir.path().join(file), pointer).unwrap();
        refused(dir.path(), &[file, "git-LFS pointer", "Run `git lfs pull`"]);
    }
    let dir = copy("llama_sharded");
    fs::write(dir.path().join("model-00003-of-00005.safetensors"), pointer).unwrap();
    refused(dir.path(), &["model-00003-of-00005.safetensors", "Run `git lfs pull`"]);
}

#[test]
fn pickle_only() {
    for name in ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"] {
        let dir = copy("llama_gqa_untied");
        fs::rename(dir.path().join("model.safetensors"), dir.path().join(name)).unwrap();
        refused(dir.path(), &[name, "pickle", "Convert it to safetensors"]);
    }
}

#[test]
fn missing_shard() {
    let dir = copy("llama_sharded");
    fs::remove_file(dir.path().join("model-00002-of-00005.safetensors")).unwrap();
    refused(dir.path(), &["model-00002-of-00005.safetensors", "missing", "Download it"]);
}

#[test]
fn shard_names_that_lead_out_of_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("model-00001-of-00005.safetensors");
    fs::copy(fixture("llama_sharded").join("model-00001-of-00005.safetensors"), &target).unwrap();
    let absolute = target.to_string_lossy().into_owned();
    for shard in
        ["../model-00001-of-00005.safetensors", "sub/../x", "..", "a\\b", "C:x", "", &absolute]
    {
        let dir = copy("llama_sharded");
        edit_json(&dir.path().join("model.safetensors.index.json"), |index| {
            index["weight_map"]["lm_head.weight"] = json!(shard);
        });
        refused(dir.path(), &["not a plain file name", "download the index file again"]);
    }
}

#[test]
fn index_that_is_no_index() {
    for text in ["{}", "{\"weight_map\": {}}", "{\"weight_map\": {\"lm_head.weight\": 5}}"] {
        let dir = copy("llama_sharded");
        fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        refused(dir.path(), &["index.json", "weight_map"]);
    }
}

#[test]
fn index_names_a_tensor_that_its_shard_lacks() {
    let dir = copy("llama_sharded");
    edit_json(&dir.path().join("model.safetensors.index.json"), |index| {
        index["weight_map"][NORM] = json!("model-00001-of-00005.safetensors");
    });
    refused(
        dir.path(),
        &[NORM, "model-00001-of-00005.safetensors", "does not hold it", "Download"],
    );
}

#[test]
fn truncated_weights() {
    let whole = fs::read(fixture("llama_gqa_untied").join("model.safetensors")).unwrap();
    for length in [0, 5, 8, 900, whole.len() - 1] {
        let dir = copy("llama_gqa_untied");
        fs::write(dir.path().join("model.safetensors"), &whole[..length]).unwrap();
        refused(dir.path(), &["model.safetensors is damaged", "fetch the file again"]);
    }
}

#[test]
fn weights_that_are_something_else() {
    let dir = copy("llama_gqa_untied");
    fs::write(dir.path().join("model.safetensors"), "<!DOCTYPE html><title>404</title>").unwrap();
    refused(dir.path(), &["model.safetensors is damaged", "not a safetensors file"]);
}

#[test]
fn nan_and_infinite_weights() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        let bytes = &mut find(tensors, UP).bytes;
        bytes[400..404].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[4000..4004].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    });
    refused(dir.path(), &[UP, "2 values of 10240", "NaN or infinite", "download it again"]);

    let half = copy("llama_bf16");
    edit(&half.path().join("model.safetensors"), |tensors| {
        find(tensors, NORM).bytes[..2].copy_from_slice(&0x7fc0u16.to_le_bytes());
    });
    refused(half.path(), &[NORM, "1 values of 64"]);
}

#[test]
fn missing_tensor() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| tensors.retain(|t| t.name != NORM));
    refused(dir.path(), &["1 missing", NORM, "from the same model"]);
}

#[test]
fn many_missing_tensors_are_counted() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        tensors.retain(|t| !t.name.starts_with("model.layers.1."));
    });
    refused(dir.path(), &["9 missing", "and 1 more"]);
}

#[test]
fn unused_tensor() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        let name = "model.layers.0.self_attn.q_proj.bias".to_owned();
        tensors.push(Tensor { name, dtype: Dtype::F32, shape: vec![64], bytes: vec![0; 256] });
    });
    refused(
        dir.path(),
        &["1 unused", "model.layers.0.self_attn.q_proj.bias", "from the same model"],
    );
}

#[test]
fn harmless_leftovers_are_accepted() {
    let dir = copy("llama_tied_rope_llama3");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        let name = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
        tensors.push(Tensor { name, dtype: Dtype::F32, shape: vec![8], bytes: vec![0; 32] });
        let copy = find(tensors, "model.embed_tokens.weight");
        let head = Tensor {
            name: "lm_head.weight".to_owned(),
            dtype: copy.dtype,
            shape: copy.shape.clone(),
            bytes: copy.bytes.clone(),
        };
        tensors.push(head);
    });
    load(dir.path()).unwrap();
}

#[test]
fn wrong_shape() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        find(tensors, UP).shape = vec![64, 160];
    });
    refused(dir.path(), &[UP, "[64, 160]", "[160, 64]", "from the same model"]);
}

#[test]
fn unknown_dtype() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        let tensor = find(tensors, UP);
        tensor.dtype = Dtype::I8;
        tensor.bytes.truncate(160 * 64);
    });
    refused(dir.path(), &[UP, "I8", "F32, F16 and BF16", "not quantised"]);
}

#[test]
fn quantised_checkpoint() {
    let dir = copy("llama_gqa_untied");
    edit(&dir.path().join("model.safetensors"), |tensors| {
        let tensor = find(tensors, UP);
        tensor.name = UP.replace(".weight", ".qweight");
        tensor.dtype = Dtype::I32;
    });
    refused(dir.path(), &["quantised", "qweight", "quantization_config", "choose a copy"]);
}

#[test]
fn half_precision_converts_exactly() {
    let value = |name: &str, tensor: &str| {
        let config = ModelConfig::read(&fixture(name)).unwrap();
        Checkpoint::open(&fixture(name), &config).unwrap().tensor(tensor).unwrap()
    };
    let bytes = fs::read(fixture("llama_bf16").join("model.safetensors")).unwrap();
    let raw = SafeTensors::deserialize(&bytes).unwrap();
    let raw = raw.tensor(UP).unwrap();
    let got = value("llama_bf16", UP);
    assert_eq!((got.shape.as_slice(), raw.dtype()), ([160, 64].as_slice(), Dtype::BF16));
    for (value, bytes) in got.values.iter().zip(raw.data().chunks(2)) {
        // bfloat16 is the upper half of an f32.
        assert_eq!(value.to_bits(), u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
    }

    let bytes = fs::read(fixture("llama_f16").join("model.safetensors")).unwrap();
    let raw = SafeTensors::deserialize(&bytes).unwrap();
    let raw = raw.tensor(UP).unwrap();
    for (value, bytes) in value("llama_f16", UP).values.iter().zip(raw.data().chunks(2)) {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        let size = match exponent {
            0 => mantissa * 2f64.powi(-24),
            e => (1024.0 + mantissa) * 2f64.powi(e - 25),
        };
        assert_eq!(f64::from(*value), if bits >> 15 == 1 { -size } else { size });
    }
}

#[test]
fn shards_hold_what_the_single_file_holds() {
    // The two fixtures share their weights.
    let open = |name: &str| {
        Checkpoint::open(&fixture(name), &ModelConfig::read(&fixture(name)).unwrap()).unwrap()
    };
    let (sharded, single) = (open("llama_sharded"), open("mistral_noswa"));
    assert_eq!(sharded.names(), single.names());
    for name in single.names() {
        assert_eq!(sharded.tensor(name).unwrap(), single.tensor(name).unwrap(), "{name}");
    }
}

#[test]
fn summary_in_figures() {
    let summary = ModelSummary::read(&fixture("llama_bf16")).unwrap();
    assert_eq!((summary.architecture.as_str(), summary.dtype.as_str()), ("Llama", "BF16"));
    assert_eq!((summary.parameters, summary.bytes), (151_872, 303_744));
    assert_eq!((summary.layers, summary.hidden, summary.vocab), (2, 64, 512));
    assert!(!summary.has_chat_template);

    let dir = copy("llama_gqa_untied");
    let config = dir.path().join("tokenizer_config.json");
    fs::write(&config, r#"{"chat_template": null}"#).unwrap();
    assert!(!ModelSummary::read(dir.path()).unwrap().has_chat_template);
    fs::write(&config, r#"{"chat_template": "{{ messages }}"}"#).unwrap();
    assert!(ModelSummary::read(dir.path()).unwrap().has_chat_template);
    fs::remove_file(&config).unwrap();
    fs::write(dir.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
    assert!(ModelSummary::read(dir.path()).unwrap().has_chat_template);
}

#[test]
fn the_hash_tells_models_apart_and_not_folders() {
    let dir = copy("llama_gqa_untied");
    let before = model_hash(dir.path()).unwrap();
    assert_eq!(before.len(), 64);
    assert_eq!(before, model_hash(&fixture("llama_gqa_untied")).unwrap());
    assert_ne!(before, model_hash(&fixture("llama_sharded")).unwrap());

    edit(&dir.path().join("model.safetensors"), |tensors| find(tensors, UP).bytes[17] ^= 1);
    let changed = model_hash(dir.path()).unwrap();
    assert_ne!(before, changed, "one bit of a weight");
    edit_json(&dir.path().join("config.json"), |c| c["rms_norm_eps"] = json!(1e-5));
    assert_ne!(changed, model_hash(dir.path()).unwrap(), "config.json");
}

#[test]
fn the_hash_of_a_large_file_covers_header_and_samples() {
    let large = |value: u8, at: usize| {
        let dir = copy("llama_gqa_untied");
        edit(&dir.path().join("model.safetensors"), |tensors| {
            // 20 MiB: above the size that is hashed whole.
            let mut bytes = vec![0; 20 << 20];
            let last = bytes.len() - 1;
            bytes[at.min(last)] = value;
            tensors.push(Tensor {
                name: "z".into(),
                dtype: Dtype::U8,
                shape: vec![20 << 20],
                bytes,
            });
        });
        model_hash(dir.path()).unwrap()
    };
    let plain = large(0, 0);
    assert_eq!(plain, large(0, 5));
    assert_ne!(plain, large(1, usize::MAX), "the last byte is sampled");
}

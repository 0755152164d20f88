//! Are llama.cpp's files read as llama.cpp's own package reads them? (`tests/fixtures/gguf/make.py` made the numbers.)

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dpop_studio::model::checkpoint::{Checkpoint, ModelSummary, model_hash};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::{LoadOptions, Model};
use serde_json::Value;

mod common;

fn folder(model: &str) -> PathBuf {
    common::fixture(&format!("gguf/{model}"))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// BF16 with q and k in llama.cpp's order, and Q8_0 with biases and a tied head.
#[test]
fn logits_are_those_of_the_same_values_in_transformers() {
    for model in ["llama_bf16", "qwen2_bias_tied"] {
        let folder = folder(model);
        let net = Model::load(&folder, &Device::flex(), LoadOptions::default()).unwrap();
        let want = json(&folder.join("logits.json"));
        let ids: Vec<u32> = serde_json::from_value(want["ids"].clone()).unwrap();
        let logits = net.logits(&ids, None).unwrap();
        let vocabulary = net.config.vocab_size;
        let got: Vec<f32> = logits.into_data().try_to_vec().unwrap();
        let rows: Vec<usize> = serde_json::from_value(want["rows"].clone()).unwrap();
        for (row, want) in rows.iter().zip(want["logits"].as_array().unwrap()) {
            let got = &got[row * vocabulary..(row + 1) * vocabulary];
            for (a, b) in got.iter().zip(floats(want)) {
                assert!((a - b).abs() < 1e-4, "{model}, row {row}: {a} and not {b}");
            }
        }
    }
}

#[test]
fn the_metadata_are_the_config() {
    for model in ["llama_bf16", "qwen2_bias_tied"] {
        let gguf = ModelConfig::read(&folder(model)).unwrap();
        let mut hf = ModelConfig::read(&common::fixture(&format!("models/{model}"))).unwrap();
        // These say where a text ends; the fixtures' GGUF files have no tokenizer.
        hf.bos_token_id = gguf.bos_token_id;
        hf.eos_token_ids.clone_from(&gguf.eos_token_ids);
        assert_eq!(gguf, hf, "{model}");
    }
}

/// One file of each block type, whose output norm is a row of blocks.
#[test]
fn every_block_type_decodes_to_the_bit() {
    let cases = json(&folder("blocks.json"));
    for case in cases.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let bytes: Vec<u8> = serde_json::from_value(case["bytes"].clone()).unwrap();
        let want = floats(&case["values"]);
        let kind = case["kind"].as_u64().unwrap() as u32;
        let got = decode(kind, &bytes, want.len());
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (a, b)) in got.iter().zip(&want).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-3), "{name}[{i}]: {a} and not {b}");
        }
    }
    assert_eq!(cases.as_array().unwrap().len(), 11);
}

fn decode(kind: u32, bytes: &[u8], count: usize) -> Vec<f32> {
    let root = tempfile::tempdir().unwrap();
    let config = Writer::tiny(count, Some((kind, bytes)), "");
    fs::write(root.path().join("tiny.gguf"), config).unwrap();
    let config = ModelConfig::read(root.path()).unwrap();
    let checkpoint = Checkpoint::open(root.path(), &config).unwrap();
    checkpoint.tensor("model.norm.weight").unwrap().values
}

/// A GGUF file put together by hand, from the published format.
struct Writer;

impl Writer {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// A model of one block of zeros whose hidden size is `width`; `given` stands for the output norm where it has a
    /// value, and `lacking` is left out.
    fn tiny(width: usize, given: Option<(u32, &[u8])>, lacking: &str) -> Vec<u8> {
        let w = width as u64;
        let square = ["attn_q", "attn_k", "attn_v", "attn_output"].map(|n| (n, vec![w, w]));
        let others = [
            ("attn_norm", vec![w]),
            ("ffn_norm", vec![w]),
            ("ffn_gate", vec![w, 8]),
            ("ffn_up", vec![w, 8]),
            ("ffn_down", vec![8, w]),
        ];
        let mut tensors: Vec<(String, Vec<u64>)> = square
            .into_iter()
            .chain(others)
            .map(|(name, shape)| (format!("blk.0.{name}.weight"), shape))
            .collect();
        tensors.push(("token_embd.weight".to_owned(), vec![w, 4]));
        tensors.push(("output_norm.weight".to_owned(), vec![w]));
        tensors.retain(|(name, _)| name != lacking);
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        let numbers = [
            ("context_length", 64),
            ("embedding_length", width as u32),
            ("block_count", 1),
            ("feed_forward_length", 8),
            ("attention.head_count", 1),
        ];
        out.extend((numbers.len() as u64 + 2).to_le_bytes());
        Self::text(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        Self::text(&mut out, "llama");
        Self::text(&mut out, "llama.attention.layer_norm_rms_epsilon");
        out.extend(6u32.to_le_bytes());
        out.extend(1e-5f32.to_le_bytes());
        for (key, number) in numbers {
            Self::text(&mut out, &format!("llama.{key}"));
            out.extend(4u32.to_le_bytes());
            out.extend(number.to_le_bytes());
        }
        let mut data = Vec::new();
        for (name, shape) in tensors {
            let zeros = vec![0; 4 * shape.iter().product::<u64>() as usize];
            let is_norm = name == "output_norm.weight";
            let (kind, bytes) = given.filter(|_| is_norm).unwrap_or((0, &zeros));
            Self::text(&mut out, &name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

#[test]
fn a_folder_tells_what_it_holds() {
    let folder = folder("qwen2_bias_tied");
    let summary = ModelSummary::read(&folder).unwrap();
    assert_eq!(summary.dtype, "Q8_0");
    assert_eq!(summary.architecture, "Qwen2");
    assert_eq!(model_hash(&folder).unwrap().len(), 64);
}

fn problem(bytes: &[u8]) -> String {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("model.gguf"), bytes).unwrap();
    let config = match ModelConfig::read(root.path()) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    Checkpoint::open(root.path(), &config).err().expect("the file is refused").to_string()
}

#[test]
fn damaged_files_are_refused_in_words() {
    let whole = fs::read(folder("qwen2_bias_tied").join("model.gguf")).unwrap();
    assert!(problem(&whole[..whole.len() / 2]).contains("reaches beyond the end"));
    assert!(problem(&whole[..100]).contains("cut off"));
    assert!(problem(b"GGML").contains("does not begin with GGUF"));
    let mut version = whole.clone();
    version[4] = 9;
    assert!(problem(&version).contains("version is 9"));
    // A count of tensors that no file can hold must not reserve memory for them.
    let mut many = whole.clone();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(problem(&many).contains("cut off"), "{}", problem(&many));
    let unknown = problem(&Writer::tiny(32, Some((10, &[0; 84])), ""));
    assert!(unknown.contains("output_norm.weight") && unknown.contains("type 10"), "{unknown}");
    let lacking = problem(&Writer::tiny(32, None, "blk.0.ffn_up.weight"));
    assert!(lacking.contains("layers.0.mlp.up_proj.weight"), "{lacking}");
}

#[test]
fn two_files_in_a_folder_are_one_too_many() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.gguf", "b.gguf"] {
        fs::write(root.path().join(name), b"GGUF").unwrap();
    }
    let config = ModelConfig::read(&folder("llama_bf16")).unwrap();
    let message = Checkpoint::open(root.path(), &config).err().unwrap().to_string();
    assert!(message.contains("a.gguf, b.gguf"), "{message}");
}

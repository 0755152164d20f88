//! Are llama.cpp's files read as llama.cpp's own package reads them? (`tests/fixtures/gguf/make.py` and `package.py`
//! beside it made the numbers.)

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dpop_studio::model::checkpoint::{Checkpoint, ModelSummary, model_hash};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::{LoadOptions, Model};
use serde_json::Value;
use sha2::{Digest, Sha256};

mod common;
mod gguf_file;

use gguf_file::{Writer, decoder, zeros};

fn folder(model: &str) -> PathBuf {
    common::fixture(&format!("gguf/{model}"))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn open(model: &Path) -> Checkpoint {
    Checkpoint::open(model, &ModelConfig::read(model).unwrap()).unwrap()
}

/// A folder that holds one GGUF file.
fn written(file: &Writer) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("model.gguf"), file.bytes()).unwrap();
    root
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
    let cases = [
        ("llama_bf16", "llama_bf16"),
        ("qwen2_bias_tied", "qwen2_bias_tied"),
        ("mixtral", "mixtral_4e_top2"),
    ];
    for (model, original) in cases {
        let gguf = ModelConfig::read(&folder(model)).unwrap();
        let mut hf = ModelConfig::read(&common::fixture(&format!("models/{original}"))).unwrap();
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
        let got = decode(3, kind, &bytes, want.len());
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (a, b)) in got.iter().zip(&want).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "{name}[{i}]: {a} and not {b}");
        }
    }
    assert_eq!(cases.as_array().unwrap().len(), 15);
}

fn decode(version: u32, kind: u32, bytes: &[u8], width: usize) -> Vec<f32> {
    let file = decoder(version, width as u32, 1, 8, 1);
    let root = written(&zeros(file, width as u64, 4, Some((kind, bytes)), ""));
    open(root.path()).tensor("model.norm.weight").unwrap().values
}

#[test]
fn versions_one_to_three_hold_the_same() {
    let bytes: Vec<u8> = (0..32).flat_map(|i| (i as f32 * 0.5).to_le_bytes()).collect();
    let want: Vec<f32> = (0..32).map(|i| i as f32 * 0.5).collect();
    for version in 1..=3 {
        assert_eq!(decode(version, 0, &bytes, 32), want, "version {version}");
    }
}

fn digest(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As a folder, and by any of its parts.
#[test]
fn a_split_model_is_one_model() {
    let hashes = json(&folder("split").join("values.json"));
    let paths = ["", "small-00001-of-00003.gguf", "small-00003-of-00003.gguf"];
    for path in paths.map(|name| folder("split").join(name)) {
        let checkpoint = open(&path);
        assert_eq!(checkpoint.names().len(), 12);
        for (name, own) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
            ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
            ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
        ] {
            let got = digest(&checkpoint.tensor(name).unwrap().values);
            assert_eq!(hashes[own], got, "{name} of {}", path.display());
        }
    }
    let root = tempfile::tempdir().unwrap();
    for part in ["small-00001-of-00003.gguf", "small-00003-of-00003.gguf"] {
        fs::copy(folder("split").join(part), root.path().join(part)).unwrap();
    }
    let message = ModelConfig::read(root.path()).unwrap_err().to_string();
    assert!(message.contains("small-00002-of-00003.gguf is missing"), "{message}");
    let first = folder("split").join("small-00001-of-00003.gguf");
    fs::copy(first, root.path().join("small-00002-of-00003.gguf")).unwrap();
    let message = ModelConfig::read(root.path()).unwrap_err().to_string();
    assert!(message.contains("calls itself part 1 of 3"), "{message}");
}

#[test]
fn stacked_experts_are_taken_apart() {
    let checkpoint = open(&folder("mixtral"));
    let hashes = json(&folder("mixtral").join("values.json"));
    assert_eq!(checkpoint.names().len(), hashes.as_object().unwrap().len());
    for name in checkpoint.names() {
        assert_eq!(hashes[name], digest(&checkpoint.tensor(name).unwrap().values), "{name}");
    }
}

/// The fixture's own numbers as GGUF, experts stacked and (as older files have them) apart.
#[test]
fn a_mixtral_computes_the_same_from_either_kind_of_file() {
    let source = common::fixture("models/mixtral_4e_top2");
    let config = ModelConfig::read(&source).unwrap();
    let checkpoint = open(&source);
    let logits = |folder: &Path| -> Vec<f32> {
        let net = Model::load(folder, &Device::flex(), LoadOptions::default()).unwrap();
        let logits = net.logits(&[1, 17, 300, 45, 211, 9, 88, 402], None).unwrap();
        logits.into_data().try_to_vec().unwrap()
    };
    let want = logits(&source);
    for stacked in [true, false] {
        let root = written(&mixtral(&checkpoint, &config, stacked));
        assert_eq!(ModelConfig::read(root.path()).unwrap().experts, config.experts);
        let file = root.path().join("model.gguf");
        assert_eq!(logits(&file), want, "stacked: {stacked}");
    }
}

fn mixtral(checkpoint: &Checkpoint, config: &ModelConfig, stacked: bool) -> Writer {
    let (hidden, inner) = (config.hidden_size as u32, config.intermediate_size as u32);
    let (layers, heads) = (config.num_layers as u32, config.num_heads as u32);
    let mut file = decoder(3, hidden, layers, inner, heads)
        .u32("llama.attention.head_count_kv", config.num_kv_heads as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps)
        .f32("llama.rope.freq_base", 1e6)
        .u32("llama.rope.dimension_count", config.head_dim as u32)
        .u32("llama.expert_count", 4)
        .u32("llama.expert_used_count", 2);
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).unwrap();
        let part = name.strip_prefix("model.layers.").map(|rest| rest.split_once('.').unwrap());
        let Some((layer, part)) = part else {
            let own = match name {
                "lm_head.weight" => "output.weight",
                "model.norm.weight" => "output_norm.weight",
                _ => "token_embd.weight",
            };
            file = file.floats_tensor(own, &tensor.shape, &tensor.values);
            continue;
        };
        let own = match part.trim_end_matches(".weight") {
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" => "ffn_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "block_sparse_moe.gate" => "ffn_gate_inp",
            expert => {
                file = add_expert(file, checkpoint, layer, expert, stacked);
                continue;
            }
        };
        let heads = match own {
            "attn_q" => config.num_heads,
            "attn_k" => config.num_kv_heads,
            _ => 0,
        };
        let values = interleaved(&tensor.values, tensor.shape[0], heads);
        file = file.floats_tensor(&format!("blk.{layer}.{own}.weight"), &tensor.shape, &values);
    }
    file
}

fn add_expert(file: Writer, from: &Checkpoint, layer: &str, part: &str, stacked: bool) -> Writer {
    let rest = part.strip_prefix("block_sparse_moe.experts.").unwrap();
    let (number, matrix) = rest.split_once('.').unwrap();
    let own = match matrix {
        "w1" => "ffn_gate",
        "w2" => "ffn_down",
        _ => "ffn_up",
    };
    let tensor = |number: &str| {
        let name =
            format!("model.layers.{layer}.block_sparse_moe.experts.{number}.{matrix}.weight");
        from.tensor(&name).unwrap()
    };
    if !stacked {
        let own = format!("blk.{layer}.{own}.{number}.weight");
        let tensor = tensor(number);
        return file.floats_tensor(&own, &tensor.shape, &tensor.values);
    }
    if number != "0" {
        return file;
    }
    let all: Vec<f32> = ["0", "1", "2", "3"].iter().flat_map(|n| tensor(n).values).collect();
    let shape = [&[4], &tensor("0").shape[..]].concat();
    file.floats_tensor(&format!("blk.{layer}.{own}_exps.weight"), &shape, &all)
}

/// llama.cpp's order of the rotary channels: row `j` of a head's first half at `2 j`, of its second at `2 j + 1`.
fn interleaved(values: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let Some(head) = rows.checked_div(heads) else { return values.to_vec() };
    let width = values.len() / rows;
    let mut out = vec![0.0; values.len()];
    for row in 0..rows {
        let (start, within) = (row / head * head, row % head);
        let to = start + 2 * (within % (head / 2)) + within / (head / 2);
        out[to * width..][..width].copy_from_slice(&values[row * width..][..width]);
    }
    out
}

#[test]
fn a_file_tells_what_it_holds() {
    let folder = folder("qwen2_bias_tied");
    for path in [folder.clone(), folder.join("model.gguf")] {
        let summary = ModelSummary::read(&path).unwrap();
        assert_eq!(summary.dtype, "GGUF Q8_0");
        assert_eq!(summary.architecture, "Qwen2");
        assert_eq!(model_hash(&path).unwrap(), model_hash(&folder).unwrap());
    }
}

/// Of a large file, header and samples are read: not all of it, and never more than it holds.
#[test]
fn the_hash_of_a_large_file_covers_its_header() {
    let file = decoder(3, 32, 1, 8, 1).string("general.name", "one");
    let other = decoder(3, 32, 1, 8, 1).string("general.name", "two");
    let hash = |file: Writer| {
        let large = vec![0; 17 << 20];
        let rows = (large.len() / 128) as u64;
        let file = zeros(file, 32, 4, None, "").tensor("output.weight", &[32, rows], 0, &large);
        model_hash(written(&file).path()).unwrap()
    };
    assert_ne!(hash(file), hash(other));
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
    assert!(problem(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    let mut version = whole.clone();
    version[4] = 9;
    assert!(problem(&version).contains("version is 9"));
    // A count of tensors that no file can hold must not reserve memory for them.
    let mut many = whole.clone();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(problem(&many).contains("cut off"), "{}", problem(&many));
    let lacking = zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, "blk.0.ffn_up.weight");
    let lacking = problem(&lacking.bytes());
    assert!(lacking.contains("layers.0.mlp.up_proj.weight"), "{lacking}");
    let gone = ModelConfig::read(Path::new("no/such/file.gguf")).unwrap_err().to_string();
    assert!(gone.contains("file.gguf cannot be read"), "{gone}");
}

#[test]
fn types_and_rows_that_cannot_be_decoded_are_refused_by_name() {
    let given = |width: u32, kind: u32, bytes: usize| {
        let file = decoder(3, width, 1, 8, 1);
        problem(&zeros(file, u64::from(width), 4, Some((kind, &vec![0; bytes])), "").bytes())
    };
    for (kind, name) in [(16, "IQ2_XXS"), (29, "IQ1_M"), (34, "TQ1_0"), (39, "MXFP4"), (99, "99")] {
        let message = given(32, kind, 1 << 10);
        let words = ["output_norm.weight", &format!("ggml's type {name},"), "Q4_K", "IQ4_XS"];
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    let message = given(32, 12, 144);
    assert!(message.contains("Q4_K") && message.contains("rows of 32 values"), "{message}");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let file = || zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, "blk.0.ffn_up.weight");
    let turned = file().tensor("blk.0.ffn_up.weight", &[8, 32], 0, &[0; 1024]);
    let message = problem(&turned.bytes());
    assert!(message.contains("blk.0.ffn_up.weight has the shape [32, 8]"), "{message}");
    let extra = zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, "");
    let message = problem(&extra.tensor("blk.0.ssm_a.weight", &[32], 0, &[0; 128]).bytes());
    assert!(message.contains("blk.0.ssm_a.weight") && message.contains("unused"), "{message}");
    let extra = zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, "");
    let message =
        problem(&extra.floats_tensor("rope_factors_long.weight", &[16], &[2.0; 16]).bytes());
    assert!(
        message.contains("rope_factors_long.weight") && message.contains("unused"),
        "{message}"
    );
    let norm = [0; 128];
    let twice = zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, "");
    let message = problem(&twice.tensor("output_norm.weight", &[32], 0, &norm).bytes());
    assert!(message.contains("output_norm.weight twice"), "{message}");
}

#[test]
fn metadata_that_change_the_computation_are_refused() {
    type Change = fn(Writer) -> Writer;
    let cases: [(Change, &str); 9] = [
        (|f| f.string("general.architecture", "gemma2"), "architecture is gemma2"),
        (|f| f.f32("llama.logit_scale", 0.5), "llama.logit_scale is 0.5"),
        (|f| f.f32("llama.attention.clamp_kqv", 8.0), "llama.attention.clamp_kqv is 8"),
        (|f| f.string("llama.rope.scaling.type", "longrope"), "longrope is not supported"),
        (|f| f.string("llama.rope.scaling.type", "yarn"), "lack llama.rope.scaling.factor"),
        (|f| f.integers("llama.attention.head_count_kv", &[1]), "differs from layer to layer"),
        (
            |f| f.u32("llama.attention.key_length", 32).u32("llama.rope.dimension_count", 16),
            "rope.dimension_count is 16 for heads of 32",
        ),
        (
            |f| f.floats_tensor("rope_freqs.weight", &[3], &[1.0; 3]),
            "3 factors for 16 channel pairs",
        ),
        (
            |f| f.floats_tensor("rope_freqs.weight", &[16], &[0.0; 16]),
            "rope_freqs.weight holds the factor 0",
        ),
    ];
    for (change, words) in cases {
        let file = change(zeros(decoder(3, 32, 1, 8, 1), 32, 4, None, ""));
        let message = problem(&file.bytes());
        assert!(message.contains(words), "{words:?} is not in: {message}");
        assert!(message.contains("another file of this model"), "{message}");
    }
}

#[test]
fn a_window_in_the_metadata_makes_a_mistral() {
    let file = decoder(3, 32, 1, 8, 1).u32("llama.attention.sliding_window", 48);
    let root = written(&zeros(file, 32, 4, None, ""));
    let config = ModelConfig::read(root.path()).unwrap();
    assert_eq!(config.architecture.name(), "Mistral");
    assert_eq!(config.sliding_window, [Some(48)]);
}

#[test]
fn two_models_in_a_folder_are_one_too_many() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf"] {
        fs::write(root.path().join(name), b"GGUF").unwrap();
    }
    let message = ModelConfig::read(root.path()).unwrap_err().to_string();
    assert!(message.contains("several GGUF models: a.gguf, b-00001-of-00002.gguf"), "{message}");
}

//! Does README's table of models say what the memory forecast says?
//!
//! `UPDATE_README=1 cargo test --test model_table` writes the table anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use dpop_studio::config::Target;
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::memory::{MemoryInput, PassSize, forecast};
use dpop_studio::quant::QuantFormat;

mod common;

/// Folder under tests/fixtures/configs, name, and how the weights are published.
const MODELS: [(&str, &str, &str); 19] = [
    ("qwen2.5-0.5b-instruct", "Qwen2.5 0.5B", "bf16"),
    ("qwen3-0.6b", "Qwen3 0.6B", "bf16"),
    ("bielik-1.5b-v3", "Bielik 1.5B v3", "bf16"),
    ("gemma-2-2b", "Gemma 2 2B", "f32"),
    ("phi-3-mini-4k", "Phi-3 mini", "bf16"),
    ("bielik-4.5b-v3", "Bielik 4.5B v3", "bf16"),
    ("llama-2-7b", "Llama 2 7B", "f16"),
    ("mistral-7b-v0.3", "Mistral 7B v0.3", "bf16"),
    ("bielik-minitron-7b-v3", "Bielik Minitron 7B v3", "bf16"),
    ("qwen2.5-7b", "Qwen2.5 7B", "bf16"),
    ("llama-3.1-8b", "Llama 3.1 8B", "bf16"),
    ("qwen3-8b", "Qwen3 8B", "bf16"),
    ("gemma-2-9b", "Gemma 2 9B", "f32"),
    ("bielik-11b-v2.3", "Bielik 11B v2.3, v3", "bf16"),
    ("qwen3-30b-a3b", "Qwen3 30B-A3B", "bf16"),
    ("smaug-34b-v0.1", "Smaug-34B (Yi)", "bf16"),
    ("smaug-mixtral-v0.1", "Smaug-Mixtral 8x7B", "f32"),
    ("llama-3.1-70b", "Llama 3.1 70B", "bf16"),
    ("smaug-72b-v0.1", "Smaug-72B", "bf16, EXL2"),
];

/// One pair of 1024 tokens a side, half of them the prompt, which both sides share.
const SIZE: PassSize = PassSize { tokens: 512 + 2 * 512, entries: 2 * 512 };
const RANK: usize = 16;

fn need(config: &ModelConfig, format: QuantFormat, streamed: bool, recompute: bool) -> String {
    let lora = LoraConfig {
        rank: RANK,
        alpha: 32.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let input = MemoryInput {
        format: Some(format),
        streamed,
        recompute,
        training: SIZE,
        scoring: SIZE,
        answers: PassSize::default(),
        cached_tokens: 0,
        arms: 1,
        adapter_parameters: LoraAdapter::zeros(lora, config).values.len(),
        rank: RANK,
        on_host: false,
        half: false,
    };
    let total = forecast(config, &input).total() as f64;
    format!("{:.1}", total / f64::from(1 << 30))
}

/// What a model's architecture switches on, each of which a fixture must show to be torch's.
fn switches(folder: &Path) -> BTreeSet<String> {
    let config = ModelConfig::read(folder).unwrap();
    let json = std::fs::read(folder.join("config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let rope = [&json["rope_parameters"], &json["rope_scaling"]].into_iter().find_map(|rope| {
        ["rope_type", "type"].into_iter().find_map(|key| rope[key].as_str().map(str::to_owned))
    });
    let switches = [
        (config.architecture.class_name(), true),
        ("bias on q, k, v", config.qkv_bias),
        ("bias on o", config.o_bias),
        ("bias in the MLP", config.mlp_bias),
        ("norms of heads", config.qk_norm),
        ("grouped queries", config.num_kv_heads < config.num_heads),
        ("a key head for each query head", config.num_kv_heads == config.num_heads),
        ("tied", config.tie_word_embeddings),
        ("untied", !config.tie_word_embeddings),
        ("window", config.sliding_window.iter().any(Option::is_some)),
        ("capped scores", config.attention_softcap.is_some()),
        ("capped logits", config.logit_softcap.is_some()),
    ];
    let on = switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned());
    on.chain([format!("rope {}", rope.as_deref().unwrap_or("default"))]).collect()
}

/// Fixtures of `tests/model_parity.rs` that together have all of a model's switches, those that show most first.
fn covering(model: &BTreeSet<String>) -> Vec<String> {
    let mut fixtures: Vec<_> = std::fs::read_dir(common::fixture("models"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.safetensors").is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), switches(&path)))
        .collect();
    fixtures.sort();
    let architecture = model.iter().find(|switch| switch.ends_with("ForCausalLM")).unwrap();
    let mut open = model.clone();
    let mut chosen = Vec::new();
    while !open.is_empty() {
        // One of the same architecture before any other.
        let shows = |switches: &BTreeSet<String>| {
            let same = switches.contains(architecture);
            let missing = open.contains(architecture) && !same;
            (!missing, open.intersection(switches).count(), same)
        };
        let best = fixtures.iter().rev().max_by_key(|(_, switches)| shows(switches)).unwrap();
        assert!(best.1.intersection(&open).count() > 0, "no fixture shows {open:?}");
        open = open.difference(&best.1).cloned().collect();
        chosen.push(best.0.clone());
    }
    chosen
}

fn table() -> String {
    let mut text = String::from(
        "| model | weights as published | bf16 | int8 | nf4 | nf4, recomputed | nf4, recomputed, streamed | status | test |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (folder, name, published) in MODELS {
        let folder = common::fixture(&format!("configs/{folder}"));
        let config = ModelConfig::read(&folder).unwrap();
        let fixtures: Vec<_> =
            covering(&switches(&folder)).iter().map(|name| format!("`{name}`")).collect();
        let cells = [
            (QuantFormat::Bf16, false, false),
            (QuantFormat::Int8, false, false),
            (QuantFormat::Nf4, false, false),
            (QuantFormat::Nf4, false, true),
            (QuantFormat::Nf4, true, true),
        ]
        .map(|(format, streamed, recompute)| need(&config, format, streamed, recompute));
        let (cells, fixtures) = (cells.join(" | "), fixtures.join(", "));
        writeln!(text, "| {name} | {published} | {cells} | a block trains | {fixtures} |").unwrap();
    }
    text
}

#[test]
fn readme_says_what_the_forecast_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let table = table();
    let start = readme.find("| model | weights as published |").expect("README has no table");
    let end = start + readme[start..].find("\n\n").expect("the table has no end") + 1;
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, [&readme[..start], &table, &readme[end..]].concat()).unwrap();
        return;
    }
    assert_eq!(&readme[start..end], table, "UPDATE_README=1 writes it anew");
}

#[test]
fn every_configuration_has_a_row() {
    let mut folders: Vec<String> = std::fs::read_dir(common::fixture("configs"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let mut rows = MODELS.map(|(folder, ..)| folder.to_owned()).to_vec();
    folders.sort();
    rows.sort();
    assert_eq!(folders, rows);
}

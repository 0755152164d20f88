//! Does README's table of models say what the memory forecast says?
//!
//! `UPDATE_README=1 cargo test --test model_table` writes the table anew.

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

fn table() -> String {
    let mut text = String::from(
        "| model | weights as published | bf16 | int8 | nf4 | nf4, recomputed | nf4, recomputed, streamed |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (folder, name, published) in MODELS {
        let folder = common::fixture(&format!("configs/{folder}"));
        let config = ModelConfig::read(&folder).unwrap();
        let cells = [
            (QuantFormat::Bf16, false, false),
            (QuantFormat::Int8, false, false),
            (QuantFormat::Nf4, false, false),
            (QuantFormat::Nf4, false, true),
            (QuantFormat::Nf4, true, true),
        ]
        .map(|(format, streamed, recompute)| need(&config, format, streamed, recompute));
        writeln!(text, "| {name} | {published} | {} |", cells.join(" | ")).unwrap();
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

//! Does a model whose tables are larger than one shader binding (128 MiB on some drivers) train on such a device?

use std::path::Path;

use burn::tensor::Device;
use dpop_studio::config::Target;
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::{LoadOptions, Model, entry_weights, read};
use dpop_studio::worker::device::{AdapterInfo, AdapterKind, choose, choose_from};
use dpop_studio::worker::plan::plan;

mod common;

const MIB: u64 = 1 << 20;

/// The vocabulary of Qwen2 and Smaug-72B over a narrow block: tables of 148 MiB each.
fn wide_vocabulary() -> ModelConfig {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 152_064, "hidden_size": 256,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128,
        "tie_word_embeddings": false,
    });
    ModelConfig::parse(&config.to_string(), Path::new("config.json")).unwrap()
}

fn pair(last: u32) -> TokenizedPair {
    let ids = |salt: u32| (0..6).map(|i| (i * 30_011 + salt) % last).collect::<Vec<_>>();
    // The last id of the table lies in the last part.
    let chosen_ids = [ids(3), vec![last - 1]].concat();
    TokenizedPair { row: 0, prompt_ids: ids(1), chosen_ids, rejected_ids: ids(7) }
}

/// Log-probabilities and adapter gradients of one pair.
fn step(model: &Model) -> (Vec<f32>, Vec<f32>) {
    let targets = Target::ALL.to_vec();
    let config = LoraConfig { rank: 2, alpha: 4.0, targets, dropout: 0.0, rslora: false };
    let mut adapter = LoraAdapter::init(config, &model.config, 3);
    for (i, value) in adapter.values.iter_mut().enumerate() {
        *value += ((i * 7919) % 101) as f32 * 1e-3 - 0.05;
    }
    let packed = PackedBatch::new([&pair(model.config.vocab_size as u32)]);
    let batch = model.upload(&packed);
    let updates = adapter.upload(model.config.num_layers, model.device(), None);
    let (logps, saved) = model.forward(&batch, &updates).unwrap();
    let weights = entry_weights(&packed, &[(-0.4, 0.3)]);
    let grads = model.backward(&batch, &updates, saved, &weights).unwrap();
    (read(logps).unwrap(), adapter.read_grads(grads).unwrap())
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    let scale = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(scale > 0.0 && worst <= tolerance * scale, "{what}: off by {worst} of {scale}");
}

#[test]
fn tables_larger_than_a_binding_are_split() {
    let spec = std::env::var("DPOP_TEST_DEVICE").unwrap_or_else(|_| "wgpu:llvmpipe".to_owned());
    let opened = choose(&spec).and_then(|choice| Ok((choice.open()?, choice)));
    let (device, choice) = match opened {
        Ok(opened) => opened,
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    let binding_limit = choice.binding_limit().min(128 * MIB);
    let config = wide_vocabulary();
    let table = 4 * (config.vocab_size * config.hidden_size) as u64;
    assert!(table > binding_limit, "the table is no larger than a binding");
    let load = |device: &Device, binding_limit| {
        let options = LoadOptions { binding_limit, ..LoadOptions::default() };
        step(&Model::random(config.clone(), device, options, 5, 0.05).unwrap())
    };
    let want = load(&Device::flex(), u64::MAX);
    let got = load(&device, binding_limit);
    close("log-probabilities", &got.0, &want.0, 1e-5);
    close("gradients", &got.1, &want.1, 1e-3);
}

/// Activations are not split: a pass that would need it is refused, with a smaller one that fits.
#[test]
fn a_pass_wider_than_a_binding_is_refused_with_a_remedy() {
    let mut adapter = AdapterInfo::imagined(0, "Narrow", AdapterKind::Discrete);
    (adapter.memory_bytes, adapter.max_binding_bytes) = (Some(8 << 30), MIB);
    let choice = choose_from("wgpu:0", &[adapter]).unwrap();
    let mut config = common::config(Path::new("none"));
    (config.batch_pairs, config.micro_batch_pairs) = (64, 64);
    // 256 channels in f32: 1024 tokens fill a binding.
    let pairs: Vec<_> = (0..100).map(|_| pair(152_064)).collect();
    let planned = plan(&config, &wide_vocabulary(), &pairs, &[], &choice);
    assert_eq!((planned.fits, planned.binding_limit), (Some(false), Some(MIB)));
    let message = planned.refusal().unwrap();
    assert!(message.contains("sees 1.0 MiB at a time"), "{message}");
    assert!(message.contains("--micro-batch-pairs 1"), "{message}");
    config.micro_batch_pairs = 8;
    let planned = plan(&config, &wide_vocabulary(), &pairs, &[], &choice);
    assert_eq!((planned.fits, planned.refusal()), (Some(true), None));
}

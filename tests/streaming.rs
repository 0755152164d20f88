//! Does a model whose blocks come to the device one by one, or are computed twice, compute the same bits as one that
//! stays there?

use burn::tensor::Device;
use dpop_studio::config::Target;
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::{LoadOptions, Model, entry_weights, read};
use dpop_studio::quant::QuantFormat;

mod common;

fn pairs() -> Vec<TokenizedPair> {
    let ids = |n: u32, salt: u32| (0..n).map(|i| 3 + (i * 31 + salt) % 90).collect::<Vec<_>>();
    let pair = |row, prompt, chosen, rejected| TokenizedPair {
        row,
        prompt_ids: ids(prompt, 1),
        chosen_ids: ids(chosen, 2),
        rejected_ids: ids(rejected, 7),
    };
    vec![pair(0, 6, 9, 5), pair(1, 3, 4, 12)]
}

/// Log-probabilities and adapter gradients of one step.
fn step(model: &Model) -> (Vec<f32>, Vec<f32>) {
    let config = LoraConfig {
        rank: 4,
        alpha: 8.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let mut adapter = LoraAdapter::init(config, &model.config, 3);
    for (i, value) in adapter.values.iter_mut().enumerate() {
        *value += ((i * 7919) % 101) as f32 * 1e-3 - 0.05;
    }
    let packed = PackedBatch::new(&pairs());
    let batch = model.upload(&packed);
    let updates = adapter.upload(model.config.num_layers, model.device(), None);
    let (logps, saved) = model.forward(&batch, &updates).unwrap();
    let weights = entry_weights(&packed, &[(-0.4, 0.3), (-0.2, 0.1)]);
    let grads = model.backward(&batch, &updates, saved, &weights).unwrap();
    (read(logps).unwrap(), adapter.read_grads(grads).unwrap())
}

#[test]
fn streamed_is_resident_to_the_bit() {
    let scratch = tempfile::tempdir().unwrap();
    let mut devices = vec![Device::flex()];
    devices.extend(common::gpu());
    for device in devices {
        for name in ["llama_gqa_untied", "qwen3_qknorm", "llama_bf16", "mixtral_4e_top2"] {
            let folder = common::fixture(&format!("models/{name}"));
            for format in
                [None, Some(QuantFormat::Bf16), Some(QuantFormat::Int8), Some(QuantFormat::Nf4)]
            {
                let load = |stream| {
                    let options = LoadOptions { format, stream, ..LoadOptions::default() };
                    Model::load(&folder, &device, options).unwrap()
                };
                let resident = step(&load(None));
                let model = load(Some(scratch.path().to_path_buf()));
                // The first step fills the temporary file, the second reads it.
                for visit in 0..2 {
                    let streamed = step(&model);
                    assert_eq!(streamed, resident, "{name}, {format:?}, visit {visit}, {device:?}");
                }
                assert!(
                    resident.1.iter().any(|g| g.abs() > 1e-4),
                    "{name}: no gradient to compare"
                );
            }
        }
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "a file is left behind");
}

#[test]
fn a_recomputed_block_is_the_kept_one_to_the_bit() {
    let scratch = tempfile::tempdir().unwrap();
    let mut devices = vec![Device::flex()];
    devices.extend(common::gpu());
    for device in devices {
        for (name, format) in [
            ("llama_gqa_untied", None),
            ("qwen3_qknorm", Some(QuantFormat::Int8)),
            ("qwen3_moe", Some(QuantFormat::Nf4)),
        ] {
            let folder = common::fixture(&format!("models/{name}"));
            let load = |recompute, stream| {
                let options = LoadOptions { format, recompute, stream, ..LoadOptions::default() };
                step(&Model::load(&folder, &device, options).unwrap())
            };
            let kept = load(false, None);
            assert!(kept.1.iter().any(|g| g.abs() > 1e-4), "{name}: no gradient to compare");
            assert_eq!(load(true, None), kept, "{name}, {device:?}");
            let stream = Some(scratch.path().to_path_buf());
            assert_eq!(load(true, stream), kept, "{name}, streamed, {device:?}");
        }
    }
}

#[test]
fn a_folder_that_cannot_hold_the_weights_is_named() {
    let folder = common::fixture("models/llama_bf16");
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = LoadOptions {
        format: Some(QuantFormat::Int8),
        stream: Some(file.path().to_path_buf()),
        ..LoadOptions::default()
    };
    let message = Model::load(&folder, &Device::flex(), options).err().unwrap().to_string();
    assert!(message.contains("cannot hold the streamed weights"), "{message}");
    assert!(message.contains("--weights resident"), "{message}");
}

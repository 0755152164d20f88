//! Are adapters that PEFT itself made on experts, which transformers 5 holds in one tensor a layer, read as PEFT computes
//! them, whichever way its version stacked them?

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dpop_studio::config::Target;
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::peft;
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::{LoadOptions, Model};
use serde_json::Value;

mod common;

/// Every adapter of the fixtures: its folder and its base model's.
fn adapters() -> Vec<(PathBuf, PathBuf)> {
    let all: Vec<_> = fs::read_dir(common::fixture("peft_experts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let model = name.split("-peft-").next().unwrap().to_owned();
            (folder, common::fixture(&format!("models/{model}")))
        })
        .collect();
    assert_eq!(all.len(), 4, "two models, PEFT before and after 0.19.1");
    all
}

#[test]
fn stacked_adapters_give_pefts_log_probabilities() {
    for (folder, base) in adapters() {
        let model = Model::load(&base, &Device::flex(), LoadOptions::default()).unwrap();
        let adapter = peft::load(&folder, &model.config).unwrap();
        assert_eq!(
            adapter.config.targets,
            [Target::Q, Target::O, Target::Gate, Target::Up, Target::Down]
        );
        let updates = adapter.upload(model.config.num_layers, model.device(), None);
        let text = fs::read_to_string(folder.join("expected.json")).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let mut moved = 0f32;
        for row in &rows {
            let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
            let want: Vec<f32> = serde_json::from_value(row["logps"].clone()).unwrap();
            let pair = TokenizedPair {
                row: 0,
                prompt_ids: ids[..1].to_vec(),
                chosen_ids: ids[1..].to_vec(),
                rejected_ids: vec![5, 2],
            };
            let got = &model.score(std::slice::from_ref(&pair), Some(&updates)).unwrap()[0].chosen;
            let bare = &model.score(&[pair], None).unwrap()[0].chosen;
            assert_eq!(got.len(), want.len());
            for ((got, want), bare) in got.iter().zip(&want).zip(bare) {
                assert!((got - want).abs() < 1e-4, "{}: {got} is not {want}", folder.display());
                moved = moved.max((bare - want).abs());
            }
        }
        assert!(moved > 0.5, "{}: the adapter changes next to nothing", folder.display());
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (folder, base) =
        adapters().into_iter().find(|(f, _)| f.ends_with("mixtral_fused-peft-0.21.2")).unwrap();
    let model = ModelConfig::read(&base).unwrap();
    let refused = |model: &ModelConfig, change: fn(&mut Value)| {
        let copy = tempfile::tempdir().unwrap();
        for name in [peft::CONFIG_FILE, peft::TENSOR_FILE] {
            fs::copy(folder.join(name), copy.path().join(name)).unwrap();
        }
        let path = copy.path().join(peft::CONFIG_FILE);
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
        peft::load(copy.path(), model).unwrap_err().to_string()
    };
    // The axes of an older version.
    let message = refused(&model, |config| config["peft_version"] = "0.18.1".into());
    assert!(message.contains("experts.lora_A.weight"), "{message}");
    // The router, a model without experts, another rank.
    let message = refused(&model, |c| c["target_parameters"] = serde_json::json!(["gate.weight"]));
    assert!(message.contains("`target_parameters`"), "{message}");
    let dense = ModelConfig::read(Path::new(&common::fixture("models/llama_gqa_untied"))).unwrap();
    assert!(refused(&dense, |_| ()).contains("`target_parameters`"));
    let message = refused(&model, |config| config["r"] = 3.into());
    assert!(message.contains("lora_A.weight"), "{message}");
}

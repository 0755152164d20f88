//! Are adapters read and written as PEFT does, and is everything else refused by name?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::config::Target;
use dpop_studio::lora::peft;
use dpop_studio::lora::peft::tensor_file::{self, NamedTensor};
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::config::ModelConfig;
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn model(name: &str) -> ModelConfig {
    ModelConfig::read(&fixtures().join("models").join(name)).unwrap()
}

fn base() -> ModelConfig {
    model("llama_gqa_untied")
}

/// Every adapter that PEFT wrote for the trajectories.
fn adapters() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for run in fs::read_dir(fixtures().join("traj")).unwrap() {
        let run = run.unwrap().path();
        folders.extend(
            ["adapter_init", "adapter_final"]
                .map(|name| run.join(name))
                .into_iter()
                .filter(|p| p.exists()),
        );
    }
    assert_eq!(folders.len(), 16, "the trajectory fixtures hold 16 adapters");
    folders
}

/// Tensor name to its bytes, as the safetensors crate reads them.
fn raw_tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| (name.into(), (view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

#[test]
fn every_adapter_of_peft_is_read_into_ordered_sites() {
    for folder in adapters() {
        let adapter = peft::load(&folder, &base()).unwrap();
        assert_eq!((adapter.config.rank, adapter.config.alpha), (4, 8.0));
        let all = folder.to_string_lossy().contains("_all");
        let expected: Vec<Target> =
            if all { Target::ALL.to_vec() } else { vec![Target::Q, Target::V] };
        assert_eq!(adapter.config.targets, expected);
        let order: Vec<_> =
            adapter.sites.iter().map(|site| (site.layer, site.place.target)).collect();
        let wanted: Vec<_> =
            (0..2).flat_map(|layer| expected.iter().map(move |target| (layer, *target))).collect();
        assert_eq!(order, wanted);
        let raw = raw_tensors(&folder.join(peft::TENSOR_FILE));
        for site in &adapter.sites {
            let name = format!(
                "base_model.model.model.layers.{}.{}.{}",
                site.layer,
                site.place.target.parent_name(),
                site.place.target.module_name()
            );
            let (shape, bytes) = &raw[&format!("{name}.lora_B.weight")];
            assert_eq!(shape, &[site.output, 4]);
            let start = site.offset + 4 * site.input;
            let values = &adapter.values[start..start + site.output * 4];
            assert_eq!(bytemuck::cast_slice::<f32, u8>(values), bytes.as_slice(), "{name}");
        }
    }
}

#[test]
fn what_is_saved_is_what_peft_saved_to_the_bit() {
    for folder in adapters() {
        let out = tempfile::tempdir().unwrap();
        let adapter = peft::load(&folder, &base()).unwrap();
        peft::save(out.path(), &adapter, Path::new("models/llama")).unwrap();
        assert_eq!(
            raw_tensors(&out.path().join(peft::TENSOR_FILE)),
            raw_tensors(&folder.join(peft::TENSOR_FILE))
        );
        assert_eq!(peft::load(out.path(), &base()).unwrap(), adapter);
        let ours: Value =
            serde_json::from_slice(&fs::read(out.path().join(peft::CONFIG_FILE)).unwrap()).unwrap();
        let theirs: Value =
            serde_json::from_slice(&fs::read(folder.join(peft::CONFIG_FILE)).unwrap()).unwrap();
        for (field, value) in ours.as_object().unwrap() {
            match field.as_str() {
                "base_model_name_or_path" => assert_eq!(value, "models/llama"),
                // A set in PEFT: its order says nothing.
                "target_modules" => {
                    let names = |list: &Value| {
                        let mut names: Vec<String> = serde_json::from_value(list.clone()).unwrap();
                        names.sort();
                        names
                    };
                    assert_eq!(names(value), names(&theirs[field]));
                }
                _ => assert_eq!(value, &theirs[field], "{field}"),
            }
        }
    }
}

#[test]
fn a_fractional_alpha_survives() {
    let out = tempfile::tempdir().unwrap();
    let mut adapter = peft::load(&adapters()[0], &base()).unwrap();
    adapter.config.alpha = 11.3;
    adapter.config.rslora = true;
    adapter.config.dropout = 0.05;
    peft::save(out.path(), &adapter, Path::new("m")).unwrap();
    assert_eq!(peft::load(out.path(), &base()).unwrap(), adapter);
}

#[test]
fn half_precision_adapters_are_widened() {
    let source = adapters().remove(0);
    let folder = copy(&source, |_| {});
    let mut file = raw_tensors(&source.join(peft::TENSOR_FILE));
    for (_, bytes) in file.values_mut() {
        let values: &[f32] = bytemuck::cast_slice(bytes);
        *bytes = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    }
    let views: Vec<_> = file
        .iter()
        .map(|(name, (shape, bytes))| {
            (
                name,
                safetensors::tensor::TensorView::new(
                    safetensors::Dtype::BF16,
                    shape.clone(),
                    bytes,
                )
                .unwrap(),
            )
        })
        .collect();
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.path().join(peft::TENSOR_FILE), bytes).unwrap();
    let exact = peft::load(&source, &base()).unwrap();
    let loaded = peft::load(folder.path(), &base()).unwrap();
    for (exact, loaded) in exact.values.iter().zip(&loaded.values) {
        assert_eq!(half::bf16::from_f32(*exact).to_f32(), *loaded);
    }
}

/// A copy of an adapter whose configuration went through `change`.
fn copy(
    source: &Path,
    change: impl FnOnce(&mut serde_json::Map<String, Value>),
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join(peft::CONFIG_FILE);
    let mut config: serde_json::Map<String, Value> =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    folder
}

fn refusal(folder: &Path) -> String {
    peft::load(folder, &base()).unwrap_err().to_string()
}

#[test]
fn what_changes_the_computation_is_refused_by_name() {
    let source = adapters().remove(0);
    let cases = [
        ("rank_pattern", json!({"q_proj": 8})),
        ("alpha_pattern", json!({"q_proj": 8})),
        ("bias", json!("lora_only")),
        ("bias", json!("all")),
        ("use_dora", json!(true)),
        ("lora_bias", json!(true)),
        ("use_qalora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("layers_to_transform", json!([0])),
        ("layer_replication", json!([[0, 2]])),
        ("exclude_modules", json!(["v_proj"])),
        ("trainable_token_indices", json!([5])),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("olora")),
        ("peft_type", json!("IA3")),
    ];
    for (field, value) in cases {
        let folder = copy(&source, |config| drop(config.insert(field.into(), value.clone())));
        let message = refusal(folder.path());
        assert!(message.contains(&format!("`{field}`")), "{field} = {value}: {message}");
        assert!(message.contains(&value.to_string()), "{field} = {value}: {message}");
    }
}

#[test]
fn broken_fields_are_named() {
    let source = adapters().remove(0);
    let cases = [
        ("r", json!(0)),
        ("r", json!(-4)),
        ("r", json!("four")),
        ("lora_alpha", json!("eight")),
        ("lora_dropout", json!(1.5)),
        ("use_rslora", json!("yes")),
        ("target_modules", json!(7)),
        ("target_modules", json!([])),
    ];
    for (field, value) in cases {
        let folder = copy(&source, |config| drop(config.insert(field.into(), value.clone())));
        let message = refusal(folder.path());
        assert!(message.contains(&format!("`{field}`")), "{field} = {value}: {message}");
    }
    for field in ["r", "lora_alpha", "target_modules", "peft_type"] {
        let folder = copy(&source, |config| drop(config.remove(field)));
        let message = refusal(folder.path());
        assert!(message.contains(&format!("`{field}` is missing")), "{field}: {message}");
    }
    let folder = copy(&source, |config| {
        drop(config.insert("target_modules".into(), json!(["q_proj", "lm_head"])))
    });
    assert!(refusal(folder.path()).contains("`lm_head`"));
}

#[test]
fn tensors_must_match_the_model_one_to_one() {
    let source = fixtures().join("traj/dpop_qv/adapter_final");

    // The configuration promises more sites than the file holds, or fewer.
    let more = copy(&source, |c| {
        drop(c.insert("target_modules".into(), json!(["q_proj", "v_proj", "o_proj"])))
    });
    let message = refusal(more.path());
    assert!(message.contains("missing") && message.contains("o_proj.lora_A.weight"), "{message}");
    let fewer = copy(&source, |c| drop(c.insert("target_modules".into(), json!(["q_proj"]))));
    let message = refusal(fewer.path());
    assert!(
        message.contains("belong to no adapted layer") && message.contains("v_proj"),
        "{message}"
    );

    // The rank in the configuration and the tensors differ.
    let rank = copy(&source, |c| drop(c.insert("r".into(), json!(8))));
    let message = refusal(rank.path());
    assert!(message.contains("[4, 64]") && message.contains("[8, 64]"), "{message}");

    // Another model: other widths.
    let mut wider = base();
    wider.hidden_size *= 2;
    let message = peft::load(&source, &wider).unwrap_err().to_string();
    assert!(message.contains("check the base model"), "{message}");

    // Another model: more layers.
    let mut deeper = base();
    deeper.num_layers += 1;
    let message = peft::load(&source, &deeper).unwrap_err().to_string();
    assert!(message.contains("layers.2.self_attn.q_proj.lora_A.weight"), "{message}");
}

#[test]
fn files_that_are_no_adapter_are_refused_with_a_remedy() {
    let source = adapters().remove(0);
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(empty.path()).contains("adapter_config.json"));

    let pickle = copy(&source, |_| {});
    fs::rename(pickle.path().join(peft::TENSOR_FILE), pickle.path().join("adapter_model.bin"))
        .unwrap();
    assert!(refusal(pickle.path()).contains("safe_serialization"));

    let pointer = copy(&source, |_| {});
    fs::write(
        pointer.path().join(peft::TENSOR_FILE),
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    )
    .unwrap();
    assert!(refusal(pointer.path()).contains("git lfs pull"));

    let cut = copy(&source, |_| {});
    let path = cut.path().join(peft::TENSOR_FILE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    assert!(refusal(cut.path()).contains("not a whole safetensors file"));

    let not_json = copy(&source, |_| {});
    fs::write(not_json.path().join(peft::CONFIG_FILE), "{").unwrap();
    assert!(refusal(not_json.path()).contains("not valid JSON"));

    let nan = copy(&source, |_| {});
    let tensors = tensor_file::read(&source.join(peft::TENSOR_FILE)).unwrap();
    let mut broken = tensors.clone();
    broken.values_mut().next().unwrap().values[3] = f32::NAN;
    let named: Vec<NamedTensor> = broken
        .iter()
        .map(|(name, t)| NamedTensor {
            name: name.clone(),
            shape: t.shape.clone(),
            values: &t.values,
        })
        .collect();
    let mut bytes = Vec::new();
    tensor_file::write(&mut bytes, &named).unwrap();
    fs::write(nan.path().join(peft::TENSOR_FILE), bytes).unwrap();
    assert!(refusal(nan.path()).contains("not finite"));
}

/// One A for a fused layer, under the names that PEFT finds in the model.
#[test]
fn a_fused_layer_is_one_site() {
    let phi3 = model("phi3");
    let config = LoraConfig {
        rank: 2,
        alpha: 4.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
    };
    let adapter = LoraAdapter::init(config, &phi3, 1);
    let folder = tempfile::tempdir().unwrap();
    peft::save(folder.path(), &adapter, Path::new("m")).unwrap();
    assert_eq!(peft::load(folder.path(), &phi3).unwrap(), adapter);

    let text = fs::read(folder.path().join(peft::CONFIG_FILE)).unwrap();
    let written: Value = serde_json::from_slice(&text).unwrap();
    let names = json!(["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]);
    assert_eq!(written["target_modules"], names);
    let tensors = raw_tensors(&folder.path().join(peft::TENSOR_FILE));
    assert_eq!(tensors.len(), 2 * 2 * 4);
    let shape = |name: &str| &tensors[&format!("base_model.model.model.layers.1.{name}.weight")].0;
    // Four heads for queries and two each for keys and values, 16 channels a head.
    assert_eq!(shape("self_attn.qkv_proj.lora_A"), &[2, 64]);
    assert_eq!(shape("self_attn.qkv_proj.lora_B"), &[(4 + 2 + 2) * 16, 2]);
    assert_eq!(shape("mlp.gate_up_proj.lora_B"), &[2 * 160, 2]);

    // Either way the message names the layers that the model has.
    let fused = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"];
    let apart = Target::ALL.map(Target::module_name);
    let wrong = peft::load(folder.path(), &base()).unwrap_err().to_string();
    assert!(wrong.contains("`qkv_proj`") && apart.iter().all(|n| wrong.contains(n)), "{wrong}");
    let wrong = peft::load(&adapters()[0], &phi3).unwrap_err().to_string();
    assert!(fused.iter().all(|name| wrong.contains(name)), "{wrong}");
}

/// An adapter on the given layers of a fixture, with values of its own everywhere.
fn filled(model: &ModelConfig, targets: &[Target]) -> LoraAdapter {
    let lora =
        LoraConfig { rank: 4, alpha: 6.0, targets: targets.to_vec(), dropout: 0.1, rslora: true };
    let mut adapter = LoraAdapter::zeros(lora, model);
    (0u16..).zip(&mut adapter.values).for_each(|(i, value)| *value = f32::from(i) * 1e-3);
    adapter
}

#[test]
fn adapters_on_experts_bear_the_names_of_the_checkpoint() {
    for (name, module, targets) in [
        ("mixtral_4e_top2", "block_sparse_moe.experts.3.w2", json!(["q_proj", "w1", "w3", "w2"])),
        (
            "qwen3_moe",
            "mlp.experts.3.down_proj",
            json!(["q_proj", "gate_proj", "up_proj", "down_proj"]),
        ),
    ] {
        let model = model(name);
        let all = [Target::Q, Target::Gate, Target::Up, Target::Down];
        let adapter = filled(&model, &all);
        assert_eq!(adapter.sites.len(), 2 * (1 + 4 * 3));
        let folder = tempfile::tempdir().unwrap();
        peft::save(folder.path(), &adapter, Path::new("m")).unwrap();
        let tensors = raw_tensors(&folder.path().join(peft::TENSOR_FILE));
        let name = format!("base_model.model.model.layers.1.{module}.lora_A.weight");
        assert_eq!(tensors[&name].0, [4, model.experts.as_ref().unwrap().intermediate_size]);
        assert_eq!(peft::load(folder.path(), &model).unwrap(), adapter);

        // A finished adapter: the same scale, in terms that survive PEFT's joining of gate and up.
        let finished = peft::portable(&adapter, &model);
        let text = peft::config_json(&finished, Path::new("m"));
        let config: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(config["target_modules"], targets);
        assert_eq!((&config["lora_dropout"], &config["use_rslora"]), (&json!(0.0), &json!(false)));
        assert_eq!(config["lora_alpha"], json!(12));
        assert_eq!(finished.values, adapter.values);
        assert!((finished.config.scale() - adapter.config.scale()).abs() < 1e-12);
    }
    let adapter = filled(&base(), &[Target::Gate]);
    assert_eq!(*peft::portable(&adapter, &base()), adapter, "without experts all stays as it is");
}

#[test]
fn a_finished_adapter_has_all_that_peft_joins() {
    let model = model("qwen3_moe_fused");
    let adapter = filled(&model, &[Target::V, Target::Up]);
    let finished = peft::portable(&adapter, &model);
    let expected = [Target::V, Target::Gate, Target::Up, Target::Down];
    assert_eq!(finished.config.targets, expected);
    let mut kept = 0;
    for site in &finished.sites {
        let (a, b) = finished.parts(site);
        match adapter.sites.iter().find(|own| own.module == site.module) {
            Some(own) => {
                assert_eq!((a, b), adapter.parts(own), "{}", site.module);
                kept += 1;
            }
            None => {
                assert!(b.iter().all(|v| *v == 0.0), "{}", site.module);
                assert!(a.iter().any(|v| *v != 0.0), "{} could not be trained on", site.module);
            }
        }
    }
    assert_eq!(kept, adapter.sites.len());
}

#[test]
fn a_router_carries_no_adapter_and_a_part_of_the_experts_is_no_adapter() {
    let model = model("mixtral_4e_top2");
    let folder = tempfile::tempdir().unwrap();
    peft::save(folder.path(), &filled(&model, &[Target::Gate]), Path::new("m")).unwrap();
    let refusal = |modules: Value| {
        let folder = copy(folder.path(), |c| drop(c.insert("target_modules".into(), modules)));
        peft::load(folder.path(), &model).unwrap_err().to_string()
    };
    let message = refusal(json!(["w1", "gate"]));
    assert!(message.contains("`gate`") && message.contains("w1, w2, w3"), "{message}");
    assert!(refusal(json!(["gate_proj"])).contains("`gate_proj`"));
    let message = refusal(json!(["experts.0.w1", "q_proj"]));
    assert!(message.contains("missing") && message.contains("q_proj.lora_A"), "{message}");
}

//! Are checkpoints of GPTQ, AWQ, EXL2 and bitsandbytes decoded to what they stand for? (`tests/fixtures/packed/make.py`
//! wrote them from the published formats, with the values that their formulas give.)

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dpop_studio::model::checkpoint::{Checkpoint, ModelSummary, model_hash};
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::quant::QuantFormat;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use tempfile::TempDir;

mod common;
mod edit;

use edit::{Tensor, edit, edit_json, find, refused};

/// Folder and what the model's card calls it.
const FOLDERS: [(&str, &str); 13] = [
    ("awq-g32", "AWQ 4-bit"),
    ("bnb-int8", "bitsandbytes 8-bit"),
    ("bnb-nf4", "bitsandbytes 4-bit"),
    ("bnb-nf4-double", "bitsandbytes 4-bit"),
    ("exl2-mixed", "EXL2 4.6 bits"),
    ("exl2-uneven", "EXL2 3 bits"),
    ("gptq-2bit-g32-act-order", "GPTQ 2-bit"),
    ("gptq-3bit-g32", "GPTQ 3-bit"),
    ("gptq-4bit-g128-v2", "GPTQ 4-bit"),
    ("gptq-4bit-g32-act-order", "GPTQ 4-bit"),
    ("gptq-4bit-g64-sym", "GPTQ 4-bit"),
    ("gptq-4bit-sym-as-it-is", "GPTQ 4-bit"),
    ("gptq-8bit-own-config", "GPTQ 8-bit"),
];

fn folder(name: &str) -> PathBuf {
    common::fixture(&format!("packed/{name}"))
}

fn decoded(name: &str) -> PathBuf {
    folder(&format!("decoded/{name}.safetensors"))
}

#[test]
fn tensors_are_decoded_to_the_bit() {
    for (name, label) in FOLDERS {
        let config = ModelConfig::read(&folder(name)).unwrap();
        let checkpoint = Checkpoint::open(&folder(name), &config).unwrap();
        assert_eq!(checkpoint.dtype(), label, "{name}");
        let bytes = fs::read(decoded(name)).unwrap();
        let want = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(checkpoint.names().len(), want.len(), "{name}");
        for tensor in checkpoint.names() {
            let got = checkpoint.tensor(tensor).unwrap();
            let want = want.tensor(tensor).unwrap();
            assert_eq!((want.dtype(), want.shape()), (Dtype::F32, &got.shape[..]), "{tensor}");
            let values = want.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
            for (i, (got, want)) in got.values.iter().zip(values).enumerate() {
                assert_eq!(got.to_bits(), want.to_bits(), "{name}: {tensor}[{i}]: {got}, {want}");
            }
        }
    }
}

/// A model of the decoded values, as safetensors of float32.
fn plain(name: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::copy(folder(name).join("config.json"), root.path().join("config.json")).unwrap();
    edit_json(&root.path().join("config.json"), |config| {
        config.as_object_mut().unwrap().remove("quantization_config");
    });
    fs::copy(decoded(name), root.path().join("model.safetensors")).unwrap();
    root
}

fn logits(folder: &Path, options: &LoadOptions) -> Vec<u32> {
    let net = Model::load(folder, &Device::flex(), options.clone()).unwrap();
    let logits = net.logits(&[1, 17, 30, 5, 21, 9, 38, 2], None).unwrap();
    let values: Vec<f32> = logits.into_data().try_to_vec().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// In f32, and encoded again into this program's own formats, resident and streamed.
#[test]
fn a_packed_model_computes_what_its_decoded_values_compute() {
    let scratch = tempfile::tempdir().unwrap();
    let streamed = Some(scratch.path().to_path_buf());
    for (name, _) in FOLDERS {
        let plain = plain(name);
        for format in [None, Some(QuantFormat::Int8), Some(QuantFormat::Nf4)] {
            let options = LoadOptions { format, ..LoadOptions::default() };
            let want = logits(plain.path(), &options);
            assert_eq!(logits(&folder(name), &options), want, "{name}, {format:?}");
            let options = LoadOptions { stream: streamed.clone(), ..options };
            assert_eq!(logits(&folder(name), &options), want, "{name}, {format:?}, streamed");
        }
    }
}

#[test]
fn a_folder_tells_what_it_holds() {
    let summary = ModelSummary::read(&folder("exl2-mixed")).unwrap();
    assert_eq!((summary.dtype.as_str(), summary.architecture.as_str()), ("EXL2 4.6 bits", "Llama"));
    assert_eq!(summary.parameters, 2 * 40 * 32 + 3 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 160 * 32);
    assert!(summary.bytes < 30_000, "{}", summary.bytes);
    assert_eq!(model_hash(&folder("gptq-8bit-own-config")).unwrap().len(), 64);
}

const DOWN: &str = "model.layers.0.mlp.down_proj";

/// Copies a folder, spoils its tensors and reads the refusal.
fn spoilt(name: &str, change: impl FnOnce(&mut Vec<Tensor>), parts: &[&str]) {
    let dir = edit::copy(&folder(name));
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut weights = entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    edit(&weights.next().unwrap(), change);
    refused(dir.path(), parts);
}

fn part<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    find(tensors, &format!("{DOWN}.{name}"))
}

fn without(name: &'static str) -> impl FnOnce(&mut Vec<Tensor>) {
    move |tensors| tensors.retain(|tensor| tensor.name != format!("{DOWN}.{name}"))
}

#[test]
fn spoilt_gptq_layers_are_refused() {
    let model = "gptq-4bit-g32-act-order";
    for missing in ["qzeros", "scales"] {
        spoilt(model, without(missing), &[DOWN, missing, "is missing", "choose another copy"]);
    }
    spoilt(
        model,
        without("qweight"),
        &["down_proj.weight", "missing", "down_proj.g_idx", "unused"],
    );
    let outside = |tensors: &mut Vec<Tensor>| part(tensors, "g_idx").bytes[4..8].fill(5);
    spoilt(model, outside, &["down_proj.g_idx", "input 1 into group 84215045", "has 5"]);
    let negative = |tensors: &mut Vec<Tensor>| part(tensors, "g_idx").bytes[..4].fill(255);
    spoilt(model, negative, &["down_proj.g_idx", "group -1"]);
    let short = |tensors: &mut Vec<Tensor>| {
        let scales = part(tensors, "scales");
        scales.shape = vec![4, 32];
        scales.bytes.truncate(4 * 32 * 2);
    };
    spoilt(model, short, &["down_proj.scales", "[4, 32] where [5, 32] is expected"]);
    let turned = |tensors: &mut Vec<Tensor>| part(tensors, "qweight").shape.reverse();
    spoilt(model, turned, &["down_proj.qweight", "[32, 20] where [20, 32] is expected"]);
    let floats = |tensors: &mut Vec<Tensor>| part(tensors, "qweight").dtype = Dtype::F32;
    spoilt(model, floats, &["down_proj.qweight", "stored as F32 where I32 or U32"]);
    let flat = |tensors: &mut Vec<Tensor>| part(tensors, "scales").shape = vec![160];
    spoilt(model, flat, &["down_proj.scales", "not two sizes"]);
    let bias = |tensors: &mut Vec<Tensor>| part(tensors, "bias").bytes[9] = 60;
    spoilt("gptq-4bit-g64-sym", bias, &["down_proj.bias", "unused"]);
    let scale =
        |tensors: &mut Vec<Tensor>| part(tensors, "scales").bytes[..2].copy_from_slice(&[0, 0x7c]);
    spoilt(model, scale, &["down_proj.weight", "NaN or infinite"]);
}

#[test]
fn spoilt_awq_and_bitsandbytes_layers_are_refused() {
    spoilt("awq-g32", without("qzeros"), &[DOWN, "qzeros is missing"]);
    let turned = |tensors: &mut Vec<Tensor>| part(tensors, "qweight").shape.reverse();
    spoilt("awq-g32", turned, &["down_proj.qweight", "[4, 160] where [160, 4] is expected"]);
    spoilt("bnb-nf4", without("weight.quant_map"), &[DOWN, "quant_map is missing"]);
    spoilt("bnb-nf4-double", without("weight.nested_absmax"), &["nested_absmax is missing"]);
    let state = "weight.quant_state.bitsandbytes__nf4";
    let nonsense = |tensors: &mut Vec<Tensor>| part(tensors, state).bytes[0] = b'!';
    spoilt("bnb-nf4", nonsense, &["bitsandbytes__nf4", "no JSON object"]);
    let short = |tensors: &mut Vec<Tensor>| {
        let weight = part(tensors, "weight");
        weight.shape = vec![2559, 1];
        weight.bytes.pop();
    };
    spoilt("bnb-nf4", short, &["down_proj.weight", "2559 bytes for 5120 codes"]);
    let columns = |tensors: &mut Vec<Tensor>| part(tensors, "weight_format").bytes[0] = 1;
    spoilt("bnb-int8", columns, &["down_proj.weight_format", "not in rows"]);
    spoilt("bnb-int8", without("SCB"), &["down_proj.weight", "stored as I8"]);
}

#[test]
fn spoilt_exl2_layers_are_refused() {
    let model = "exl2-mixed";
    for missing in ["q_groups", "q_scale", "q_scale_max", "q_invperm"] {
        spoilt(model, without(missing), &[DOWN, missing, "is missing"]);
    }
    let groups = |at: usize, value: i16| {
        move |tensors: &mut Vec<Tensor>| {
            part(tensors, "q_groups").bytes[2 * at..2 * at + 2]
                .copy_from_slice(&value.to_le_bytes());
        }
    };
    let listed = "down_proj.q_groups";
    spoilt(model, groups(0, 7), &[listed, "group 0 has 7 bits"]);
    spoilt(model, groups(3, 100), &[listed, "group 0 goes from row 0 to 100 of 23"]);
    spoilt(model, groups(3, 7), &[listed, "group 1 has 7 words of 6-bit codes"]);
    spoilt(model, groups(8, 3), &[listed, "group 4 has 2 words of 3-bit codes, and 32 inputs"]);
    spoilt(model, groups(9, -1), &[listed, "group 3 goes from row 18 to 65535"]);
    let twice = |tensors: &mut Vec<Tensor>| {
        let order = &mut part(tensors, "q_invperm").bytes;
        order.copy_within(0..4, 8);
    };
    spoilt(model, twice, &["down_proj.q_invperm", "entries 0 and 2 are both"]);
    let outside = |tensors: &mut Vec<Tensor>| part(tensors, "q_invperm").bytes[1] = 1;
    spoilt(model, outside, &["down_proj.q_invperm", "outside 0 to 160"]);
    let narrow = |tensors: &mut Vec<Tensor>| {
        let codes = find(tensors, "lm_head.q_weight");
        let rows = codes.shape[0];
        codes.shape = vec![rows, 40];
        codes.bytes.truncate(rows * 40 * 4);
    };
    spoilt(model, narrow, &["lm_head.q_weight", "[5, 40] where [5, 64] is expected"]);
}

#[test]
fn methods_that_cannot_be_decoded_are_refused_by_name() {
    let cases = [
        (json!({"quant_method": "fp8"}), "quant_method is fp8"),
        (json!({"quant_method": "compressed-tensors"}), "compressed-tensors"),
        (json!({"quant_method": "gptq", "bits": 5, "group_size": 32}), "bits is 5"),
        (json!({"quant_method": "gptq", "bits": 4}), "group_size is missing"),
        (
            json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "marlin"}),
            "checkpoint_format is marlin",
        ),
        (json!({"quant_method": "awq", "bits": 3, "group_size": 32}), "bits is 3"),
        (
            json!({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"}),
            "version is gemv",
        ),
        (json!({"bits": 4}), "quant_method is missing"),
    ];
    for (quantization, words) in cases {
        let dir = edit::copy(&folder("gptq-4bit-g32-act-order"));
        edit_json(&dir.path().join("config.json"), |config| {
            config["quantization_config"] = quantization;
        });
        refused(dir.path(), &[words, "quantization_config", "config.json"]);
    }
}

/// ExLlamaV2's first versions added nothing to config.json.
#[test]
fn exl2_is_known_by_its_tensors() {
    let dir = edit::copy(&folder("exl2-mixed"));
    edit_json(&dir.path().join("config.json"), |config| {
        config.as_object_mut().unwrap().remove("quantization_config");
    });
    let config = ModelConfig::read(dir.path()).unwrap();
    let checkpoint = Checkpoint::open(dir.path(), &config).unwrap();
    assert_eq!(checkpoint.dtype(), "EXL2");
    let name = "lm_head.weight";
    let whole = Checkpoint::open(&folder("exl2-mixed"), &config).unwrap();
    assert_eq!(checkpoint.tensor(name).unwrap(), whole.tensor(name).unwrap());
}

/// Layers that differ (`dynamic`) tell their bits by their shapes.
#[test]
fn layers_may_have_bits_of_their_own() {
    let dir = edit::copy(&folder("gptq-3bit-g32"));
    edit_json(&dir.path().join("config.json"), |config| {
        config["quantization_config"]["bits"] = json!(4);
    });
    refused(dir.path(), &["q_proj.qweight", "[3, 32] where [4, 32] is expected"]);
    edit_json(&dir.path().join("config.json"), |config| {
        config["quantization_config"]["dynamic"] = json!({"+:.*": {"bits": 3}});
    });
    let config = ModelConfig::read(dir.path()).unwrap();
    let own = Checkpoint::open(dir.path(), &config).unwrap();
    let whole = Checkpoint::open(&folder("gptq-3bit-g32"), &config).unwrap();
    let name = format!("{DOWN}.weight");
    assert_eq!(own.tensor(&name).unwrap(), whole.tensor(&name).unwrap());
}

#[test]
fn files_of_two_models_in_a_quantised_folder_are_refused() {
    let dir = edit::copy(&folder("exl2-uneven"));
    fs::copy(dir.path().join("output.safetensors"), dir.path().join("other.safetensors")).unwrap();
    refused(dir.path(), &["other.safetensors", "output.safetensors", "one model"]);
}

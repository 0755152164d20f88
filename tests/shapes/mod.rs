//! Model folders of published shapes with random weights: the real config.json, with fewer layers and, where asked, of
//! less width.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use dpop_studio::model::checkpoint::expected_tensors;
use dpop_studio::model::config::ModelConfig;
use half::bf16;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use safetensors::{Dtype, View, serialize_to_file};
use serde_json::{Value, json};

/// Every configuration under `tests/fixtures/configs`, by its folder's name.
pub fn published() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
    let folders = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = folders.filter(|path| path.is_dir()).map(|path| read(&path)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn read(folder: &Path) -> (String, Value) {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    (name, serde_json::from_str(&text).unwrap())
}

/// The same decoder in one layer.
pub fn one_layer(config: &Value) -> Value {
    let mut config = config.clone();
    config["num_hidden_layers"] = json!(1);
    config
}

/// A sixteenth of the width: as many heads with as many for keys and values, each of a sixteenth of the channels, and
/// the MLP in proportion. Experts become at most 8, the vocabulary 1000, a window 8 tokens.
pub fn narrow(config: &Value) -> Value {
    const FACTOR: u64 = 16;
    let mut config = config.clone();
    for field in [
        "hidden_size",
        "intermediate_size",
        "head_dim",
        "moe_intermediate_size",
        "query_pre_attn_scalar",
    ] {
        let Some(value) = config[field].as_u64() else { continue };
        assert!(value.is_multiple_of(FACTOR), "{field} is {value}");
        config[field] = json!(value / FACTOR);
    }
    for experts in ["num_local_experts", "num_experts"] {
        if let Some(count) = config[experts].as_u64() {
            config[experts] = json!(count.min(8));
            config["num_experts_per_tok"] = json!(2);
        }
    }
    if config["sliding_window"].is_u64() {
        config["sliding_window"] = json!(8);
    }
    config["vocab_size"] = json!(1000);
    config
}

pub fn parse(config: &Value) -> ModelConfig {
    ModelConfig::parse(&config.to_string(), Path::new("config.json")).unwrap()
}

/// A bf16 tensor whose values are made when they are written: the largest models' tables are gigabytes.
struct Random {
    shape: Vec<usize>,
    centre: f32,
    seed: u64,
}

impl View for Random {
    fn dtype(&self) -> Dtype {
        Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed);
        let mut bytes = vec![0; self.data_len()];
        // As wide as keeps a layer's output near its input's size.
        let spread = self.shape.get(1).map_or(0.1, |&inputs| 1.7 / (inputs as f32).sqrt());
        for pair in bytes.as_chunks_mut::<2>().0 {
            let uniform = (rng.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
            *pair = bf16::from_f32(self.centre + spread * uniform).to_le_bytes();
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        2 * self.shape.iter().product::<usize>()
    }
}

/// Writes config.json and model.safetensors.
pub fn write(folder: &Path, config: &Value) -> PathBuf {
    let shape = parse(config);
    let norm_centre = if shape.unit_offset_norms { 0.0 } else { 1.0 };
    let tensors = expected_tensors(&shape).into_iter().enumerate().map(|(i, (name, shape))| {
        let centre = if name.ends_with("norm.weight") { norm_centre } else { 0.0 };
        // Not the seeds of adapters: an embedding drawn like an A makes gradients that no model has.
        (name, Random { shape, centre, seed: 7_000 + i as u64 })
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    serialize_to_file(tensors, None, &folder.join("model.safetensors")).unwrap();
    folder.to_owned()
}

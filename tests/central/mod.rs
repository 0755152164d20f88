//! Adapter gradients against central differences of the model's own log-probabilities.
#![allow(dead_code)] // each test file uses its own part

use burn::tensor::Device;
use dpop_studio::config::Target;
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::checkpoint::Checkpoint;
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::{LoadOptions, Model, entry_weights};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Factors of the two answers' sums in what is differentiated.
const SIDES: (f64, f64) = (1.0, -0.6);

fn folder(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

pub fn config(name: &str) -> ModelConfig {
    ModelConfig::read(&folder(name)).unwrap()
}

/// A fixture's weights under a changed configuration.
pub fn fixture(name: &str, change: impl Fn(&mut ModelConfig)) -> Model {
    let mut config = config(name);
    let checkpoint = Checkpoint::open(&folder(name), &config).unwrap();
    change(&mut config);
    let options = LoadOptions::default();
    Model::build(config, &Device::flex(), options, |name| checkpoint.tensor(name)).unwrap()
}

pub fn pairs() -> Vec<TokenizedPair> {
    let ids = |n: u32, salt: u32| (0..n).map(|i| 3 + (i * 31 + salt * 17) % 500).collect();
    let pair = |row, prompt, chosen, rejected| TokenizedPair {
        row,
        prompt_ids: ids(prompt, 1 + row as u32),
        chosen_ids: ids(chosen, 2),
        rejected_ids: ids(rejected, 7),
    };
    vec![pair(0, 6, 9, 5), pair(1, 3, 4, 12)]
}

/// An adapter whose B is not zero, so that A has a gradient.
pub fn adapter(model: &Model, targets: &[Target], seed: u64) -> LoraAdapter {
    let lora =
        LoraConfig { rank: 3, alpha: 6.0, targets: targets.to_vec(), dropout: 0.0, rslora: false };
    let mut adapter = LoraAdapter::init(lora, &model.config, 3);
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    adapter.values.iter_mut().for_each(|value| *value += rng.random_range(-0.05..0.05));
    adapter
}

/// The differentiated sum, in f64 over f32 log-probabilities.
fn objective(model: &Model, adapter: &LoraAdapter, values: &[f32]) -> f64 {
    let moved = LoraAdapter { values: values.to_vec(), ..adapter.clone() };
    let updates = moved.upload(model.config.num_layers, model.device(), None);
    let sums = model.score(&pairs(), Some(&updates)).unwrap();
    sums.iter().map(|score| SIDES.0 * score.sums().0 + SIDES.1 * score.sums().1).sum()
}

pub fn gradient(model: &Model, adapter: &LoraAdapter) -> Vec<f32> {
    let packed = PackedBatch::new(&pairs());
    let batch = model.upload(&packed);
    let updates = adapter.upload(model.config.num_layers, model.device(), None);
    let (_, saved) = model.forward(&batch, &updates).unwrap();
    let weights = entry_weights(&packed, &[SIDES; 2]);
    adapter.read_grads(model.backward(&batch, &updates, saved, &weights).unwrap()).unwrap()
}

/// Central differences at random points along random directions, extrapolated to step 0, against the gradient.
///
/// A token that changes its expert between the two ends makes the log-probability jump. Half the step then shows twice
/// the slope's error, where a curve shows a quarter: such a direction says nothing and is left out.
pub fn check(what: &str, model: &Model, targets: &[Target]) {
    let mut rng = Pcg64Mcg::seed_from_u64(11);
    let mut compared = 0;
    for direction in 0..16 {
        let adapter = adapter(model, targets, direction);
        let grads = gradient(model, &adapter);
        // Every parameter by its gradient's size, so that no direction is lost in the noise of the others.
        let along: Vec<f64> =
            grads.iter().map(|&g| f64::from(g) * rng.random_range(-0.5..1.0f64)).collect();
        let norm = along.iter().map(|v| v * v).sum::<f64>().sqrt();
        assert!(norm > 0.1, "{what}: no gradient to compare");
        let slope = |step: f64| {
            let side = |sign: f64| {
                let moved = adapter.values.iter().zip(&along);
                let moved: Vec<f32> =
                    moved.map(|(&v, &d)| (f64::from(v) + sign * step * d / norm) as f32).collect();
                objective(model, &adapter, &moved)
            };
            (side(1.0) - side(-1.0)) / (2.0 * step)
        };
        let (wide, narrow) = (slope(4e-3), slope(2e-3));
        if (wide / narrow - 1.0).abs() > 5e-3 {
            continue;
        }
        compared += 1;
        let want = (4.0 * narrow - wide) / 3.0;
        let got: f64 = grads.iter().zip(&along).map(|(&g, d)| f64::from(g) * d / norm).sum();
        let off = (got / want - 1.0).abs();
        println!("{what}, direction {direction}: {got:.6} and {want:.6}, off by {off:.1e}");
        assert!(off < 1e-3, "{what}, direction {direction}: {got} is not {want}");
    }
    assert!(compared >= 6, "{what}: only {compared} directions without a jump");
}

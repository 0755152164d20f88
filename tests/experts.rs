//! Are the gradients of adapters in a mixture of experts those of the model's own log-probabilities, through the experts
//! and through the router?

use burn::tensor::Device;
use dpop_studio::config::Target;
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::{LoraAdapter, LoraConfig};
use dpop_studio::model::checkpoint::Checkpoint;
use dpop_studio::model::config::ModelConfig;
use dpop_studio::model::layout::PackedBatch;
use dpop_studio::model::{LoadOptions, Model, entry_weights, read};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

mod common;

const FIXTURES: [&str; 2] = ["mixtral_4e_top2", "qwen3_moe"];
const ATTENTION: [Target; 4] = [Target::Q, Target::K, Target::V, Target::O];
const EXPERTS: [Target; 3] = [Target::Gate, Target::Up, Target::Down];

/// Factors of the two answers' sums in what is differentiated.
const SIDES: (f64, f64) = (1.0, -0.6);

fn config(name: &str) -> ModelConfig {
    ModelConfig::read(&common::fixture(&format!("models/{name}"))).unwrap()
}

/// A fixture's weights under a changed configuration.
fn fixture(name: &str, change: impl Fn(&mut ModelConfig)) -> Model {
    let mut config = config(name);
    let folder = common::fixture(&format!("models/{name}"));
    let checkpoint = Checkpoint::open(&folder, &config).unwrap();
    change(&mut config);
    let options = LoadOptions::default();
    Model::build(config, &Device::flex(), options, |name| checkpoint.tensor(name)).unwrap()
}

fn pairs() -> Vec<TokenizedPair> {
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
fn adapter(model: &Model, targets: &[Target], seed: u64) -> LoraAdapter {
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

fn gradient(model: &Model, adapter: &LoraAdapter) -> Vec<f32> {
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
fn check(what: &str, model: &Model, targets: &[Target]) {
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

#[test]
fn adapter_gradients_are_central_differences() {
    for name in FIXTURES {
        let model = fixture(name, |_| {});
        check(&format!("{name}, attention"), &model, &ATTENTION);
        check(&format!("{name}, experts"), &model, &EXPERTS);
        check(&format!("{name}, all"), &model, &Target::ALL);
        check(&format!("{name}, mixed"), &model, &[Target::V, Target::Down]);
    }
}

/// Without scaling to a sum of 1 the unchosen experts' logits count too.
#[test]
fn gradients_flow_through_a_router_that_does_not_renormalise() {
    let model = fixture("qwen3_moe", |config| {
        config.experts.as_mut().unwrap().renormalise = false;
    });
    check("not renormalised, attention", &model, &ATTENTION);
    check("not renormalised, all", &model, &Target::ALL);
}

/// Dense layers among sparse ones, three of five experts, some without a token.
#[test]
fn gradients_in_a_decoder_with_dense_and_sparse_layers() {
    let mut config = config("qwen3_moe");
    config.num_layers = 3;
    config.sliding_window = vec![None; 3];
    let experts = config.experts.as_mut().unwrap();
    (experts.count, experts.chosen, experts.layers) = (20, 3, vec![true, false, true]);
    let model = Model::random(config, &Device::flex(), LoadOptions::default(), 9, 0.1).unwrap();
    check("dense and sparse layers", &model, &Target::ALL);
    let adapter = adapter(&model, &EXPERTS, 0);
    let grads = gradient(&model, &adapter);
    let idle = adapter.sites.iter().filter(|site| {
        let count = adapter.config.rank * (site.input + site.output);
        grads[site.offset..site.offset + count].iter().all(|g| *g == 0.0)
    });
    let idle = idle.count();
    assert!(idle.is_multiple_of(3) && idle > 0, "every expert was used: {idle} sites are idle");
    let places: Vec<_> = adapter.sites.iter().filter(|site| site.layer == 1).collect();
    assert_eq!(places.len(), 3, "the dense layer has one MLP");
}

#[test]
fn the_same_bits_on_every_visit() {
    let model = fixture("mixtral_4e_top2", |_| {});
    let packed = PackedBatch::new(&pairs());
    let batch = model.upload(&packed);
    let adapter = LoraAdapter::init(adapter(&model, &EXPERTS, 0).config, &model.config, 3);
    let updates = adapter.upload(model.config.num_layers, model.device(), None);
    let reference = read(model.log_probs(&batch, None).unwrap()).unwrap();
    let policy = read(model.forward(&batch, &updates).unwrap().0).unwrap();
    assert_eq!(reference, policy, "an adapter whose B is zero changes nothing");
}

//! Do models of published shapes open and train? Their weights are not here: random ones of the same shape are, with one
//! layer and, in the ordinary run, a sixteenth of the width.

use std::path::Path;

use burn::tensor::Device;
use dpop_studio::config::{BasePrecision, Budget};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::lora::peft;
use dpop_studio::model::checkpoint::expected_tensors;
use dpop_studio::model::{LoadOptions, Model, quant_format};
use dpop_studio::train::Trainer;
use dpop_studio::train::event::Event;
use serde_json::Value;

mod common;
mod shapes;

fn pairs(vocabulary: usize) -> Vec<TokenizedPair> {
    let ids = |n: usize, salt: usize| -> Vec<u32> {
        (0..n).map(|i| ((i * 7919 + salt * 104_729) % vocabulary) as u32).collect()
    };
    let pair = |row: usize| TokenizedPair {
        row,
        prompt_ids: ids(9, row),
        chosen_ids: ids(8, row + 10),
        rejected_ids: ids(6, row + 20),
    };
    vec![pair(0), pair(1)]
}

/// Loss, gradient norm and mean log-probability of the chosen answers at one step of the kept arm.
fn step(trainer: &mut Trainer) -> (f64, f64, f64) {
    let Event::Step { arms, .. } = trainer.step().unwrap() else { panic!("a step is an event") };
    let values = &arms["dpop"];
    (values["loss"], values["grad_norm"], values["logps/chosen"])
}

/// Two steps of a model folder; answers the parameters of its base.
fn train(name: &str, folder: &Path, precision: BasePrecision) {
    let format = quant_format(precision);
    let options = LoadOptions { format, ..LoadOptions::default() };
    let model = Model::load(folder, &Device::flex(), options).unwrap_or_else(|e| panic!("{e}"));
    let shape = model.config.clone();
    let mut config = common::config(folder);
    config.budget = Budget::Steps(2);
    config.batch_pairs = 2;
    let data = pairs(shape.vocab_size);
    let mut trainer = Trainer::new(model, &config, data, Vec::new(), None, None).unwrap();
    let (loss, norm, before) = step(&mut trainer);
    let what = format!("{name} in {}", precision.name());
    assert!((loss - 2f64.ln()).abs() < 1e-12, "{what}: the first loss is {loss}, not ln 2");
    assert!(norm.is_finite() && norm > 1e-4, "{what}: gradient norm {norm}");
    let (loss, _, after) = step(&mut trainer);
    assert!(loss.is_finite() && after.is_finite(), "{what}: loss {loss}");
    assert_ne!(before, after, "{what}: the update changed nothing");
    println!("{what}: gradient norm {norm:.3}, chosen {before:.4} -> {after:.4}");

    let adapter = &trainer.state().arms[0].adapter;
    let saved = tempfile::tempdir().unwrap();
    peft::save(saved.path(), adapter, folder).unwrap();
    let loaded = peft::load(saved.path(), &shape).unwrap();
    assert_eq!(loaded.values, adapter.values, "{what}: the adapter changed on its way");
}

#[test]
fn one_block_of_every_shape_trains_at_a_sixteenth_of_the_width() {
    let published = shapes::published();
    assert!(published.len() >= 19, "only {} configurations", published.len());
    for (name, config) in &published {
        let folder = tempfile::tempdir().unwrap();
        let config = shapes::narrow(&shapes::one_layer(config));
        let folder = shapes::write(folder.path(), &config);
        for precision in [BasePrecision::F32, BasePrecision::Nf4] {
            train(name, &folder, precision);
        }
    }
}

/// `cargo test --test published_shapes -- --ignored --nocapture`: all of them one after the other, each in bf16 with its
/// real vocabulary. The largest (Smaug-72B) writes 7 GB to the temporary folder and peaks at 14 GB of memory, the file's
/// own pages included; `DPOP_SHAPES=smaug-72b-v0.1,..` chooses some.
#[test]
#[ignore = "writes and reads gigabytes"]
fn one_block_of_every_shape_trains_at_full_width() {
    let chosen = std::env::var("DPOP_SHAPES").unwrap_or_default();
    let mut trained = 0;
    for (name, config) in shapes::published() {
        if !chosen.is_empty() && !chosen.split(',').any(|own| own == name) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        train(
            &name,
            &shapes::write(folder.path(), &shapes::one_layer(&config)),
            BasePrecision::Bf16,
        );
        trained += 1;
    }
    assert!(trained > 0, "no configuration is named {chosen}");
}

fn parameters(config: &Value) -> usize {
    let shape = shapes::parse(config);
    expected_tensors(&shape).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Counts that their publishers or a leaderboard gave, in billions (Gemma 2: embedding and the rest, arXiv 2408.00118).
#[test]
fn the_shapes_have_the_parameters_that_were_published() {
    let published = shapes::published();
    let count = |name: &str| {
        let (_, config) = published.iter().find(|(own, _)| own == name).unwrap();
        parameters(config) as f64 / 1e9
    };
    // The last two digits that were given decide how near is near.
    for (name, billions, near) in [
        ("smaug-34b-v0.1", 34.389, 1e-3),
        ("smaug-72b-v0.1", 72.289, 1e-3),
        ("bielik-11b-v2.3", 11.169, 1e-3),
        ("gemma-2-2b", 0.590 + 2.024, 1e-3),
        ("gemma-2-9b", 0.918 + 8.324, 1e-3),
        ("phi-3-mini-4k", 3.8, 0.05),
        ("smaug-mixtral-v0.1", 46.7, 0.05),
        ("qwen3-30b-a3b", 30.5, 0.05),
    ] {
        let own = count(name);
        assert!((own - billions).abs() <= near, "{name}: {own:.4} billion, published {billions}");
    }
    // The report (arXiv 2603.11881) leaves one of the two tables out: 11.04 billion before pruning, 7.35 after.
    let table = 32_128.0 * 4096.0 / 1e9;
    assert!((count("bielik-11b-v2.3") - table - 11.04).abs() < 5e-3);
    assert!((count("bielik-minitron-7b-v3") - table - 7.35).abs() < 5e-3);
}

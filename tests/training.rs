//! Does the loop keep its promises: an exact start, lambda 0 is DPO, arms do not touch each other, and a stopped
//! run goes on to the same bits?

use burn::tensor::Device;
use dpop_studio::config::{Budget, ObjectiveKind, RunConfig, Schedule};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::train::event::Event;
use dpop_studio::train::state::TrainState;
use dpop_studio::train::{Outcome, Trainer};

mod common;

/// Pairs of many lengths: what they share, where they differ, how long they are.
fn pairs(count: u32) -> Vec<TokenizedPair> {
    let ids = |seed: u32, n: u32| (0..n).map(move |i| 3 + (seed * 37 + i * 11 + i * i) % 500);
    (0..count)
        .map(|row| {
            let side = |own: u32, n: u32| {
                ids(row + 5, row % 4).chain(ids(row + own, n)).chain([2]).collect()
            };
            TokenizedPair {
                row: row as usize,
                prompt_ids: [1].into_iter().chain(ids(row, 3 + row % 7)).collect(),
                chosen_ids: side(7, 4 + row % 5),
                rejected_ids: side(11, 3 + row % 3),
            }
        })
        .collect()
}

fn config() -> RunConfig {
    RunConfig {
        twin: Some(ObjectiveKind::Dpo),
        shuffle: true,
        learning_rate: 5e-3,
        batch_pairs: 3,
        micro_batch_pairs: 2,
        ..common::config(&common::fixture("models/llama_gqa_untied"))
    }
}

fn trainer(config: &RunConfig, probe: usize, state: Option<TrainState>) -> Trainer {
    let model = Model::load(&config.model, &Device::flex(), LoadOptions::default()).unwrap();
    let mut train = pairs(14 + probe as u32);
    let held_out = train.split_off(14);
    Trainer::new(model, config, train, held_out, state, None).unwrap()
}

#[test]
fn the_first_step_starts_exactly_at_the_reference() {
    // Of experts too: reference and policy must send every token the same way.
    for model in ["llama_gqa_untied", "mixtral_4e_top2", "qwen3_moe"] {
        let model = common::fixture(&format!("models/{model}"));
        starts_at_the_reference(&RunConfig { model, budget: Budget::Steps(5), ..config() });
    }
}

fn starts_at_the_reference(config: &RunConfig) {
    let mut trainer = trainer(config, 4, None);
    let mut collector = common::Collector { stop_at: vec![1], ..Default::default() };
    assert_eq!(trainer.run(&mut collector).unwrap(), Outcome::Stopped);
    let Event::Probe { step: 0, pairs, .. } = &collector.events[0] else {
        panic!("no probe first")
    };
    for arm in ["dpop", "dpo"] {
        assert_eq!(pairs[arm].len(), 4);
        for pair in &pairs[arm] {
            assert_eq!(pair.chosen.to_bits(), pair.ref_chosen.to_bits(), "probe row {}", pair.row);
            assert_eq!(pair.rejected.to_bits(), pair.ref_rejected.to_bits());
        }
    }
    let Event::Step { step: 1, arms, .. } = &collector.events[1] else { panic!("no step") };
    for arm in ["dpop", "dpo"] {
        assert_eq!(arms[arm]["rewards/chosen"], 0.0);
        assert_eq!(arms[arm]["dpop/active"], 0.0, "the penalty has no say at the kink");
        assert!((arms[arm]["loss"] - std::f64::consts::LN_2).abs() < 1e-15);
    }
    // Strict kink: the first update is the same for both losses.
    let state = trainer.state();
    assert_eq!(state.arms[0].adapter.values, state.arms[1].adapter.values);
}

#[test]
fn lambda_zero_is_dpo_to_the_bit() {
    let config = RunConfig { lambda: 0.0, ..config() };
    let mut trainer = trainer(&config, 0, None);
    trainer.run(&mut common::Collector::default()).unwrap();
    let arms = &trainer.state().arms;
    assert_eq!(arms[0].adapter.values, arms[1].adapter.values);
    assert!(arms[0].adapter.values.iter().any(|&v| v != 0.0));
}

#[test]
fn the_twin_does_not_touch_the_kept_arm() {
    let with = config();
    let without = RunConfig { twin: None, ..with.clone() };
    let run = |config: &RunConfig| {
        let mut trainer = trainer(config, 2, None);
        trainer.run(&mut common::Collector::default()).unwrap();
        trainer.state().arms.clone()
    };
    let (with, without) = (run(&with), run(&without));
    assert_eq!(with[0].adapter.values, without[0].adapter.values);
    assert_ne!(with[0].adapter.values, with[1].adapter.values);
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let config = RunConfig {
        budget: Budget::Steps(40),
        schedule: Schedule::Cosine,
        warmup_steps: 4,
        dropout: 0.1,
        eval_every: 6,
        max_grad_norm: Some(1.0),
        ..config()
    };
    let mut straight = trainer(&config, 3, None);
    straight.run(&mut common::Collector::default()).unwrap();
    let mut state = None;
    for stop in [7, 13, 34, 1000] {
        let mut part = trainer(&config, 3, state);
        let mut collector = common::Collector { stop_at: vec![stop], ..Default::default() };
        part.run(&mut collector).unwrap();
        state = collector.states.pop();
    }
    let state = state.unwrap();
    assert_eq!(state.step, 40);
    for (a, b) in state.arms.iter().zip(&straight.state().arms) {
        assert_eq!(a.adapter.values, b.adapter.values, "arm {}", a.name);
        assert_eq!(a.second_moment, b.second_moment);
    }
    assert_eq!(state.references, straight.state().references);
}

#[test]
fn accumulation_sums_to_the_whole_batch() {
    let run = |micro: usize| {
        let config = RunConfig {
            micro_batch_pairs: micro,
            batch_pairs: 7,
            budget: Budget::Steps(1),
            ..config()
        };
        let mut trainer = trainer(&config, 0, None);
        let Event::Step { arms, .. } = trainer.step().unwrap() else { panic!("no step") };
        arms["dpo"]["grad_norm"]
    };
    let (whole, parts) = (run(7), run(2));
    assert!((whole - parts).abs() < 1e-4 * whole, "{whole} against {parts}");
}

#[test]
fn nothing_to_train_on_is_said() {
    let config = config();
    let model = Model::load(&config.model, &Device::flex(), LoadOptions::default()).unwrap();
    let error = Trainer::new(model, &config, Vec::new(), pairs(2), None, None).err().unwrap();
    assert!(error.to_string().contains("no pairs to train on"), "{error}");
}

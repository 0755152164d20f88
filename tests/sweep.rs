//! Is a sweep several runs in one: an arm for each value, each what it would be alone, each to be had afterwards?

mod common;
mod program;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use dpop_studio::config::{ArmConfig, ObjectiveKind, RunConfig, RunDraft, Sweep, arm_title};
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::run::checkpoint;
use dpop_studio::train::event::{ArmMetrics, Event};
use dpop_studio::train::state::TrainState;
use dpop_studio::train::{Outcome, Trainer};
use program::{demo_model, demo_pairs, program, refused, run, train};

fn draft(sweep: &str) -> RunDraft {
    RunDraft {
        model: Some("m".into()),
        data: Some("d.jsonl".into()),
        sweep: Some(sweep.into()),
        ..RunDraft::default()
    }
}

fn names(config: &RunConfig) -> Vec<String> {
    config.arms().into_iter().map(|arm| arm.name).collect()
}

#[test]
fn the_arm_of_lambda_is_kept_and_the_twin_comes_last() {
    let config = draft("lambda=1,5,50").validate().unwrap();
    assert_eq!(names(&config), ["dpop-lambda-50", "dpop-lambda-1", "dpop-lambda-5", "dpo"]);
    for ArmConfig { name, config } in config.arms() {
        assert_eq!((config.sweep, config.twin), (None, None), "{name} alone");
        let lambda = if name == "dpo" { 50.0 } else { name[12..].parse().unwrap() };
        assert_eq!(config.lambda, lambda);
    }
    let chosen = RunDraft { lambda: Some(5.0), ..draft("lambda=1,5,50") }.validate().unwrap();
    assert_eq!(names(&chosen)[0], "dpop-lambda-5");
    let beta = draft("beta = 0.05, 0.1").validate().unwrap();
    assert_eq!(names(&beta), ["dpop-beta-0.1", "dpop-beta-0.05", "dpo"]);
    assert_eq!(draft("none").validate().unwrap().sweep, None);
    let again: RunConfig = serde_json::from_str(&serde_json::to_string(&chosen).unwrap()).unwrap();
    assert_eq!(again, chosen, "run.json keeps a sweep");
}

#[test]
fn arms_are_named_for_people() {
    let titles = ["dpop", "dpo", "hinge", "dpop-lambda-0.5", "ipo-beta-0.1", "made-up", "dpop-x-1"];
    let wanted = ["DPOP", "DPO", "SLiC hinge", "DPOP λ 0.5", "IPO β 0.1", "made-up", "dpop-x-1"];
    assert_eq!(titles.map(arm_title), wanted);
}

#[test]
fn what_is_no_sweep_is_said_with_the_remedy() {
    let said = |draft: RunDraft| {
        let complaints = draft.validate().unwrap_err();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert_eq!(complaints[0].field, "sweep");
        complaints[0].message.clone()
    };
    let none_kept = said(draft("lambda=1,5"));
    assert!(none_kept.contains("--lambda is 50, which is none of 1, 5"), "{none_kept}");
    assert!(none_kept.contains("--lambda or --beta"), "the remedy: {none_kept}");
    for (sweep, part) in [
        ("lambda", "is no sweep; write lambda=1,5,50"),
        ("rank=1,2", "is no sweep"),
        ("lambda=1,x", "is no sweep"),
        ("lambda=50,50", "50 stands there twice"),
        ("lambda=50", "it has 1 values"),
        ("lambda=1,2,3,4,5,6,7,8,50", "it has 9 values"),
        ("lambda=-1,50", "-1 is no lambda; it must be at least 0"),
        ("beta=0,0.1", "0 is no beta; it must be above 0"),
    ] {
        let message = said(draft(sweep));
        assert!(message.contains(part), "{sweep}: {message}");
    }
    let dpo = RunDraft { objective: Some(ObjectiveKind::Dpo), ..draft("lambda=1,50") };
    assert!(said(dpo).contains("DPO has no lambda"));
}

/// The demo with a few updates, large enough to part the arms.
fn config(sweep: &str) -> RunConfig {
    let sweep: Sweep = sweep.parse().unwrap();
    RunConfig {
        sweep: Some(sweep),
        twin: Some(ObjectiveKind::Dpo),
        beta: 0.1,
        lambda: 5.0,
        learning_rate: 5e-3,
        batch_pairs: 2,
        micro_batch_pairs: 1,
        ..common::config(&common::fixture("models/llama_gqa_untied"))
    }
}

fn trainer(config: &RunConfig, state: Option<TrainState>) -> Trainer {
    let model = Model::load(&config.model, &Device::flex(), LoadOptions::default()).unwrap();
    let pairs = common::trajectory_pairs();
    Trainer::new(model, config, pairs.clone(), pairs, state, None).unwrap()
}

/// Metrics of the last update, by arm.
fn last_step(events: &[Event]) -> ArmMetrics {
    let step = |event: &Event| match event {
        Event::Step { arms, .. } => Some(arms.clone()),
        _ => None,
    };
    events.iter().rev().find_map(step).unwrap()
}

#[test]
fn every_arm_is_to_the_bit_the_run_that_trains_it_alone() {
    for sweep in ["lambda=0,5,50", "beta=0.02,0.1,1"] {
        let config = config(sweep);
        let mut together = trainer(&config, None);
        let mut told = common::Collector::default();
        together.run(&mut told).unwrap();
        let metrics = last_step(&told.events);
        let arms = config.arms();
        assert_eq!(arms.len(), 4);
        for (number, ArmConfig { name, config }) in arms.iter().enumerate() {
            let mut alone = trainer(config, None);
            let mut told = common::Collector::default();
            alone.run(&mut told).unwrap();
            let state = &together.state().arms[number];
            assert_eq!(&state.name, name);
            assert_eq!(state.adapter.values, alone.state().arms[0].adapter.values, "{name}");
            let own = last_step(&told.events);
            assert_eq!(metrics[name], own.into_values().next().unwrap(), "{name}: rewards and all");
        }
        let values = |arm: usize| &together.state().arms[arm].adapter.values;
        assert_ne!(values(0), values(1), "{sweep}: the values make a difference");
    }
}

#[test]
fn lambda_zero_in_a_sweep_is_the_twin() {
    let mut trainer = trainer(&config("lambda=0,5"), None);
    trainer.run(&mut common::Collector::default()).unwrap();
    let arms = &trainer.state().arms;
    assert_eq!((arms[1].name.as_str(), arms[2].name.as_str()), ("dpop-lambda-0", "dpo"));
    assert_eq!(arms[1].adapter.values, arms[2].adapter.values);
}

#[test]
fn a_checkpoint_of_other_arms_is_refused() {
    let mut stopped = trainer(&config("lambda=0,5"), None);
    let mut told = common::Collector { stop_at: vec![2], ..Default::default() };
    assert_eq!(stopped.run(&mut told).unwrap(), Outcome::Stopped);
    let other = config("lambda=1,5");
    let model = Model::load(&other.model, &Device::flex(), LoadOptions::default()).unwrap();
    let pairs = common::trajectory_pairs();
    let refused = Trainer::new(model, &other, pairs.clone(), pairs, told.states.pop(), None);
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("dpop-lambda-0") && message.contains("dpop-lambda-1"), "{message}");
}

const SWEEP: [&str; 8] =
    ["--sweep", "lambda=0,5", "--lambda", "5", "--twin", "none", "--learning-rate", "2e-3"];

fn swept(path: &Path) {
    let options =
        [&SWEEP[..], &["--steps", "4", "--save-every", "2", "--eval-every", "2"]].concat();
    let ran = run(train(path, &options));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

fn tensors(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn the_adapter_of_every_arm_can_be_had() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    swept(&path);
    assert_eq!(tensors(&path.join("adapter")), tensors(&path.join("checkpoint-4/dpop-lambda-5")));
    let export = |arm: &str, output: &Path| {
        let mut command = program(["export", "--arm", arm, "--run"]);
        command.arg(&path).arg("--output").arg(output);
        command
    };
    let target = root.path().join("other");
    let ran = run(export("dpop-lambda-0", &target));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("dpop-lambda-0 after 4 updates"), "{}", ran.stdout);
    assert_eq!(tensors(&target), tensors(&path.join("checkpoint-4/dpop-lambda-0")));
    assert_ne!(tensors(&target), tensors(&path.join("adapter")));
    assert!(target.join("adapter_config.json").is_file());
    let card = fs::read_to_string(target.join("README.md")).unwrap();
    assert!(card.contains("| lambda | 0 |"), "{card}");
    assert!(card.contains("| DPOP (beta 0.1, lambda 0) (this adapter) |"), "{card}");
    assert!(card.contains("not part of this folder: DPOP (beta 0.1, lambda 5)."), "{card}");
    let kept = fs::read_to_string(path.join("adapter/README.md")).unwrap();
    assert!(kept.contains("| DPOP (beta 0.1, lambda 5) (this adapter) |"), "{kept}");

    let message = refused(export("dpop-lambda-0", &target));
    assert!(message.contains("already there"), "{message}");
    let message = refused(export("dpo", &root.path().join("none")));
    assert!(message.contains("Its arms are dpop-lambda-0, dpop-lambda-5."), "{message}");
    assert!(!root.path().join("none").exists());

    // The adapters need no log: it only adds to the card.
    fs::remove_file(path.join("events.jsonl")).unwrap();
    let again = root.path().join("again");
    let ran = run(export("dpop-lambda-0", &again));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(tensors(&again), tensors(&target));
    // And where nothing was saved, that is said.
    for step in ["checkpoint-2", "checkpoint-4"] {
        fs::remove_dir_all(path.join(step)).unwrap();
    }
    let message = refused(export("dpop-lambda-0", &root.path().join("none")));
    assert!(message.contains("no checkpoint yet"), "{message}");
}

#[test]
fn a_sweep_goes_on_to_the_same_bits() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    swept(&path);
    let arms = ["dpop-lambda-5", "dpop-lambda-0"];
    let at_the_end = || arms.map(|arm| tensors(&path.join("checkpoint-4").join(arm)));
    let straight = at_the_end();
    fs::remove_dir_all(path.join("checkpoint-4")).unwrap();
    fs::remove_dir_all(path.join("adapter")).unwrap();
    let mut command = program(["train", "--resume"]);
    let ran = run({
        command.arg(&path);
        command
    });
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(checkpoint::steps(&path).unwrap(), [2, 4]);
    assert_eq!(at_the_end(), straight);
}

#[test]
fn the_memory_plan_counts_the_arms() {
    let adapters = |options: &[&str]| {
        let mut command = program(["plan", "--device", "cpu", "--probe-pairs", "4", "--json"]);
        command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs()).args(options);
        let ran = run(command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let plan: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let part = |name: &str| plan["forecast"][name].as_u64().unwrap();
        (part("optimizer"), plan["total"].as_u64().unwrap())
    };
    let one = adapters(&["--twin", "none"]);
    let four = adapters(&["--sweep", "lambda=0,5,50"]);
    assert_eq!(four.0, 4 * one.0, "moments of three values and the twin");
    assert!(four.1 > one.1);
}

//! Does a run end when a rule says so, with everything saved, and the same after a resume?

mod common;
mod program;

use dpop_studio::config::{Budget, ObjectiveKind, RunConfig, StopRule, StopRules};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::model::{LoadOptions, Model};
use dpop_studio::run::checkpoint;
use dpop_studio::train::event::Event;
use dpop_studio::train::state::TrainState;
use dpop_studio::train::{Outcome, Trainer};
use program::{run, train};

fn pairs() -> (Vec<TokenizedPair>, Vec<TokenizedPair>) {
    let all = common::trajectory_pairs();
    (all[..3].to_vec(), all[3..].to_vec())
}

fn config(rules: &[StopRule]) -> RunConfig {
    RunConfig {
        objective: ObjectiveKind::Dpo,
        learning_rate: 5e-3,
        budget: Budget::Steps(40),
        eval_every: 2,
        stop_when: StopRules(rules.to_vec()),
        ..common::config(&common::fixture("models/llama_gqa_untied"))
    }
}

fn trainer(config: &RunConfig, state: Option<TrainState>) -> Trainer {
    let model =
        Model::load(&config.model, &burn::tensor::Device::flex(), LoadOptions::default()).unwrap();
    let (train, probe) = pairs();
    Trainer::new(model, config, train, probe, state, None).unwrap()
}

fn margins(events: &[Event]) -> Vec<f64> {
    let margin = |event: &Event| match event {
        Event::Probe { arms, .. } => Some(arms["dpo"]["rewards/margins"]),
        _ => None,
    };
    events.iter().filter_map(margin).collect()
}

#[test]
fn depth_below_the_reference_ends_a_run_at_the_first_probe_that_shows_it() {
    let config = config(&[StopRule::ChosenBelowReference(0.02)]);
    let mut all = common::Collector::default();
    let free = RunConfig { stop_when: StopRules::default(), ..config.clone() };
    trainer(&free, None).run(&mut all).unwrap();
    let depth = |event: &Event| match event {
        Event::Probe { step, arms, .. } => {
            let value = |name: &str| arms["dpo"][name];
            let depth = value("reference_per_token/chosen") - value("logps_per_token/chosen");
            (depth > 0.02).then_some(*step)
        }
        _ => None,
    };
    let expected =
        all.events.iter().find_map(depth).expect("the learning rate is high enough to fall");
    let mut collector = common::Collector::default();
    let outcome = trainer(&config, None).run(&mut collector).unwrap();
    let Outcome::Ended { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains(&format!("step {expected} ")) && reason.contains("0.02"), "{reason}");
    assert_eq!(collector.states.last().unwrap().step, expected, "saved first");
    assert_eq!(collector.states.len(), 1);
}

#[test]
fn a_plateau_ends_a_run_at_the_same_step_when_it_was_resumed_on_the_way() {
    // A margin that cannot rise by much: the learning rate is next to nothing after the first updates.
    let config = RunConfig {
        schedule: dpop_studio::config::Schedule::Linear,
        ..config(&[StopRule::MarginPlateau(3)])
    };
    let mut straight = common::Collector::default();
    let outcome = trainer(&config, None).run(&mut straight).unwrap();
    let Outcome::Ended { reason } = &outcome else {
        panic!("{outcome:?}: {:?}", margins(&straight.events))
    };
    assert!(reason.contains("3 probes"), "{reason}");
    let end = straight.states.last().unwrap();
    assert_eq!(end.probe_margins, margins(&straight.events));

    let mut first = common::Collector { stop_at: vec![end.step - 3], ..Default::default() };
    assert_eq!(trainer(&config, None).run(&mut first).unwrap(), Outcome::Stopped);
    let mut second = common::Collector::default();
    let resumed = trainer(&config, first.states.pop()).run(&mut second).unwrap();
    assert_eq!(resumed, outcome);
    let other = second.states.last().unwrap();
    assert_eq!((other.step, &other.arms), (end.step, &end.arms));
}

#[test]
fn a_gradient_that_is_no_number_ends_a_run_with_the_last_good_state() {
    // One update as large as numbers go; the next gradient is none.
    let wild = |rules: &[StopRule]| RunConfig {
        learning_rate: 1e36,
        twin: Some(ObjectiveKind::Dpop),
        eval_every: 1000,
        ..config(rules)
    };
    let mut lost = common::Collector::default();
    let error = trainer(&wild(&[]), None).run(&mut lost).unwrap_err().to_string();
    assert!(error.contains("not a number"), "{error}");
    assert!(lost.states.is_empty());

    let mut kept = common::Collector::default();
    let outcome = trainer(&wild(&[StopRule::Nan]), None).run(&mut kept).unwrap();
    let Outcome::Ended { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("not a number"), "{reason}");
    let state = kept.states.last().unwrap();
    assert!(state.step >= 1);
    for arm in &state.arms {
        assert!(arm.adapter.values.iter().all(|value| value.is_finite()), "{}", arm.name);
    }
}

#[test]
fn the_command_line_ends_early_with_an_adapter() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let ran = run(train(
        &path,
        &[
            "--steps",
            "500",
            "--eval-every",
            "2",
            "--objective",
            "dpo",
            "--learning-rate",
            "1e-2",
            "--stop-when",
            "chosen-below-reference=0.05",
            "--json",
        ],
    ));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let events = ran.events();
    let Some(Event::Finished { step, adapter, message }) = events.last() else {
        panic!("{events:?}")
    };
    assert!(
        *step < 500 && message.contains("Ended early") && message.contains("0.05"),
        "{message}"
    );
    assert!(adapter.join("adapter_model.safetensors").is_file());
    assert_eq!(checkpoint::steps(&path).unwrap().last(), Some(step));
}

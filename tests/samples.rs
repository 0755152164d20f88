//! Do answers during training say what the adapters say, and leave the training as it was?

mod common;
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use dpop_studio::config::{Budget, ObjectiveKind, RunConfig};
use dpop_studio::data::tokenizer::Tokenizer;
use dpop_studio::data::{Text, TokenizedPair};
use dpop_studio::lora::peft;
use dpop_studio::model::generate::{Finish, GenerateOptions};
use dpop_studio::model::sampling::Sampling;
use dpop_studio::model::{LoadOptions, Model, Updates};
use dpop_studio::run::events;
use dpop_studio::train::event::{Event, SampleText};
use dpop_studio::train::state::TrainState;
use dpop_studio::train::{Samples, Trainer};
use program::{demo_model, repository, run, train};

/// Updates made, row, and the answers by arm.
type Answered = (usize, usize, BTreeMap<String, SampleText>);

fn answers(events: &[Event]) -> Vec<Answered> {
    let of = |event: &Event| match event {
        Event::Sample { step, row, arms, .. } => Some((*step, *row, arms.clone())),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn pairs(count: u32) -> Vec<TokenizedPair> {
    let ids = |seed: u32, n: u32| (0..n).map(|i| 3 + (seed * 37 + i * 11) % 500).collect();
    let pair = |row| TokenizedPair {
        row: row as usize,
        prompt_ids: ids(row, 4 + row % 5),
        chosen_ids: ids(row + 7, 5),
        rejected_ids: ids(row + 11, 6),
    };
    (0..count).map(pair).collect()
}

/// The state after ten steps, with dropout, with and without answers, stopped on the way or not.
fn trained(samples: Option<Samples>, stop_at: Option<usize>) -> TrainState {
    let config = RunConfig {
        twin: Some(ObjectiveKind::Dpo),
        budget: Budget::Steps(10),
        dropout: 0.1,
        save_every: 2,
        eval_every: 5,
        batch_pairs: 2,
        micro_batch_pairs: 2,
        ..common::config(&common::fixture("models/llama_gqa_untied"))
    };
    let trainer = |state| {
        let model = Model::load(&config.model, &Device::flex(), LoadOptions::default()).unwrap();
        let mut train = pairs(12);
        let probe = train.split_off(8);
        let trainer = Trainer::new(model, &config, train, probe, state, None).unwrap();
        trainer.with_samples(samples.clone())
    };
    let mut first = trainer(None);
    let mut collector =
        common::Collector { stop_at: stop_at.into_iter().collect(), ..Default::default() };
    first.run(&mut collector).unwrap();
    let state = collector.states.pop().unwrap();
    if stop_at.is_none() {
        return state;
    }
    let mut second = trainer(Some(state));
    second.run(&mut common::Collector::default()).unwrap();
    second.state().clone()
}

#[test]
fn the_training_does_not_notice() {
    let samples = Samples { prompts: 3, tokens: 12, end_ids: vec![2] };
    let without = trained(None, None);
    for (state, how) in [
        (trained(Some(samples.clone()), None), "with answers"),
        (trained(Some(samples), Some(7)), "with answers, stopped and resumed"),
    ] {
        assert_eq!(state.step, 10);
        for (own, other) in state.arms.iter().zip(&without.arms) {
            assert_eq!(own, other, "{how}: {}", own.name);
        }
        assert_eq!(state.references, without.references, "{how}");
        assert_eq!(state.probe_references, without.probe_references, "{how}");
    }
}

/// What a model with `updates` says to the held-out prompt of `row`.
fn said(model: &Model, tokenizer: &Tokenizer, updates: Option<&Updates>, row: usize) -> SampleText {
    let held_out = dpop_studio::data::load(&repository("assets/demo/pairs_eval.jsonl")).unwrap();
    let pair = held_out.pairs.iter().find(|pair| pair.row == row).unwrap();
    let Text::Plain(_) = &pair.prompt else { panic!("demo rows are text") };
    let prompt = tokenizer.encode_prompt(&pair.prompt).unwrap();
    let options = GenerateOptions {
        max_new_tokens: 40,
        sampling: Sampling::GREEDY,
        end_ids: vec![tokenizer.eos_id()],
    };
    let go_on = |_, _| ControlFlow::Continue(());
    let text = model.generate(&[prompt], updates, &options, go_on).unwrap().remove(0);
    SampleText {
        text: tokenizer.decode_answer(&text.ids).unwrap(),
        ended: text.finish == Finish::End,
    }
}

#[test]
fn a_run_tells_what_its_adapters_say() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let options = [
        "--steps",
        "6",
        "--save-every",
        "4",
        "--sample-prompts",
        "2",
        "--sample-tokens",
        "40",
        "--learning-rate",
        "2e-3",
    ];
    let mut command = train(&path, &options);
    command.arg("--eval-data").arg(repository("assets/demo/pairs_eval.jsonl"));
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("step 4: answers to the prompt of row"), "{}", ran.stdout);
    let events = events::read(&path).unwrap();
    let answers = answers(&events);
    let steps: Vec<usize> = answers.iter().map(|(step, _, _)| *step).collect();
    assert_eq!(steps, [0, 0, 4, 4, 6, 6]);

    let model = Model::load(&demo_model(), &Device::flex(), LoadOptions::default()).unwrap();
    let tokenizer = Tokenizer::open(&demo_model()).unwrap();
    let adapter = |folder: &Path| {
        let adapter = peft::load(folder, &model.config).unwrap();
        adapter.upload(model.config.num_layers, model.device(), None)
    };
    for (step, row, arms) in &answers {
        let names: Vec<&str> = arms.keys().map(String::as_str).collect();
        if *step == 0 {
            assert_eq!(names, ["dpo", "dpop", "reference"]);
            let base = said(&model, &tokenizer, None, *row);
            assert!(!base.text.is_empty());
            // A fresh adapter changes nothing.
            assert!(arms.values().all(|text| *text == base), "row {row}: {arms:?}");
            continue;
        }
        assert_eq!(names, ["dpo", "dpop"], "the base model answers once");
        for (name, text) in arms {
            let updates = adapter(&path.join(format!("checkpoint-{step}")).join(name));
            assert_eq!(*text, said(&model, &tokenizer, Some(&updates), *row), "{name} at {step}");
        }
    }
    // The answer stands in the log before the checkpoint of its step: a resumed run keeps it.
    let kinds: Vec<&Event> = events
        .iter()
        .filter(|event| matches!(event, Event::Sample { .. } | Event::Checkpoint { .. }))
        .collect();
    assert!(matches!(
        kinds[2..5],
        [Event::Sample { .. }, Event::Sample { .. }, Event::Checkpoint { step: 4, .. }]
    ));
}

#[test]
fn no_prompts_no_answers() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let ran = run(train(&path, &["--steps", "1", "--sample-prompts", "0"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(answers(&events::read(&path).unwrap()), []);
}

#[test]
fn streamed_weights_leave_the_answers_out_and_say_so() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let ran = run(train(&path, &["--steps", "1", "--weights", "stream"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let events = events::read(&path).unwrap();
    assert_eq!(answers(&events), []);
    let warned = events.iter().any(|event| {
        matches!(event, Event::Warning { message } if message.contains("dpop-studio generate --run"))
    });
    assert!(warned, "{events:?}");
}

/// Rows of token ids, and a model folder without a tokenizer: the ids are the text.
#[test]
fn ids_answer_in_ids() {
    let root = tempfile::tempdir().unwrap();
    let (path, data) = (root.path().join("run"), root.path().join("ids.jsonl"));
    let rows: Vec<String> = pairs(8)
        .iter()
        .map(|pair| {
            serde_json::json!({
                "prompt_input_ids": pair.prompt_ids, "chosen_input_ids": pair.chosen_ids,
                "rejected_input_ids": pair.rejected_ids,
            })
            .to_string()
        })
        .collect();
    fs::write(&data, rows.join("\n")).unwrap();
    let mut command = program::program(["train", "--device", "cpu", "--steps", "1"]);
    command.arg("--model").arg(common::fixture("models/llama_gqa_untied"));
    command.arg("--data").arg(&data).arg("--run").arg(&path).args(["--sample-tokens", "5"]);
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let answers = answers(&events::read(&path).unwrap());
    let text = &answers[0].2["reference"];
    assert_eq!(text.text.split(' ').filter_map(|id| id.parse::<u32>().ok()).count(), 5, "{text:?}");
    assert!(!text.ended);
}

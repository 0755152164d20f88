//! A real run on the demo (tests/fixtures/recorded_run), as events and as a folder.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::fs;
use std::path::Path;

use dpop_studio::config::RunDraft;
use dpop_studio::data::analysis::PairDistance;
use dpop_studio::model::PairScore;
use dpop_studio::run::folder::{DeviceRecord, Inputs, RunFolder, RunRecord};
use dpop_studio::run::probe_records::{ProbeRecorder, RecordedPair, Tokens};
use dpop_studio::train::ProbeScores;
use dpop_studio::train::event::Event;

pub const TEXT: &str = include_str!("../fixtures/recorded_run/events.jsonl");

pub fn events() -> Vec<Event> {
    TEXT.lines().map(|line| serde_json::from_str(line).expect("a recorded event")).collect()
}

/// A made-up run like the recorded one: every change from the reference is a third of it.
pub fn shrunk() -> String {
    let mut text = String::new();
    for event in events() {
        let event = match event {
            Event::Probe { step, mut arms, pairs } => {
                for metrics in arms.values_mut() {
                    for answer in ["chosen", "rejected"] {
                        for part in ["", "_per_token"] {
                            let reference = metrics[&format!("reference{part}/{answer}")];
                            let own = metrics.get_mut(&format!("logps{part}/{answer}"));
                            let own = own.expect("a probe has it");
                            *own = reference + (*own - reference) / 3.0;
                        }
                    }
                }
                Event::Probe { step, arms, pairs }
            }
            other => other,
        };
        text.push_str(&serde_json::to_string(&event).expect("an event is JSON"));
        text.push('\n');
    }
    text
}

pub fn record(change: impl FnOnce(&mut RunDraft)) -> RunRecord {
    let mut draft = RunDraft {
        model: Some("/models/tiny-math-llama".into()),
        data: Some("/data/pairs_train.jsonl".into()),
        steps: Some(200),
        ..RunDraft::default()
    };
    change(&mut draft);
    let config = draft.validate().expect("a valid configuration");
    let hash = || "0".repeat(64);
    let (model_format, eval_data) = (Some("F32".into()), None);
    let inputs = Inputs { model: hash(), model_format, tokenizer: hash(), data: hash(), eval_data };
    let text = |text: &str| text.to_owned();
    let device = DeviceRecord {
        name: text("CPU"),
        kind: text("native"),
        api: text("Flex"),
        driver: text(""),
    };
    RunRecord::new(config, inputs, device)
}

/// Writes the run into `folder`.
pub fn write(folder: &Path) {
    write_with(folder, |_| {}, TEXT);
}

/// A run with other settings and events.
pub fn write_with(folder: &Path, change: impl FnOnce(&mut RunDraft), events: &str) {
    drop(RunFolder::create(folder, record(change)).expect("a new run folder"));
    fs::write(folder.join("events.jsonl"), events).expect("a writable folder");
}

/// The run in a temporary folder of its own.
pub fn run_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path());
    folder
}

/// Adds records of single tokens to a run folder: made up, but with words and the shape of the real thing (DPO lowers
/// the tokens behind the first difference, DPOP holds them).
pub fn write_probe(folder: &Path) {
    let words =
        |text: &str| -> Vec<String> { text.split_inclusive(' ').map(str::to_owned).collect() };
    let tokens = |texts: Vec<String>| Tokens {
        ids: texts.iter().map(|text| text.bytes().map(u32::from).sum()).collect(),
        texts,
    };
    let answer = |row: usize, slip: usize| {
        let (a, b) = (3 + row % 5, 4 + row % 7);
        let (sum, doubled) = (a + b + slip, 2 * (a + b + slip));
        words(&format!(
            "Tom has {a} apples and buys {b} more. {a} + {b} = {sum} so he has {sum} apples. \
             Twice as many are {doubled} apples. The answer is {doubled}. "
        ))
    };
    let pairs: Vec<RecordedPair> = (0..32)
        .map(|row| {
            let (chosen, rejected) = (answer(row, 0), answer(row, 1 + row % 3));
            let differs = chosen.iter().zip(&rejected).filter(|(a, b)| a != b).count();
            let first_difference = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
            let normalised = differs as f64 / chosen.len() as f64;
            RecordedPair {
                row,
                prompt: tokens(words("How many apples does Tom have when he gets twice as many? ")),
                chosen: tokens(chosen),
                rejected: tokens(rejected),
                distance: PairDistance { edits: differs, normalised, first_difference },
            }
        })
        .collect();
    let recorder = ProbeRecorder::create(folder, pairs.clone()).expect("a writable folder");
    for step in (0..=200).step_by(50) {
        let depth = step as f32 / 200.0;
        let score = |fall: f32, pair: &RecordedPair| {
            let varied = 0.3 + ((pair.row * 37) % 13) as f32 / 10.0;
            let fall = fall * varied - if fall < 0.1 { 0.04 } else { 0.0 };
            let first = pair.distance.first_difference;
            let token = |index: usize, own: f32| {
                let noise = 0.02 * ((index * 7 + pair.row * 3) % 11) as f32;
                let behind = if index > first {
                    fall * depth / (1.0 + 0.2 * (index - first) as f32)
                } else {
                    0.0
                };
                -noise - own - behind
            };
            let side = |tokens: &Tokens, own: f32| -> Vec<f32> {
                (0..tokens.ids.len())
                    .map(|i| token(i, if i >= first { own } else { 0.0 }))
                    .collect()
            };
            PairScore {
                chosen: side(&pair.chosen, 0.0),
                rejected: side(&pair.rejected, 0.8 + fall * depth),
            }
        };
        let all =
            |fall: f32| -> Vec<PairScore> { pairs.iter().map(|pair| score(fall, pair)).collect() };
        let reference = all(0.0);
        let scores = ProbeScores {
            step,
            reference: (step == 0).then_some(&reference[..]),
            arms: vec![("dpop", all(if step == 0 { 0.0 } else { 0.06 })), ("dpo", all(1.4))],
        };
        recorder.write(&scores).expect("a writable folder");
    }
}

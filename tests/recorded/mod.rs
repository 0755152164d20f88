//! A real run on the demo (tests/fixtures/recorded_run), as events and as a folder.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::fs;
use std::path::Path;

use dpop_studio::config::RunDraft;
use dpop_studio::run::folder::{DeviceRecord, Inputs, RunFolder, RunRecord};
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

/// Adds that run's records of single tokens to its folder: every fifth probe of them.
pub fn write_probe(folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recorded_run/probe");
    let target = folder.join("probe");
    fs::create_dir_all(&target).expect("a writable folder");
    for file in fs::read_dir(source).expect("the fixture").flatten() {
        fs::copy(file.path(), target.join(file.file_name())).expect("a writable folder");
    }
}

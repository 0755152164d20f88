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

pub fn record() -> RunRecord {
    let draft = RunDraft {
        model: Some("/models/tiny-math-llama".into()),
        data: Some("/data/pairs_train.jsonl".into()),
        steps: Some(200),
        ..RunDraft::default()
    };
    let config = draft.validate().expect("a valid configuration");
    let hash = || "0".repeat(64);
    let inputs = Inputs { model: hash(), tokenizer: hash(), data: hash(), eval_data: None };
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
    drop(RunFolder::create(folder, record()).expect("a new run folder"));
    fs::write(folder.join("events.jsonl"), TEXT).expect("a writable folder");
}

/// The run in a temporary folder of its own.
pub fn run_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path());
    folder
}

//! What the test files share.
#![allow(dead_code)] // each test file uses its own part

use burn::tensor::Device;
use dpop_studio::config::{
    BasePrecision, Budget, ComputePrecision, EvalSource, ObjectiveKind, Recompute, RunConfig,
    Schedule, Target, WeightPlace,
};
use dpop_studio::data::pair::TokenizedPair;
use dpop_studio::train::event::Event;
use dpop_studio::train::state::TrainState;
use dpop_studio::train::{Control, Observer};

/// The adapter that GPU tests run on: `DPOP_TEST_DEVICE` (a device name as on the command line), else a software
/// Vulkan adapter, else any. Says so when there is none.
pub fn gpu() -> Option<Device> {
    adapter().map(|(device, _)| device)
}

/// [`gpu`], where it computes in f16.
pub fn gpu_with_f16() -> Option<Device> {
    let (device, has_f16) = adapter()?;
    if !has_f16 {
        eprintln!("SKIPPED the GPU part: this adapter has no f16");
    }
    has_f16.then_some(device)
}

fn adapter() -> Option<(Device, bool)> {
    let spec = std::env::var("DPOP_TEST_DEVICE").unwrap_or_else(|_| "wgpu:llvmpipe".to_owned());
    let opened = dpop_studio::worker::device::choose(&spec)
        .and_then(|choice| Ok((choice.open()?, choice.adapter.is_some_and(|adapter| adapter.f16))));
    match opened {
        Ok(opened) => Some(opened),
        Err(e) => {
            eprintln!("SKIPPED the GPU part: {e}");
            None
        }
    }
}

/// A file or folder of the fixtures that ship with the repository.
pub fn fixture(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// A small valid configuration; tests change what they ask about.
pub fn config(model: &std::path::Path) -> RunConfig {
    RunConfig {
        model: model.to_owned(),
        data: "pairs.jsonl".into(),
        objective: ObjectiveKind::Dpop,
        twin: None,
        sweep: None,
        beta: 0.3,
        lambda: 50.0,
        label_smoothing: 0.0,
        learning_rate: 1e-3,
        schedule: Schedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.0,
        max_grad_norm: None,
        budget: Budget::Steps(20),
        batch_pairs: 4,
        micro_batch_pairs: 4,
        max_length: 256,
        rank: 4,
        alpha: 8.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
        init_adapter: None,
        eval: EvalSource::Fraction(0.0),
        probe_pairs: 0,
        eval_every: 1000,
        forecast_pairs: 0,
        stop_when: Default::default(),
        save_every: 1000,
        sample_prompts: 0,
        sample_tokens: 64,
        device: "cpu".to_owned(),
        base_precision: BasePrecision::F32,
        compute_precision: ComputePrecision::F32,
        weights: WeightPlace::Resident,
        recompute: Recompute::Off,
        memory_limit: None,
        seed: 0,
        shuffle: false,
    }
}

/// The four pairs of the trajectory fixtures, as token ids.
pub fn trajectory_pairs() -> Vec<TokenizedPair> {
    let text = std::fs::read_to_string(fixture("traj/pairs.json")).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let ids = |row: &serde_json::Value, name: &str| -> Vec<u32> {
        serde_json::from_value(row[name].clone()).unwrap()
    };
    let pairs = rows.iter().enumerate().map(|(row, value)| TokenizedPair {
        row,
        prompt_ids: ids(value, "prompt_ids"),
        chosen_ids: ids(value, "chosen_ids"),
        rejected_ids: ids(value, "rejected_ids"),
    });
    pairs.collect()
}

/// Collects events; checkpoints go nowhere.
#[derive(Default)]
pub struct Collector {
    pub events: Vec<Event>,
    pub states: Vec<TrainState>,
    /// Steps before which the run is told to stop.
    pub stop_at: Vec<usize>,
}

impl Observer for Collector {
    fn event(&mut self, event: Event) -> anyhow::Result<()> {
        self.events.push(event);
        Ok(())
    }

    fn checkpoint(&mut self, state: &TrainState) -> anyhow::Result<std::path::PathBuf> {
        self.states.push(state.clone());
        Ok("nowhere".into())
    }

    fn control(&mut self, step: usize) -> anyhow::Result<Control> {
        Ok(if self.stop_at.contains(&step) { Control::Stop } else { Control::Continue })
    }
}

//! Is a run folder the truth: created once, logged whole, resumed without forks?

use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::config::{
    BasePrecision, Budget, ComputePrecision, EvalSource, ObjectiveKind, Recompute, RunConfig,
    Schedule, StopRule, StopRules, Target, WeightPlace,
};
use dpop_studio::run::events::{self, EventLog};
use dpop_studio::run::folder::{
    self, DeviceRecord, FolderError, Inputs, RunFolder, RunRecord, RunStatus,
};
use dpop_studio::train::event::{ArmMetrics, Event, Metrics, ProbePair};

fn config() -> RunConfig {
    RunConfig {
        model: "/models/tiny".into(),
        data: "/data/pairs.jsonl".into(),
        objective: ObjectiveKind::Dpop,
        twin: Some(ObjectiveKind::Dpo),
        sweep: None,
        beta: 0.1,
        lambda: 50.0,
        label_smoothing: 0.0,
        learning_rate: 2.0e-3,
        schedule: Schedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.0,
        max_grad_norm: None,
        budget: Budget::Epochs(0.1 + 0.2),
        batch_pairs: 4,
        micro_batch_pairs: 4,
        max_length: 256,
        rank: 8,
        alpha: 16.0,
        targets: Target::ALL.to_vec(),
        dropout: 0.0,
        rslora: false,
        init_adapter: None,
        eval: EvalSource::Fraction(0.1),
        probe_pairs: 32,
        eval_every: 10,
        forecast_pairs: 4,
        stop_when: StopRules(vec![StopRule::ChosenBelowReference(0.05), StopRule::Nan]),
        save_every: 50,
        sample_prompts: 0,
        sample_tokens: 64,
        device: "cpu".into(),
        base_precision: BasePrecision::F32,
        compute_precision: ComputePrecision::F32,
        weights: WeightPlace::Resident,
        recompute: Recompute::Off,
        memory_limit: None,
        seed: 1 << 53,
        shuffle: true,
    }
}

fn record() -> RunRecord {
    let inputs = Inputs {
        model: "aa".into(),
        model_format: Some("GPTQ 4-bit".into()),
        tokenizer: "tt".into(),
        data: "bb".into(),
        eval_data: None,
    };
    let device = DeviceRecord {
        name: "CPU".into(),
        kind: "cpu".into(),
        api: "Flex".into(),
        driver: String::new(),
    };
    RunRecord::new(config(), inputs, device)
}

fn step(step: usize) -> Event {
    let loss = 1.0 / (step as f64 + 0.3);
    let arms = ArmMetrics::from([("dpop".into(), Metrics::from([("loss".into(), loss)]))]);
    Event::Step {
        step,
        epoch: step as f64 / 7.0,
        elapsed: step as f64 * 0.1,
        tokens_per_second: 1234.5,
        num_tokens: 100 * step as u64,
        memory_bytes: 1 << 20,
        arms,
    }
}

#[test]
fn a_new_run_gets_a_folder_of_its_own_even_in_the_same_second() {
    let root = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = (0..5)
        .map(|_| folder::new_run_path(root.path(), Path::new("/x/my data (v2).jsonl")).unwrap())
        .collect();
    for path in &paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.contains("-my-data--v2"), "{name}");
        assert_eq!(name.as_bytes()[10], b'T', "{name}");
        assert!(!name.contains([':', ' ', '(']), "{name}");
    }
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 5);
}

#[test]
fn run_json_holds_the_configuration_exactly() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/run");
    let record = record();
    drop(RunFolder::create(&path, record.clone()).unwrap());
    assert_eq!(RunFolder::open(&path).unwrap().record, record);
    // Names as on the command line, with underscores.
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(path.join("run.json")).unwrap()).unwrap();
    assert_eq!(json["config"]["batch_pairs"], 4);
    assert_eq!(
        json["config"]["targets"],
        serde_json::json!(["q", "k", "v", "o", "gate", "up", "down"])
    );
}

#[test]
fn the_recorded_version_of_burn_is_the_one_in_the_lock_file() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let line = format!("name = \"burn\"\nversion = \"{}\"", dpop_studio::run::BURN_VERSION);
    assert!(
        lock.replace("\r\n", "\n").contains(&line),
        "Cargo.lock holds another burn than {line}"
    );
}

#[test]
fn a_folder_that_holds_a_run_is_refused_with_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    drop(RunFolder::create(root.path(), record()).unwrap());
    let error = RunFolder::create(root.path(), record()).unwrap_err();
    assert!(matches!(error, FolderError::AlreadyARun { .. }));
    assert!(error.to_string().contains("--resume"), "{error}");

    for name in ["events.jsonl", "checkpoint-5/x", "adapter/x"] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert!(
            matches!(folder::refuse_existing(root.path()), Err(FolderError::AlreadyARun { .. })),
            "{name}"
        );
    }

    // The window writes the trainer's log before the trainer makes the run.
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("trainer.log"), "").unwrap();
    RunFolder::create(root.path(), record()).unwrap();

    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(RunFolder::create(&file, record()), Err(FolderError::NotAFolder { .. })));
}

#[test]
fn one_process_at_a_time_trains_in_a_folder() {
    let root = tempfile::tempdir().unwrap();
    let held = RunFolder::create(root.path(), record()).unwrap();
    assert!(folder::in_use(root.path()));
    assert!(matches!(RunFolder::open(root.path()), Err(FolderError::InUse { .. })));
    drop(held);
    assert!(!folder::in_use(root.path()));
    RunFolder::open(root.path()).unwrap();
}

#[test]
fn damaged_records_are_named() {
    let root = tempfile::tempdir().unwrap();
    let open = || RunFolder::open(root.path()).unwrap_err().to_string();
    assert!(open().contains("not a run folder"), "{}", open());
    drop(RunFolder::create(root.path(), record()).unwrap());
    let path = root.path().join("run.json");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(open().contains("run.json is damaged"), "{}", open());
    fs::write(&path, whole.replace("\"beta\"", "\"betta\"")).unwrap();
    assert!(open().contains("beta"), "{}", open());
    fs::write(&path, whole.replace("\"format\": 1", "\"format\": 99")).unwrap();
    assert!(open().contains("newer version"), "{}", open());
}

#[test]
fn the_list_of_runs_tells_how_each_stands() {
    let root = tempfile::tempdir().unwrap();
    assert!(folder::list(&root.path().join("nowhere")).unwrap().is_empty());
    let ends = [
        (
            "1-done",
            Some(Event::Finished { step: 9, adapter: "a".into(), message: "m".into() }),
            RunStatus::Finished,
        ),
        ("2-stopped", Some(Event::Stopped { step: 4, checkpoint: "c".into() }), RunStatus::Stopped),
        ("3-failed", Some(Event::Failed { message: "m".into() }), RunStatus::Failed),
        ("4-cut", None, RunStatus::Interrupted),
    ];
    for (name, end, _) in &ends {
        let path = root.path().join(name);
        drop(RunFolder::create(&path, record()).unwrap());
        let mut log = EventLog::create(&path).unwrap();
        log.append(&step(3)).unwrap();
        end.iter().for_each(|event| log.append(event).unwrap());
    }
    fs::create_dir(root.path().join("not-a-run")).unwrap();
    let broken = root.path().join("0-broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("run.json"), "{").unwrap();

    let held = RunFolder::create(&root.path().join("5-running"), record()).unwrap();
    let runs = folder::list(root.path()).unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["5-running", "4-cut", "3-failed", "2-stopped", "1-done", "0-broken"]);
    assert_eq!(runs[0].status, RunStatus::Running);
    for (name, _, status) in &ends {
        let run = runs.iter().find(|run| run.name == *name).unwrap();
        assert_eq!(run.status, *status, "{name}");
    }
    assert_eq!(runs[4].step, Some(9));
    assert!(runs[5].record.as_ref().unwrap_err().contains("damaged"));
    drop(held);
}

#[test]
fn events_come_back_as_they_were_written() {
    let root = tempfile::tempdir().unwrap();
    let mut log = EventLog::create(root.path()).unwrap();
    let pair = ProbePair {
        row: 3,
        chosen: -0.1 - 0.2,
        rejected: -1.0 / 3.0,
        ref_chosen: -1e-300,
        ref_rejected: -12345.678901234567,
        chosen_tokens: 7,
        rejected_tokens: 8,
    };
    let written = vec![
        step(1),
        Event::Probe {
            step: 1,
            arms: ArmMetrics::new(),
            pairs: [("dpop".into(), vec![pair])].into(),
        },
        Event::Warning { message: "line\nbreak \"quoted\" \u{2028} ąęł".into() },
        Event::Paused { step: 1 },
        Event::Resumed { step: 1 },
        Event::Failed { message: "no".into() },
    ];
    for event in &written {
        log.append(event).unwrap();
        log.append(&Event::Heartbeat { phase: "training".into() }).unwrap();
    }
    assert_eq!(events::read(root.path()).unwrap(), written, "and no heartbeat among them");
    assert_eq!(events::last(root.path()), written.last().cloned());
    let text = fs::read_to_string(root.path().join("events.jsonl")).unwrap();
    assert_eq!(text.lines().count(), written.len());
}

#[test]
fn metrics_that_are_no_numbers_are_left_out_and_the_line_stays_readable() {
    let metrics = Metrics::from([
        ("loss".into(), f64::NAN),
        ("grad_norm".into(), f64::INFINITY),
        ("learning_rate".into(), 0.5),
    ]);
    let event =
        Event::Probe { step: 4, arms: [("dpo".into(), metrics)].into(), pairs: Default::default() };
    let Some(Event::Probe { step: 4, arms, .. }) = events::parse(events::line(&event).as_bytes())
    else {
        panic!("the line cannot be read back: {}", events::line(&event));
    };
    assert_eq!(arms["dpo"], Metrics::from([("learning_rate".into(), 0.5)]));
}

#[test]
fn unknown_kinds_and_damaged_lines_are_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let text = format!(
        "{}{{\"event\":\"hologram\",\"step\":2,\"depth\":9}}\n\0\0\0garbage\n{}",
        events::line(&step(1)),
        events::line(&step(2))
    );
    fs::write(root.path().join("events.jsonl"), text).unwrap();
    assert_eq!(events::read(root.path()).unwrap(), vec![step(1), step(2)]);
    assert_eq!(events::read(&root.path().join("empty")).unwrap(), vec![]);
}

#[test]
fn a_torn_last_line_is_cut_when_the_run_goes_on() {
    // Cut the last line at every byte: what remains must be the events before it, and appending must give
    // whole lines.
    let whole = events::line(&step(1)) + &events::line(&step(2));
    let first = events::line(&step(1)).len();
    for cut in first..whole.len() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("events.jsonl"), &whole[..cut]).unwrap();
        let mut log = EventLog::resume(root.path(), 2).unwrap();
        log.append(&step(3)).unwrap();
        assert_eq!(events::read(root.path()).unwrap(), vec![step(1), step(3)], "cut at {cut}");
    }
}

#[test]
fn zeros_left_by_a_power_cut_are_cut_too() {
    let root = tempfile::tempdir().unwrap();
    let mut bytes = events::line(&step(1)).into_bytes();
    bytes.extend([0; 64]);
    bytes.extend(b"\n");
    fs::write(root.path().join("events.jsonl"), &bytes).unwrap();
    EventLog::resume(root.path(), 5).unwrap().append(&step(2)).unwrap();
    let text = fs::read_to_string(root.path().join("events.jsonl")).unwrap();
    assert_eq!(text, events::line(&step(1)) + &events::line(&step(2)));
}

#[test]
fn events_after_the_checkpoint_are_cut_when_the_run_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let mut log = EventLog::create(root.path()).unwrap();
    for n in 1..=30 {
        log.append(&step(n)).unwrap();
        if n % 10 == 0 {
            log.append(&Event::Probe {
                step: n,
                arms: ArmMetrics::new(),
                pairs: Default::default(),
            })
            .unwrap();
            log.append(&Event::Checkpoint { step: n, path: format!("checkpoint-{n}").into() })
                .unwrap();
        }
    }
    log.append(&Event::Failed { message: "power".into() }).unwrap();
    drop(log);
    let before = events::read(root.path()).unwrap();
    let mut log = EventLog::resume(root.path(), 20).unwrap();
    log.append(&step(21)).unwrap();
    let after = events::read(root.path()).unwrap();
    let kept = 20 + 2 * 2;
    assert_eq!(after[..kept], before[..kept]);
    assert_eq!(after[kept..], [step(21)]);
}

//! Does the command line keep its word: exit codes, events, files?

mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use dpop_studio::run::{checkpoint, events, folder};
use dpop_studio::train::event::Event;
use program::{demo_model, demo_pairs, program, refused, repository, run, train};

#[test]
fn a_run_ends_with_an_adapter_and_exit_code_0() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let ran =
        run(train(&path, &["--steps", "6", "--eval-every", "3", "--save-every", "4", "--json"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = ran.events();
    assert!(matches!(&told[0], Event::Started { steps: 6, from_step: 0, .. }), "{:?}", told[0]);
    let steps: Vec<usize> = told
        .iter()
        .filter_map(|e| if let Event::Step { step, .. } = e { Some(*step) } else { None })
        .collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    let probes: Vec<usize> = told
        .iter()
        .filter_map(|e| if let Event::Probe { step, .. } = e { Some(*step) } else { None })
        .collect();
    assert_eq!(probes, [0, 3, 6]);
    let Some(Event::Finished { step: 6, adapter, .. }) = told.last() else {
        panic!("{:?}", told.last())
    };
    assert_eq!(*adapter, path.join("adapter"));

    // What was told is what was recorded.
    assert_eq!(events::read(&path).unwrap(), told);
    assert_eq!(checkpoint::steps(&path).unwrap(), [4, 6]);
    let record = folder::read_record(&path).unwrap();
    assert_eq!(record.config.batch_pairs, 2);
    assert_eq!(record.inputs.data.len(), 64);

    // The adapter is the kept arm's, and the card tells the real figures.
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let exported = fs::read(adapter.join(file)).unwrap();
        assert_eq!(
            exported,
            fs::read(path.join("checkpoint-6/dpop").join(file)).unwrap(),
            "{file}"
        );
    }
    let card = fs::read_to_string(adapter.join("README.md")).unwrap();
    let probe = told
        .iter()
        .rev()
        .find_map(|e| if let Event::Probe { arms, .. } = e { Some(arms) } else { None });
    for (arm, metrics) in probe.unwrap() {
        let figure = format!("{:.4}", metrics["logps_per_token/chosen"]);
        assert!(card.contains(&figure), "the card lacks {arm}'s {figure}:\n{card}");
    }
    assert!(card.contains(&record.inputs.data) && card.contains("pairs_train.jsonl"), "{card}");
}

#[test]
fn without_json_the_lines_are_for_people() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let ran = run(train(&path, &["--steps", "2", "--twin", "none"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("step 2/2") && ran.stdout.contains("tok/s"), "{}", ran.stdout);
    assert!(ran.stdout.contains("finished after 2 steps"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "no terminal codes in a pipe");
    assert!(!path.join("checkpoint-2/dpo").exists(), "no twin was asked for");
}

#[test]
fn without_a_run_folder_one_is_made_under_the_root() {
    let root = tempfile::tempdir().unwrap();
    let mut command =
        program(["train", "--device", "cpu", "--steps", "1", "--batch-pairs", "1", "--json"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
    let ran = run({
        command.env("DPOP_STUDIO_RUNS", root.path());
        command
    });
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let runs = folder::list(root.path()).unwrap();
    assert_eq!(runs.len(), 1);
    assert!(runs[0].name.ends_with("-pairs_train"), "{}", runs[0].name);
    assert!(runs[0].has_adapter);
}

#[test]
fn a_folder_with_a_run_is_refused_and_untouched() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    assert_eq!(run(train(&path, &["--steps", "1"])).code, Some(0));
    let before = fs::read(path.join("events.jsonl")).unwrap();
    let message = refused(train(&path, &["--steps", "1"]));
    assert!(message.contains("--resume"), "{message}");
    assert_eq!(fs::read(path.join("events.jsonl")).unwrap(), before);
}

/// A slip of the hand, such as the model's own folder, must not mix a run with other things.
#[test]
fn a_folder_with_other_things_is_refused_and_untouched() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("config.json"), "{}").unwrap();
    let message = refused(train(root.path(), &["--steps", "1"]));
    assert!(message.contains("config.json") && message.contains("--run"), "{message}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

/// A model is no good beyond the context that it was made for: that is said, not refused.
#[test]
fn pairs_beyond_the_models_context_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("long.jsonl");
    let long = "Sam has 64 eggs. ".repeat(40);
    let row = serde_json::json!({"prompt": long, "chosen": "78", "rejected": "79"});
    let other = serde_json::json!({"prompt": "2 + 2 =", "chosen": "4", "rejected": "5"});
    fs::write(&data, format!("{row}\n{other}\n")).unwrap();
    let mut command = program(["train", "--device", "cpu", "--steps", "1", "--batch-pairs", "1"]);
    command.args(["--json", "--eval-fraction", "0", "--probe-pairs", "0", "--sample-prompts", "0"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(&data);
    command.arg("--run").arg(root.path().join("run"));
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = ran.events().into_iter().any(|event| {
        matches!(event, Event::Warning { message }
            if message.contains("1 pair is longer than the 192 tokens") && message.contains("--max-length 192"))
    });
    assert!(told, "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn signals_save_a_checkpoint_and_exit_3_and_resume_goes_on() {
    for signal in ["INT", "TERM"] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let mut child =
            train(&path, &["--steps", "5000", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().contains("\"event\":\"step\"")).unwrap().unwrap();
        let status = std::process::Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        let told: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{signal}");
        let stopped = told.iter().find_map(|line| match serde_json::from_str(line).unwrap() {
            Event::Stopped { step, checkpoint } => Some((step, checkpoint)),
            _ => None,
        });
        let (step, saved) = stopped.unwrap();
        assert_eq!(saved, path.join(format!("checkpoint-{step}")));
        assert!(saved.join("manifest.json").is_file());

        // Going on starts at the next step and does not fork the log.
        let mut child = program(["train", "--json", "--resume"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines
            .by_ref()
            .find_map(|line| match serde_json::from_str(&line).unwrap() {
                Event::Step { step, .. } => Some(step),
                _ => None,
            })
            .unwrap();
        assert_eq!(first, step + 1, "{signal}");
        std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
        lines.for_each(drop);
        assert_eq!(child.wait().unwrap().code(), Some(3));
        let steps: Vec<usize> = events::read(&path)
            .unwrap()
            .iter()
            .filter_map(
                |event| if let Event::Step { step, .. } = event { Some(*step) } else { None },
            )
            .collect();
        assert_eq!(steps, (1..=steps.len()).collect::<Vec<_>>(), "each step once, in order");
    }
}

#[test]
fn resume_refuses_inputs_that_changed() {
    let root = tempfile::tempdir().unwrap();
    let (path, data) = (root.path().join("run"), root.path().join("pairs.jsonl"));
    let text = fs::read_to_string(demo_pairs()).unwrap();
    let some: Vec<&str> = text.lines().take(40).collect();
    fs::write(&data, some.join("\n")).unwrap();
    let mut command = program(["train", "--device", "cpu", "--steps", "1", "--batch-pairs", "1"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(&data).arg("--run").arg(&path);
    assert_eq!(run(command).code, Some(0));
    fs::write(&data, some[..39].join("\n")).unwrap();
    let resume = || {
        let mut command = program(["train", "--resume"]);
        command.arg(&path);
        command
    };
    let message = refused(resume());
    assert!(message.contains("pairs.jsonl") && message.contains("SHA-256"), "{message}");
    fs::write(&data, some.join("\n")).unwrap();
    assert_eq!(run(resume()).code, Some(0), "with the old file in place it goes on");
}

/// The adapters of a checkpoint have the shape they have, whatever run.json says now.
#[test]
fn resume_refuses_another_shape_of_adapter() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    assert_eq!(run(train(&path, &["--steps", "1", "--rank", "4"])).code, Some(0));
    let record = path.join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"rank\": 4", "\"rank\": 8")).unwrap();
    let mut command = program(["train", "--resume"]);
    command.arg(&path);
    let message = refused(command);
    assert!(message.contains("rank 4") && message.contains("run.json says 8"), "{message}");
}

#[test]
fn resume_takes_no_other_options() {
    let message = refused(program(["train", "--resume", "somewhere", "--beta", "0.2"]));
    assert!(message.contains("--resume"), "{message}");
}

#[test]
fn resume_needs_a_run() {
    let root = tempfile::tempdir().unwrap();
    let mut command = program(["train", "--resume"]);
    command.arg(root.path());
    let message = refused(command);
    assert!(message.contains("not a run folder"), "{message}");
}

#[test]
fn bad_usage_exits_2_and_names_every_complaint() {
    for args in [
        &["train", "--no-such-option"][..],
        &["train", "--steps", "many"],
        &["logprobs"],
        &["no-such-thing"],
    ] {
        refused(program(args));
    }
    let mut command = program(["train", "--beta", "-1", "--rank", "0"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
    let message = refused(command);
    assert!(
        message.contains("beta") && message.contains("rank"),
        "all complaints at once: {message}"
    );
    for args in [&["--help"][..], &["--version"], &["train", "--help"]] {
        assert_eq!(run(program(args)).code, Some(0), "{args:?}");
    }
}

#[test]
fn logprobs_writes_one_line_a_pair() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    let text = fs::read_to_string(demo_pairs()).unwrap();
    fs::write(&data, text.lines().take(5).collect::<Vec<_>>().join("\n")).unwrap();
    let logprobs = |more: &[&str]| {
        let mut command = program(["logprobs", "--device", "cpu"]);
        command.arg("--model").arg(demo_model()).arg("--data").arg(&data).args(more);
        run(command)
    };
    let ran = logprobs(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 5);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row["row"], n);
        for side in ["chosen", "rejected"] {
            let logps: Vec<f64> = serde_json::from_value(row[side]["logps"].clone()).unwrap();
            assert_eq!(logps.len(), row[side]["ids"].as_array().unwrap().len());
            assert!(logps.iter().all(|logp| *logp <= 0.0));
            let sum: f64 = logps.iter().sum();
            assert!((sum - row[side]["sum"].as_f64().unwrap()).abs() < 1e-4);
        }
        // The demo model knows the right answer: that is what the pairs are about.
        assert!(row["chosen"]["sum"].as_f64() > row["rejected"]["sum"].as_f64());
    }
    let file = root.path().join("out.jsonl");
    let written = logprobs(&["--output", file.to_str().unwrap()]);
    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""), "{}", written.stderr);
    assert_eq!(fs::read_to_string(file).unwrap(), ran.stdout);
    // Where it cannot be written, that is told before the work.
    let nowhere = root.path().join("none/out.jsonl");
    let refused = logprobs(&["--output", nowhere.to_str().unwrap()]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("there is no folder"), "{}", refused.stderr);
    // What is there is never replaced.
    let kept = root.path().join("kept.jsonl");
    fs::write(&kept, "mine").unwrap();
    let refused = logprobs(&["--output", kept.to_str().unwrap()]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("already there"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
}

#[test]
fn logprobs_applies_an_adapter() {
    // Rows of token ids, so that a model without a tokenizer can be scored.
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    let row = r#"{"prompt_input_ids": [1, 50, 60], "chosen_input_ids": [70, 80, 2], "rejected_input_ids": [90, 2]}"#;
    fs::write(&data, row).unwrap();
    let line = |adapter: Option<&str>| {
        let mut command = program(["logprobs", "--device", "cpu"]);
        command
            .arg("--model")
            .arg(repository("tests/fixtures/models/llama_gqa_untied"))
            .arg("--data")
            .arg(&data);
        if let Some(adapter) = adapter {
            command.arg("--adapter").arg(repository(adapter));
        }
        let ran = run(command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    let base = line(None);
    assert_eq!(base["chosen"]["ids"], serde_json::json!([70, 80, 2]));
    // B is zero at the start of training: the model is unchanged. After training it is not.
    assert_eq!(line(Some("tests/fixtures/traj/dpop_all/adapter_init")), base);
    assert_ne!(line(Some("tests/fixtures/traj/dpop_all/adapter_final")), base);
}

#[test]
fn inspect_devices_and_presets_speak_both_ways() {
    let mut command = program(["inspect", "--json"]);
    command.arg("--data").arg(demo_pairs()).arg("--model").arg(demo_model());
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["rows"], 512, "{report}");
    let mut command = program(["inspect"]);
    command.arg("--data").arg(demo_pairs());
    let ran = run(command);
    assert!(ran.code == Some(0) && ran.stdout.contains("512"), "{}", ran.stdout);

    for name in ["devices", "presets"] {
        let ran = run(program([name, "--json"]));
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(list.as_array().is_some_and(|list| !list.is_empty()), "{name}: {list}");
        let ran = run(program([name]));
        assert!(ran.code == Some(0) && !ran.stdout.is_empty(), "{name}: {}", ran.stderr);
    }
    assert!(run(program(["devices"])).stdout.contains("cpu"));
}

#[test]
fn a_closed_pipe_is_quiet() {
    // The reader takes one line and goes; far more follows than a pipe holds.
    let mut command = program(["logprobs", "--device", "cpu"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(demo_pairs());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn training_goes_on_when_nobody_reads_along() {
    for json in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let mut command = train(&path, &["--steps", "3"]);
        if json {
            command.arg("--json");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
        assert!(path.join("adapter/adapter_model.safetensors").is_file());
    }
}

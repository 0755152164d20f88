//! Does PEFT, in Python, read an exported adapter and give the same log-probabilities?

use std::path::Path;
use std::process::{Command, Output};

/// The interpreter of `DPOP_PYTHON`, else `python3`, if it has torch and PEFT.
fn python_with_peft() -> Option<String> {
    let python = std::env::var("DPOP_PYTHON").unwrap_or_else(|_| "python3".into());
    let check =
        Command::new(&python).args(["-c", "import torch, peft, transformers"]).output().ok()?;
    check.status.success().then_some(python)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[test]
fn an_exported_adapter_gives_the_same_log_probabilities_in_peft() {
    let Some(python) = python_with_peft() else {
        eprintln!(
            "SKIPPED: no Python with torch, transformers and peft (set DPOP_PYTHON), PEFT was not asked"
        );
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("assets/demo/tiny-math-llama");
    let folder = tempfile::tempdir().unwrap();
    let (run_folder, data, printed) = (
        folder.path().join("run"),
        folder.path().join("pairs.jsonl"),
        folder.path().join("logprobs.jsonl"),
    );
    // A few rows are enough: every adapted layer is in each.
    let pairs = std::fs::read_to_string(root.join("assets/demo/pairs_eval.jsonl")).unwrap();
    let rows: String = pairs.lines().take(6).map(|line| format!("{line}\n")).collect();
    std::fs::write(&data, rows).unwrap();

    let program = env!("CARGO_BIN_EXE_dpop-studio");
    let train = root.join("assets/demo/pairs_train.jsonl");
    let mut command = Command::new(program);
    command
        .arg("train")
        .arg("--model")
        .arg(&model)
        .arg("--data")
        .arg(&train)
        .arg("--run")
        .arg(&run_folder);
    command.args([
        "--twin",
        "none",
        "--steps",
        "6",
        "--learning-rate",
        "2e-3",
        "--rank",
        "8",
        "--alpha",
        "16",
    ]);
    command.args([
        "--targets",
        "all",
        "--batch-pairs",
        "4",
        "--probe-pairs",
        "4",
        "--device",
        "cpu",
    ]);
    run(&mut command);
    let adapter = run_folder.join("adapter");

    let mut command = Command::new(program);
    command
        .arg("logprobs")
        .arg("--model")
        .arg(&model)
        .arg("--data")
        .arg(&data)
        .arg("--adapter")
        .arg(&adapter);
    run(command.args(["--device", "cpu"]).arg("--output").arg(&printed));

    let script = root.join("tests/peft_roundtrip.py");
    let output = run(Command::new(python).arg(script).args([&adapter, &model, &data, &printed]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("max |PEFT - ours|"), "the script compared nothing: {said}");
    println!("{said}");
}

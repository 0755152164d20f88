//! Does PEFT, in Python, read an exported adapter and give the same log-probabilities?

use std::path::{Path, PathBuf};
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

/// Trains an adapter on `train`, scores `rows` with it, and asks PEFT for the same.
fn compare_with_peft(model: &Path, train: &Path, rows: &str, options: &[&str]) {
    let Some(python) = python_with_peft() else {
        eprintln!(
            "SKIPPED: no Python with torch, transformers and peft (set DPOP_PYTHON), PEFT was not asked"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (run_folder, data, printed) = (
        folder.path().join("run"),
        folder.path().join("pairs.jsonl"),
        folder.path().join("logprobs.jsonl"),
    );
    std::fs::write(&data, rows).unwrap();
    let program = env!("CARGO_BIN_EXE_dpop-studio");
    let mut command = Command::new(program);
    command.arg("train").arg("--model").arg(model).arg("--data").arg(train);
    command.arg("--run").arg(&run_folder).args(["--device", "cpu", "--twin", "none"]);
    run(command.args(["--rank", "8", "--alpha", "16", "--batch-pairs", "4"]).args(options));
    let adapter = run_folder.join("adapter");

    let mut command = Command::new(program);
    command.arg("logprobs").arg("--model").arg(model).arg("--data").arg(&data);
    command.arg("--adapter").arg(&adapter).args(["--device", "cpu"]);
    run(command.arg("--output").arg(&printed));

    let script = root().join("tests/peft_roundtrip.py");
    let output = run(Command::new(python).arg(script).args([&adapter, model, &data, &printed]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("max |PEFT - ours|"), "the script compared nothing: {said}");
    println!("{}: {said}", model.display());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[test]
fn an_exported_adapter_gives_the_same_log_probabilities_in_peft() {
    let root = root();
    // A few rows are enough: every adapted layer is in each.
    let pairs = std::fs::read_to_string(root.join("assets/demo/pairs_eval.jsonl")).unwrap();
    let rows: String = pairs.lines().take(6).map(|line| format!("{line}\n")).collect();
    compare_with_peft(
        &root.join("assets/demo/tiny-math-llama"),
        &root.join("assets/demo/pairs_train.jsonl"),
        &rows,
        &["--steps", "6", "--learning-rate", "2e-3", "--targets", "all", "--probe-pairs", "4"],
    );
}

/// Pairs as token ids; both sides of the last ones are longer than 20 tokens, of the others shorter.
fn id_pairs() -> String {
    let ids = |n: usize, salt: usize| -> Vec<usize> {
        (0..n).map(|i| (i * 37 + salt * 101) % 500 + 3).collect()
    };
    let row = |row: usize| {
        let long = if row >= 4 { 12 } else { 0 };
        serde_json::json!({
            "prompt_input_ids": ids(5 + long, row),
            "chosen_input_ids": ids(9, row + 20),
            "rejected_input_ids": ids(7, row + 40),
        })
    };
    (0..8).map(|i| format!("{}\n", row(i))).collect()
}

#[test]
fn adapters_of_phi_and_gemma_are_pefts() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.jsonl");
    std::fs::write(&train, id_pairs()).unwrap();
    let options = ["--steps", "8", "--learning-rate", "1e-2", "--eval-fraction", "0"];
    // Of Phi-3, the fused layers alone as well: PEFT must find them by their own names.
    for (name, targets) in [
        ("phi3", "all"),
        ("phi3_longrope", "q,k,v"),
        ("phi3", "gate,up"),
        ("gemma2", "all"),
        ("gemma2_caps", "q,v"),
    ] {
        let model = root().join("tests/fixtures/models").join(name);
        let options: Vec<&str> = options.into_iter().chain(["--targets", targets]).collect();
        compare_with_peft(&model, &train, &id_pairs(), &options);
    }
}

/// Experts: one module each on disk, one tensor a layer in transformers 5, where PEFT joins gate and up. The scale of
/// rsLoRA, a dropout and an adapter on one of the two must survive that.
#[test]
fn adapters_on_experts_are_pefts() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.jsonl");
    std::fs::write(&train, id_pairs()).unwrap();
    let options = ["--steps", "8", "--learning-rate", "1e-2", "--eval-fraction", "0"];
    for (name, targets) in [
        ("mixtral_4e_top2", "all"),
        ("mixtral_4e_top2", "q,v,down"),
        ("qwen3_moe", "all"),
        ("qwen3_moe", "up"),
    ] {
        let model = root().join("tests/fixtures/models").join(name);
        let own = ["--targets", targets, "--rslora", "--dropout", "0.1"];
        let options: Vec<&str> = options.into_iter().chain(own).collect();
        compare_with_peft(&model, &train, &id_pairs(), &options);
    }
}

//! Does the program train on a GGUF file and score with quantised folders, and say in the card what it trained on?

mod edit;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use program::{program, repository, run};
use serde_json::{Value, json};

/// Pairs of token ids below 16: the fixtures have no tokenizer.
fn pairs(root: &Path) -> PathBuf {
    let row = |i: u32| {
        let ids =
            |from: u32, count: u32| (0..count).map(|k| (from + 3 * k) % 16).collect::<Vec<_>>();
        json!({
            "prompt_input_ids": ids(i, 4),
            "chosen_input_ids": ids(i + 1, 3),
            "rejected_input_ids": ids(i + 2, 5),
        })
    };
    let rows: Vec<String> = (0..8).map(|i| row(i).to_string()).collect();
    let path = root.join("pairs.jsonl");
    fs::write(&path, rows.join("\n")).unwrap();
    path
}

#[test]
fn a_run_on_a_gguf_file_says_so_in_its_card() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let model = repository("tests/fixtures/gguf/split/small-00001-of-00003.gguf");
    let mut command = program(["train", "--device", "cpu", "--steps", "2", "--batch-pairs", "2"]);
    command.arg("--model").arg(&model).arg("--data").arg(pairs(root.path()));
    command.args(["--base-precision", "int8", "--probe-pairs", "2"]).arg("--run").arg(&folder);
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let record: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["inputs"]["model_format"], "GGUF Q5_1");
    let card = fs::read_to_string(folder.join("adapter/README.md")).unwrap();
    for words in [
        "files are quantised (GGUF Q5_1)",
        "| base weights | GGUF Q5_1 in the files, int8 in training |",
        r#"from_pretrained("path/to/split", gguf_file="small-00001-of-00003.gguf")"#,
    ] {
        assert!(card.contains(words), "{words:?} is not in: {card}");
    }
}

fn logprobs(model: &Path, data: &Path, precision: &str) -> String {
    let mut command = program(["logprobs", "--device", "cpu", "--base-precision", precision]);
    command.arg("--model").arg(model).arg("--data").arg(data);
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 8);
    ran.stdout
}

#[test]
fn log_probabilities_of_quantised_folders_are_those_of_their_values() {
    let root = tempfile::tempdir().unwrap();
    let data = pairs(root.path());
    for name in ["gptq-4bit-g32-act-order", "awq-g32", "exl2-mixed", "bnb-nf4-double"] {
        let packed = repository("tests/fixtures/packed").join(name);
        let plain = root.path().join(name);
        fs::create_dir(&plain).unwrap();
        fs::copy(packed.join("config.json"), plain.join("config.json")).unwrap();
        edit::edit_json(&plain.join("config.json"), |config| {
            config.as_object_mut().unwrap().remove("quantization_config");
        });
        let values = repository(&format!("tests/fixtures/packed/decoded/{name}.safetensors"));
        fs::copy(values, plain.join("model.safetensors")).unwrap();
        for precision in ["f32", "int4"] {
            let want = logprobs(&plain, &data, precision);
            assert_eq!(logprobs(&packed, &data, precision), want, "{name}, {precision}");
        }
    }
}

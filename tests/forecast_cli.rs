//! Does `inspect --forecast` speak both ways, and does a filter hand back the rows as they were written?

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use program::{demo_model, demo_pairs, program, refused, run};
use serde_json::Value;

fn inspect(data: &Path, more: &[&str]) -> Command {
    let mut command = program(["inspect", "--device", "cpu"]);
    command.arg("--model").arg(demo_model()).arg("--data").arg(data).args(more);
    command
}

/// Twelve rows of the demo, the fourth once more, the fifth turned round, and a blank line.
fn some_rows() -> Vec<String> {
    let text = fs::read_to_string(demo_pairs()).unwrap();
    let mut lines: Vec<String> = text.lines().take(12).map(str::to_owned).collect();
    lines.push(lines[3].clone());
    let mut turned: serde_json::Map<String, Value> = serde_json::from_str(&lines[4]).unwrap();
    let (chosen, rejected) = (turned["chosen"].take(), turned["rejected"].take());
    turned["chosen"] = rejected;
    turned["rejected"] = chosen;
    lines.push(serde_json::to_string(&turned).unwrap());
    lines
}

fn forecast(data: &Path, more: &[&str]) -> Value {
    let ran = run(inspect(data, &[&["--json"], more].concat()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_forecast_tells_of_every_pair() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    fs::write(&data, some_rows().join("\n")).unwrap();
    let report = forecast(&data, &["--forecast"]);
    assert_eq!(report["rows"], 14, "the report is still there");
    let told = &report["forecast"];
    let pairs = told["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 14);
    for name in ["edit_distance", "ches", "wrong_way", "surprise"] {
        let counts = told[name]["counts"].as_array().unwrap();
        assert_eq!(counts.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 14, "{name}");
    }
    // The model knows the right answers: the pair that was turned round is the one that surprises, and looks swapped.
    assert_eq!(told["swapped_looking"], serde_json::json!([13]));
    assert_eq!(told["first_to_fall"][0], 13);
    assert_eq!(told["duplicates"].as_array().unwrap().len(), 2);
    assert_eq!(pairs[3]["ches"], pairs[12]["ches"], "the same pair twice");

    let text = run(inspect(&data, &["--forecast"])).stdout;
    assert!(text.contains("CHES") && text.contains("1 pairs look swapped"), "{text}");
    let few = forecast(&data, &["--forecast", "--pairs", "5"]);
    assert_eq!(few["forecast"]["pairs"].as_array().unwrap().len(), 5);
    assert!(forecast(&data, &[])["forecast"].is_null(), "only when asked for");
}

#[test]
fn kept_rows_have_the_bytes_they_had() {
    let root = tempfile::tempdir().unwrap();
    let (data, output) = (root.path().join("pairs.jsonl"), root.path().join("kept.jsonl"));
    let mut rows = some_rows();
    // Spelled as nobody would spell it: spaces, an escaped letter, a line end of Windows.
    let odd = rows[0].replace("\"prompt\": \"Q", "  \"prompt\" :\t\"\\u0051");
    assert_ne!(odd, rows[0]);
    rows[0] = format!("{odd}\r");
    fs::write(&data, format!("\u{feff}{}\n\n{}", rows[0], rows[1..].join("\n"))).unwrap();
    let all = run(inspect(&data, &["--output", output.to_str().unwrap()]));
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert_eq!(fs::read_to_string(&output).unwrap(), format!("{}\n", rows.join("\n")));

    // What is there is never replaced, the pairs themselves least of all.
    let out = output.to_str().unwrap();
    for there in [out, data.to_str().unwrap()] {
        let before = fs::read(there).unwrap();
        let message = refused(inspect(&data, &["--output", there, "--drop-duplicates"]));
        assert!(message.contains("already there"), "{message}");
        assert_eq!(fs::read(there).unwrap(), before);
    }
    fs::remove_file(out).unwrap();
    let kept = forecast(&data, &["--output", out, "--drop-duplicates", "--drop-swapped"]);
    assert_eq!(kept["kept"], serde_json::json!((0..12).collect::<Vec<_>>()));
    assert_eq!(fs::read_to_string(&output).unwrap(), format!("{}\n", rows[..12].join("\n")));

    // A limit that some pass: the file holds them and no other.
    let told = forecast(&data, &["--forecast"]);
    let scores: Vec<f64> = told["forecast"]["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["ches"].as_f64().unwrap())
        .collect();
    let mut sorted = scores.clone();
    sorted.sort_by(f64::total_cmp);
    let limit = format!("{}", sorted[6]);
    fs::remove_file(out).unwrap();
    let kept = forecast(&data, &["--output", out, "--max-ches", &limit]);
    let passed: Vec<&str> =
        rows.iter().zip(&scores).filter(|(_, s)| **s <= sorted[6]).map(|(r, _)| &**r).collect();
    assert!((7..14).contains(&passed.len()));
    assert_eq!(fs::read_to_string(&output).unwrap(), format!("{}\n", passed.join("\n")));
    assert_eq!(kept["kept"].as_array().unwrap().len(), passed.len());
}

#[test]
fn rows_of_a_json_document_keep_their_fields() {
    let root = tempfile::tempdir().unwrap();
    let (data, output) = (root.path().join("pairs.json"), root.path().join("kept.jsonl"));
    let rows: Vec<Value> =
        some_rows().iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    for document in [
        serde_json::to_string_pretty(&rows).unwrap(),
        serde_json::json!({"version": 1, "data": rows}).to_string(),
    ] {
        fs::write(&data, document).unwrap();
        let ran = run(inspect(&data, &["--output", output.to_str().unwrap(), "--drop-duplicates"]));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let kept: Vec<Value> = fs::read_to_string(&output)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(kept, rows[..12]);
        fs::remove_file(&output).unwrap();
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let out = ["--output", "never-written.jsonl"];
    refused(program(["inspect", "--forecast", "--data", "x.jsonl"]));
    refused(inspect(&demo_pairs(), &["--max-ches", "0"]));
    refused(inspect(&demo_pairs(), &["--pairs", "3"]));
    refused(inspect(&demo_pairs(), &["--forecast", "--pairs", "0"]));
    refused(inspect(&demo_pairs(), &[&out[..], &["--max-ches", "nan"]].concat()));
    refused(inspect(&demo_pairs(), &[&out[..], &["--forecast", "--pairs", "3"]].concat()));
    let none = refused(inspect(&demo_pairs(), &[&out[..], &["--min-edit-distance", "2"]].concat()));
    assert!(none.contains("no pair") && none.contains("never-written"), "{none}");
    assert!(!Path::new("never-written.jsonl").exists());
}

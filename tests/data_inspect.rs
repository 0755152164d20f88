//! Does the report say what is in a file?

use std::fs;
use std::path::{Path, PathBuf};

use dpop_studio::data::analysis::DiffKind;
use dpop_studio::data::inspect::InspectError;
use dpop_studio::data::{InspectReport, Schema, inspect};

fn repo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn demo_model() -> PathBuf {
    repo("assets/demo/tiny-math-llama")
}

#[test]
fn the_demo_set_is_what_its_readme_says() {
    let report = inspect(&repo("assets/demo/pairs_train.jsonl"), Some(&demo_model()), 192).unwrap();
    assert_eq!((report.rows, report.usable, report.schema), (512, 512, Schema::Plain));
    assert_eq!(report.columns, ["prompt", "chosen", "rejected", "answer"]);
    assert!(report.skipped.is_empty() && report.duplicates.is_empty());
    let tokens = report.tokens.as_ref().unwrap();
    assert_eq!((tokens.truncated, tokens.prefix_mismatch, tokens.without_template), (0, 0, 0));
    // One intermediate result of two or three digits differs.
    assert!(
        tokens.edit_distance.min >= 1.0 && tokens.edit_distance.max <= 4.0,
        "{:?}",
        tokens.edit_distance
    );
    assert!(tokens.normalised_edit_distance.median < 0.04, "{:?}", tokens.normalised_edit_distance);
    assert!(tokens.lengths.total.max < 192.0);
    assert_eq!(report.preview.len(), 20);
    let first = &report.preview[0];
    assert!(first.prompt.starts_with("Question: "));
    let marked: Vec<&str> =
        first.answer(DiffKind::Rejected).filter(|(marked, _)| *marked).map(|(_, s)| s).collect();
    assert_eq!(marked.len(), 1, "{:?}", first.diff);
    assert!(marked[0].trim().parse::<i64>().is_ok(), "{marked:?}");
}

#[test]
fn skipped_rows_of_reader_and_tokenizer_stand_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    let good = r#"{"prompt": "Question: 2 + 2?", "chosen": " 4", "rejected": " 5"}"#;
    let turned = r#"{"prompt": "Question: 2 + 2?", "chosen": " 5", "rejected": " 4"}"#;
    let long =
        format!(r#"{{"prompt": "{}", "chosen": " 4", "rejected": " 5"}}"#, "word ".repeat(200));
    fs::write(&path, [good, &long, "{", turned].join("\n")).unwrap();
    let report = inspect(&path, Some(&demo_model()), 64).unwrap();
    assert_eq!((report.rows, report.usable), (4, 2));
    let rows: Vec<usize> = report.skipped.iter().map(|s| s.row).collect();
    assert_eq!(rows, [1, 2]);
    let text = report.to_string();
    for expected in [
        "rows      4 (2 usable, 2 skipped)",
        "skipped row 1, field `prompt`: alone has",
        "skipped line 3 (row 2): this line is cut off after 1 characters",
        "repeated  0 rows repeat an earlier row, 1 contradict one",
        "row 3 prefers the answer that row 0 rejects",
        "[-4-]{+5+}",
        "edit distance, tokens",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let back: InspectReport =
        serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(back.skipped, report.skipped);
    assert_eq!(back.preview, report.preview);
}

#[test]
fn a_file_can_be_looked_at_without_a_model() {
    let report = inspect(&repo("assets/demo/pairs_eval.jsonl"), None, 192).unwrap();
    assert_eq!((report.usable, report.tokens.is_none()), (128, true));
    assert!(report.to_string().contains("prompt, chosen and rejected as text"));
}

#[test]
fn what_is_wrong_with_file_or_model_is_passed_on() {
    let error = inspect(&repo("nothing.jsonl"), None, 64).unwrap_err();
    assert!(matches!(error, InspectError::Data(_)), "{error:?}");
    let error =
        inspect(&repo("assets/demo/pairs_eval.jsonl"), Some(&repo("assets")), 64).unwrap_err();
    assert!(
        matches!(error, InspectError::Tokenizer(_)) && error.to_string().contains("tokenizer.json"),
        "{error:?}"
    );
}

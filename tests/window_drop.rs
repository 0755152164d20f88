//! Does a drop land where it belongs, and change nothing when it is wrong or in the way?

mod window;

use std::fs;
use std::path::Path;

use dpop_studio::ui::state::{Dialog, Loaded, Place};
use eframe::egui::Theme;
use egui_kittest::kittest::Queryable;
use window::{USUAL, drop_paths, hover, open, picture, recorded_until, start, wait};

fn pairs(path: &Path) {
    let rows = [
        r#"{"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}"#,
        r#"{"prompt": "Zażółć", "chosen": " gęślą jaźń", "rejected": " gęsią jaźń"}"#,
        r#"{"prompt": "no answer here"}"#,
    ];
    fs::write(path, rows.join("\n")).unwrap();
}

#[test]
fn a_preference_file_hovers_drops_and_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("moje dane.jsonl");
    pairs(&file);
    let mut bench = open(USUAL, Theme::Dark);
    hover(&mut bench, Some(&file));
    bench.get_by_label("Release to train on these pairs");
    picture(&mut bench, "drop-hover-dark");
    drop_paths(&mut bench, &[&file]);
    assert!(bench.query_by_label("Release to train on these pairs").is_none());
    wait(&mut bench, "the report", |state| state.data.ready().is_some_and(|r| r.path == file));
    let state = bench.state_mut().state();
    let report = state.data.ready().unwrap();
    assert_eq!((report.rows, report.usable), (3, 2));
    assert_eq!(
        state.form.get("eval_data"),
        "",
        "the demo's held-out pairs do not go with other pairs"
    );
    bench.get_by_label("2 pairs");
    bench.get_by_label("1 skipped");
    bench.state_mut().state().place = Place::Data;
    bench.run_steps(3);
    bench.get_by_label("1 skipped row");
    picture(&mut bench, "data-dropped-dark");
}

#[test]
fn models_and_adapters_find_their_fields() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = dir.path().join("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::write(adapter.join("adapter_config.json"), "{}").unwrap();
    let mut bench = open(USUAL, Theme::Light);
    drop_paths(&mut bench, &[&adapter]);
    assert_eq!(Path::new(bench.state_mut().state().form.get("init_adapter")), adapter);
    let model = dir.path().join("broken model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    drop_paths(&mut bench, &[&model]);
    wait(&mut bench, "the model", |state| matches!(state.model, Loaded::Failed(_)));
    assert!(
        !bench.state_mut().state().can_start(),
        "a model that cannot be read cannot be trained"
    );
    picture(&mut bench, "train-broken-model-light");
}

#[test]
fn a_gguf_file_is_a_model() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/gguf/qwen2_bias_tied/model.gguf");
    let mut bench = open(USUAL, Theme::Light);
    hover(&mut bench, Some(&file));
    bench.get_by_label("Release to train this model");
    drop_paths(&mut bench, &[&file]);
    wait(&mut bench, "the model", |state| state.model.ready().is_some_and(|m| m.path == file));
    bench.get_by_label_contains("(GGUF Q8_0)");
    let state = bench.state_mut().state();
    assert_eq!(Path::new(state.form.get("model")), file);
    assert!(state.form.complaints().iter().all(|complaint| complaint.field != "model"));
}

#[test]
fn what_means_nothing_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let picture_file = dir.path().join("photo.png");
    fs::write(&picture_file, "x").unwrap();
    let mut bench = open(USUAL, Theme::Dark);
    let before = bench.state_mut().state().form.get("data").to_owned();
    hover(&mut bench, Some(&picture_file));
    bench.get_by_label_contains("nothing this window can use");
    picture(&mut bench, "drop-hover-wrong-dark");
    drop_paths(&mut bench, &[&picture_file]);
    bench.get_by_label("Nothing was changed");
    assert_eq!(bench.state_mut().state().form.get("data"), before);
    bench.get_by_label("Close").click();
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().dialog, None);
}

#[test]
fn two_files_of_one_kind_are_refused_together() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1.jsonl"), dir.path().join("2.jsonl"));
    pairs(&one);
    pairs(&two);
    let mut bench = open(USUAL, Theme::Dark);
    let before = bench.state_mut().state().form.get("data").to_owned();
    drop_paths(&mut bench, &[&one, &two]);
    bench.get_by_label_contains("one at a time");
    assert_eq!(bench.state_mut().state().form.get("data"), before);
}

#[test]
fn a_file_during_a_run_asks_before_it_changes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("next.jsonl");
    pairs(&file);
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, recorded_until(40));
    let before = bench.state_mut().state().form.get("data").to_owned();
    drop_paths(&mut bench, &[&file]);
    assert!(matches!(bench.state_mut().state().dialog, Some(Dialog::ReplaceDuringRun(_))));
    assert_eq!(bench.state_mut().state().form.get("data"), before);
    picture(&mut bench, "drop-during-run-dark");
    bench.get_by_label("Change nothing").click();
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().form.get("data"), before);
    drop_paths(&mut bench, &[&file]);
    bench.get_by_label("Use it for the next run").click();
    bench.run_steps(3);
    assert_eq!(Path::new(bench.state_mut().state().form.get("data")), file);
    assert_eq!(bench.state().script.borrow().jobs.len(), 1, "the run that is on goes on");
}

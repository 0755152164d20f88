//! Does a run read from its folder stand as its events say, line by line?

use std::fs;
use std::path::Path;

use dpop_studio::report::run_view::{RunView, Status};
use dpop_studio::report::series::Source;
use dpop_studio::report::{Skip, read};
use dpop_studio::run::events;

const RECORDED: &str = include_str!("fixtures/recorded_run/events.jsonl");

fn written(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(events::FILE), text).unwrap();
    folder
}

/// As the window folds events that it hears one by one.
fn folded(folder: &Path) -> RunView {
    RunView::from_events(events::read(folder).unwrap())
}

fn assert_same(read: &RunView, folded: &RunView) {
    assert_eq!(read.status, folded.status);
    assert_eq!((read.step, read.pace, &read.arms), (folded.step, folded.pace, &folded.arms));
    assert_eq!(read.collapses, folded.collapses);
    let points = |view: &RunView| -> Vec<_> {
        let all = view.store.all().into_iter();
        all.map(|(key, s)| (key.clone(), s.steps().to_vec(), s.values().to_vec())).collect()
    };
    assert_eq!(points(read), points(folded));
    assert_eq!(read.clock.values(), folded.clock.values());
}

#[test]
fn the_fast_way_reads_what_the_slow_way_reads() {
    let folder = written(RECORDED);
    let view = read(folder.path(), Skip::Nothing).unwrap();
    assert_same(&view, &folded(folder.path()));
    assert_eq!(view.store.get(Source::Step, "dpo", "change/chosen").unwrap().len(), 200);
    assert_eq!(view.clock.len(), 200);
}

#[test]
fn torn_foreign_and_rearranged_lines_do_no_harm() {
    let lines: Vec<&str> = RECORDED.lines().take(40).collect();
    let step = lines.iter().find(|line| line.contains(r#""event":"step","step":20,"#)).unwrap();
    let torn = &step[..step.len() / 2];
    let twice = step
        .replace(r#""step":20"#, r#""step":30"#)
        .replace("dpo\":{\"dpop/active", "dpo\":{\"new\":1.5,\"dpop/active");
    // An event whose metrics stand in front of its step.
    let turned = r#"{"event":"step","arms":{"dpop":{"loss":9.0}},"step":31,"epoch":0.1,"elapsed":99.0,"tokens_per_second":1.0,"num_tokens":1,"memory_bytes":1}"#;
    let text = format!("{}\n{torn}\n{twice}\n{turned}\nnot json\n{torn}", lines.join("\n"));
    let folder = written(&text);
    let view = read(folder.path(), Skip::Nothing).unwrap();
    let expected = folded(folder.path());
    assert_eq!((view.step, &view.status), (31, &Status::Interrupted));
    assert_eq!(view.store.get(Source::Step, "dpop", "loss").unwrap().last(), Some((31.0, 9.0)));
    assert_eq!(view.store.get(Source::Step, "dpo", "new").unwrap().last(), Some((30.0, 1.5)));
    assert_eq!(view.step, expected.step);
    assert_eq!(view.status, expected.status);
}

#[test]
fn final_figures_need_no_steps() {
    let folder = written(RECORDED);
    let view = read(folder.path(), Skip::Steps).unwrap();
    let whole = folded(folder.path());
    assert!(view.clock.is_empty());
    assert_eq!(view.collapses, whole.collapses);
    for metric in ["rewards/margins", "change/chosen"] {
        let last = |view: &RunView| view.last(Source::Probe, "dpop", metric);
        assert_eq!(last(&view), last(&whole));
    }
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(read(nothing.path(), Skip::Nothing).unwrap().status, Status::Idle);
}

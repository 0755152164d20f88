//! The forecast before training in the window: asked for, read, narrowed down, written as a new file.

mod window;

use std::fs;

use dpop_studio::report::palette::DARK;
use dpop_studio::ui::export::{Export, Subject, pack};
use dpop_studio::ui::state::{Loaded, Place, State};
use dpop_studio::ui::views::charts::Look;
use eframe::egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::Queryable;
use window::{Bench, SMALL, USUAL, drop_paths, open_with, picture, recorded_until, start, wait};

/// The window with some rows of the demo, one of them twice, and the real program behind it.
fn with_pairs(size: [f32; 2], theme: Theme) -> Bench {
    let mut bench = open_with(size, theme, Vec::new(), |folders| {
        folders.program = env!("CARGO_BIN_EXE_dpop-studio").into();
    });
    let ready = |state: &State| {
        matches!(state.data, Loaded::Ready(_)) && matches!(state.model, Loaded::Ready(_))
    };
    wait(&mut bench, "the demo", ready);
    let demo = bench.state_mut().state().form.path("data").unwrap();
    let text = fs::read_to_string(demo).unwrap();
    let rows: Vec<&str> = text.lines().take(40).collect();
    let file = bench.state().runs().parent().unwrap().join("żółte pairs.jsonl");
    fs::write(&file, format!("{}\n{}\n", rows.join("\n"), rows[3])).unwrap();
    drop_paths(&mut bench, &[&file]);
    wait(&mut bench, "the pairs", |state| state.data.ready().is_some_and(|d| d.usable == 41));
    bench.state_mut().state().form.set("device", "cpu");
    bench.state_mut().state().notices.clear();
    bench.run_steps(3);
    bench
}

fn scored(bench: &mut Bench) {
    bench.key_press_modifiers(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::F);
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().place, Place::Data);
    wait(bench, "the forecast", |state| {
        assert!(
            !matches!(state.foresight.scored, Loaded::Failed(_)),
            "{:?}",
            state.foresight.scored
        );
        state.foresight.scored.ready().is_some()
    });
}

fn type_into(bench: &mut Bench, name: &str, text: &str) {
    bench.get_by_label(name).focus();
    bench.run_steps(2);
    bench.get_by_label(name).type_text(text);
    bench.run_steps(4);
}

#[test]
fn pairs_are_scored_cut_and_saved() {
    let mut bench = with_pairs(USUAL, Theme::Dark);
    bench.key_press_modifiers(Modifiers::COMMAND, Key::Num2);
    bench.run_steps(3);
    bench.get_by_label("Forecast").click();
    bench.run_steps(3);
    bench.get_by_label("What would training do to these pairs?");
    picture(&mut bench, "forecast-ask-dark");
    scored(&mut bench);
    bench.get_by_label("41 pairs, no rule set");
    bench.get_by_label("Without 1 repeated and 0 contradicting rows").click();
    bench.run_steps(3);
    bench.get_by_label("40 of 41 pairs pass");
    let forecast = bench.state_mut().state().foresight.scored.ready().cloned().unwrap();
    let mut surprise: Vec<f64> = forecast.pairs.iter().map(|pair| pair.surprise).collect();
    surprise.sort_by(f64::total_cmp);
    // The first row of the table is the pair that is likely to fall first; its text comes on demand.
    let first = forecast.first_to_fall[0];
    picture(&mut bench, "forecast-dark");
    bench.get_by_label_contains(&format!("pair {first}, ")).click();
    wait(&mut bench, "its text", |state| state.foresight.text.ready().is_some());
    assert_eq!(bench.state_mut().state().foresight.text.ready().unwrap().row, first);
    let middle = (surprise[20] + surprise[19]) / 2.0;
    type_into(&mut bench, "Surprise at most", &format!("{middle}"));
    picture(&mut bench, "forecast-cut-dark");
    let filter = bench.state_mut().state().foresight.rules.filter();
    let kept = filter.rows(&forecast);
    assert!((19..=20).contains(&kept.len()), "half of them: {}", kept.len());
    bench.get_by_label(&format!("{} of 41 pairs pass", kept.len()));
    assert_eq!(bench.unnamed_widgets(), Vec::<String>::new());

    // What the button asks to be saved is those rows, as they stand in the file.
    let data = bench.state_mut().state().form.path("data").unwrap();
    let export = Export::Rows { data: data.clone(), rows: kept.clone() };
    assert_eq!(export.file_name("run"), "żółte pairs-kept.jsonl");
    let target = data.with_file_name("kept.jsonl");
    let state = bench.state_mut().state();
    let (run, compare, look) = (&state.run, &state.compare, Look::of(state));
    let subject = Subject { run, compare, look, palette: &DARK };
    pack(&export, &subject).unwrap().write(&target).unwrap();
    let all = fs::read_to_string(&data).unwrap();
    let all: Vec<&str> = all.lines().collect();
    let wanted: String = kept.iter().map(|row| format!("{}\n", all[*row])).collect();
    assert_eq!(fs::read_to_string(&target).unwrap(), wanted);

    // Another file: the forecast spoke of the old one.
    drop_paths(&mut bench, &[&target]);
    wait(&mut bench, "the kept pairs", |state| {
        state.data.ready().is_some_and(|data| data.usable == kept.len())
    });
    assert!(matches!(bench.state_mut().state().foresight.scored, Loaded::Nothing));
}

#[test]
fn it_fits_a_small_window_and_says_what_is_wrong() {
    let mut bench = with_pairs(SMALL, Theme::Light);
    scored(&mut bench);
    type_into(&mut bench, "CHES at most", "high");
    bench.get_by_label("“high” is no number");
    bench.get_by_label("Sort pairs by wrong way").click();
    bench.run_steps(3);
    picture(&mut bench, "forecast-small-light");
}

#[test]
fn a_device_that_is_not_there_is_said_and_a_run_keeps_its_device() {
    let mut bench = with_pairs(USUAL, Theme::Light);
    bench.state_mut().state().form.set("device", "wgpu:no such device");
    bench.run_steps(3);
    bench.key_press_modifiers(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::F);
    bench.run_steps(3);
    wait(&mut bench, "the failure", |state| matches!(state.foresight.scored, Loaded::Failed(_)));
    // The forecast says it, and so does what keeps Start off.
    wait(&mut bench, "the plan", |state| !state.start_hindrances().is_empty());
    assert!(bench.query_all_by_label_contains("no such device").count() >= 2);
    assert!(!bench.state_mut().state().can_start());
    picture(&mut bench, "forecast-failed-light");
    bench.state_mut().state().form.set("device", "cpu");
    bench.run_steps(3);
    start(&mut bench, recorded_until(20));
    assert!(!bench.state_mut().state().can_forecast(), "the run has the device");
}

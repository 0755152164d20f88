//! Does Inspect show what the arms answered, step by step, of a past run and of the one that goes on?

mod program;
mod recorded;
mod window;

use std::path::{Path, PathBuf};

use dpop_studio::ui::state::{Loaded, Place};
use eframe::egui::{Key, Theme};
use egui_kittest::kittest::Queryable;
use window::{Bench, SMALL, USUAL, open, open_with, picture, recorded_until, start, wait};

const RIGHT: &str = "So Zoe has 9 + 18 = 27 plums.";
const SLIP: &str = "So Zoe has 99 + 18 = 117 plums.";

fn past(size: [f32; 2], theme: Theme) -> Bench {
    answers_of(size, theme, |run| {
        recorded::write(run);
        recorded::write_probe(run);
    })
}

/// The window with the answers of a run that `prepare` makes.
fn answers_of(size: [f32; 2], theme: Theme, prepare: impl FnOnce(&Path)) -> Bench {
    answers_by(env!("CARGO_BIN_EXE_dpop-studio").into(), size, theme, prepare)
}

/// The same with `program` for work in processes of its own.
fn answers_by(
    program: PathBuf,
    size: [f32; 2],
    theme: Theme,
    prepare: impl FnOnce(&Path),
) -> Bench {
    let run = "2026-11-23T10-15-00-pairs_train";
    let mut bench = open_with(size, theme, Vec::new(), |folders| {
        folders.program = program;
        prepare(&folders.runs.join(run));
    });
    bench.get_by_label("Runs").click();
    wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|r| r.len() == 1));
    bench.get_by_label_contains(&format!("Run {run}")).click();
    wait(&mut bench, "the run", |state| matches!(state.opened, Loaded::Ready(_)));
    bench.get_by_label("Inspect pairs").click();
    wait(&mut bench, "its tokens", |state| matches!(state.probe, Loaded::Ready(_)));
    bench.get_by_label("Answers").click();
    bench.run_steps(3);
    bench
}

fn shown(bench: &Bench, words: &str) -> usize {
    bench.query_all_by_label_contains(words).count()
}

#[test]
fn a_past_run_shows_its_answers_at_every_step() {
    let mut bench = past(USUAL, Theme::Dark);
    bench.get_by_label("step 200");
    // Preferred, base and DPOP are right; DPO slips.
    assert_eq!((shown(&bench, RIGHT), shown(&bench, SLIP)), (3, 1));
    assert_eq!(shown(&bench, "Base model"), 2);
    picture(&mut bench, "answers-dark");
    bench.get_by_label("Step of the probe").focus();
    bench.run_steps(2);
    bench.key_press(Key::ArrowLeft);
    bench.run_steps(3);
    bench.get_by_label("step 100");
    assert_eq!((shown(&bench, RIGHT), shown(&bench, SLIP)), (4, 0));
    assert_eq!(shown(&bench, "59 - 10 = 59 eggs"), 1, "DPO's slip in the other prompt");
    bench.key_press(Key::ArrowLeft);
    bench.run_steps(3);
    bench.get_by_label("step 0");
    assert_eq!(shown(&bench, "59 - 10 = 59 eggs"), 0);
    // The probe pairs follow the same step.
    bench.get_by_label("Probe pairs").click();
    wait(&mut bench, "step 0", |state| {
        state.probe.ready().is_some_and(|probe| probe.now.step == 0)
    });
    assert_eq!(bench.unnamed_widgets(), Vec::<String>::new());
}

#[test]
fn a_small_window_shows_them_too() {
    let mut bench = past(SMALL, Theme::Light);
    assert_eq!(shown(&bench, SLIP), 1);
    picture(&mut bench, "answers-small-light");
}

#[test]
fn a_run_that_goes_on_shows_its_newest_answers() {
    let mut bench = open(USUAL, Theme::Light);
    start(&mut bench, recorded_until(150));
    bench.state_mut().state().place = Place::Inspect;
    bench.run_steps(3);
    bench.get_by_label("Answers").click();
    bench.run_steps(3);
    bench.get_by_label("step 100");
    assert_eq!(shown(&bench, "59 - 10 = 59 eggs"), 1);
    bench.get_by_label_contains("Write a prompt here when the run has ended");
    window::say(
        &mut bench,
        recorded::events().into_iter().skip_while(|event| {
            !matches!(event, dpop_studio::train::event::Event::Sample { step: 200, .. })
        }),
    );
    bench.get_by_label("step 200");
    assert_eq!(shown(&bench, SLIP), 1);
    picture(&mut bench, "answers-live-light");
}

#[test]
fn a_run_without_answers_says_so() {
    let mut bench = open(USUAL, Theme::Dark);
    let without = |event: &dpop_studio::train::event::Event| {
        !matches!(event, dpop_studio::train::event::Event::Sample { .. })
    };
    start(&mut bench, recorded::events().into_iter().filter(without));
    bench.state_mut().state().place = Place::Inspect;
    bench.run_steps(3);
    bench.get_by_label("Answers").click();
    bench.run_steps(3);
    bench.get_by_label_contains("has written no answers");
}

fn ask(bench: &mut Bench, prompt: &str) {
    bench.get_by_label("Your own prompt").focus();
    bench.run_steps(2);
    bench.get_by_label("Your own prompt").type_text(prompt);
    bench.run_steps(3);
    bench.get_by_label("Ask").click();
    bench.run_steps(2);
}

/// A run of this program, and its answers by this program: nothing here is made up.
#[test]
fn a_finished_run_answers_a_prompt_of_ones_own() {
    let mut bench = answers_of([1360.0, 1000.0], Theme::Dark, |run| {
        let options = ["--steps", "40", "--learning-rate", "4e-3", "--seed", "3"];
        let ran = program::run(program::train(run, &options));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    });
    let question = "Question: Sam has 64 eggs. Sam sells 15 eggs on Monday and 10 eggs on Friday. Eva has 2 times \
                    what is left. How many eggs does Eva have?\nAnswer:";
    ask(&mut bench, question);
    wait(&mut bench, "an answer", |state| {
        matches!(state.inspect.asked, Loaded::Ready(_) | Loaded::Failed(_))
    });
    let Loaded::Ready(asked) = bench.state_mut().state().inspect.asked.clone() else {
        panic!("{:?}", bench.state_mut().state().inspect.asked)
    };
    let base = asked.reference.clone().unwrap();
    assert_eq!((base.ended, base.text.trim_end().ends_with("#### 78")), (true, true), "{base:?}");
    assert_eq!(asked.arms.keys().map(String::as_str).collect::<Vec<_>>(), ["dpo", "dpop"]);
    assert_eq!(asked.step, 40);
    bench.run_steps(3);
    bench.get_by_label("After 40 steps");
    picture(&mut bench, "answers-asked-dark");
    assert_eq!(bench.unnamed_widgets(), Vec::<String>::new());
}

/// The program here is one that never answers.
#[cfg(unix)]
#[test]
fn answers_that_nobody_wants_any_more_are_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let slow = folder.path().join("slow");
    // Written by another process: a file that this one had open for writing may not be run while a sibling test forks.
    let script = r#"printf '#!/bin/sh\nexec sleep 600\n' > "$0" && chmod +x "$0""#;
    let made = std::process::Command::new("sh").args(["-c", script]).arg(&slow).status().unwrap();
    assert!(made.success());
    let mut bench = answers_by(slow, USUAL, Theme::Light, |run| {
        recorded::write(run);
        recorded::write_probe(run);
    });
    ask(&mut bench, "How many?");
    assert!(matches!(bench.state_mut().state().inspect.asked, Loaded::Loading));
    picture(&mut bench, "answers-asking-light");
    bench.get_by_label("Stop").click();
    // The ended process is heard of, and not shown.
    std::thread::sleep(std::time::Duration::from_millis(300));
    bench.run_steps(5);
    assert!(matches!(bench.state_mut().state().inspect.asked, Loaded::Nothing));
    assert!(bench.query_by_label("Stop").is_none());
}

#[test]
fn a_run_that_cannot_answer_says_why() {
    let mut bench = past(USUAL, Theme::Dark);
    // Its checkpoints were not recorded, and its model lies nowhere.
    ask(&mut bench, "How many?");
    wait(&mut bench, "a complaint", |state| matches!(state.inspect.asked, Loaded::Failed(_)));
    bench.get_by_label_contains("/models/tiny-math-llama");
    picture(&mut bench, "answers-refused-dark");
}

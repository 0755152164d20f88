//! Does Train show a run, from the first look to its end, in light and dark, wide and narrow?

mod window;

use dpop_studio::report::charts::Scale;
use dpop_studio::report::run_view::Status;
use dpop_studio::train::event::{Command, Event};
use dpop_studio::ui::state::Dialog;
use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::{NodeT, Queryable};
use window::{SMALL, USUAL, open, picture, recorded, recorded_until, say, start, wait};

#[test]
fn the_demo_is_chosen_and_start_works_at_once() {
    let mut bench = open(USUAL, Theme::Dark);
    assert_eq!(bench.state_mut().state().start_hindrances(), Vec::<String>::new());
    let start = bench.get_by_label("Start");
    assert!(!start.accesskit_node().is_disabled());
    bench.get_by_label("512 pairs");
    bench.get_by_label("tiny-math-llama");
    picture(&mut bench, "train-ready-dark");
    bench.get_by_label("Start").click();
    bench.run_steps(3);
    let script = bench.state().script.clone();
    let args = script.borrow().jobs[0].args.clone();
    assert_eq!(args[0], "train");
    for flag in ["--model", "--data", "--eval-data", "--objective", "--run", "--json", "--worker"] {
        assert!(args.iter().any(|arg| arg == flag), "{flag} in {args:?}");
    }
    assert!(bench.state_mut().state().run.status.is_active());
}

#[test]
fn a_whole_run_in_the_dark() {
    let mut bench = open(USUAL, Theme::Dark);
    let first = recorded_until(100);
    let rest = recorded().split_off(first.len());
    start(&mut bench, first);
    bench.get_by_label_contains("Step 100 of 200");
    bench.get_by_label("Pause");
    bench.get_by_label_contains("DPO collapses at step 50");
    picture(&mut bench, "train-half-dark");
    say(&mut bench, rest);
    bench.get_by_label_contains("Adapter saved in");
    bench.get_by_label("Open folder");
    bench.get_by_label("Finished");
    picture(&mut bench, "train-done-dark");
    let state = bench.state_mut().state();
    assert_eq!(state.run.collapses[0].step, 50);
    assert!(matches!(state.run.status, Status::Finished { .. }));
}

#[test]
fn light_and_narrow_with_every_scale() {
    for (size, theme, name) in [
        (USUAL, Theme::Light, "usual-light"),
        (SMALL, Theme::Light, "small-light"),
        (SMALL, Theme::Dark, "small-dark"),
    ] {
        let mut bench = open(size, theme);
        start(&mut bench, recorded());
        picture(&mut bench, &format!("train-{name}"));
        bench.get_by_label("Sum").click();
        bench.run_steps(3);
        assert_eq!(bench.state_mut().state().scale, Scale::Sum);
        bench.get_by_label("Change from reference").click();
        bench.run_steps(3);
        assert_eq!(bench.state_mut().state().scale, Scale::Change);
        picture(&mut bench, &format!("train-{name}-change"));
    }
}

#[test]
fn hovering_reads_every_series_at_that_step() {
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, recorded());
    bench.hover_at(eframe::egui::pos2(800.0, 330.0));
    bench.run_steps(4);
    let step = bench.state_mut().state().hover.expect("the cursor stands at a step");
    assert_eq!(step % 10.0, 0.0, "only recorded steps are read");
    bench.get_by_label(&format!("Step {step:.0}"));
    picture(&mut bench, "train-hover-dark");
}

#[test]
fn the_keyboard_zooms_moves_reads_and_resets() {
    let mut bench = open(USUAL, Theme::Light);
    start(&mut bench, recorded());
    let alt = Modifiers::ALT;
    bench.key_press_modifiers(alt, Key::ArrowLeft);
    bench.run_steps(2);
    assert_eq!(bench.state_mut().state().hover, Some(190.0), "the measured step before the last");
    bench.key_press_modifiers(alt, Key::ArrowUp);
    bench.key_press_modifiers(alt, Key::ArrowUp);
    bench.run_steps(3);
    picture(&mut bench, "train-zoomed-light");
    let whole = bench.get_by_label("Show the whole run");
    assert!(!whole.accesskit_node().is_disabled());
    bench.key_press_modifiers(alt, Key::Num0);
    bench.run_steps(2);
    assert!(bench.get_by_label("Show the whole run").accesskit_node().is_disabled());
    bench.get_by_label("Time").click();
    bench.run_steps(3);
    picture(&mut bench, "train-time-light");
    bench.get_by_label("Epoch").click();
    bench.get_by_label("Smooth").click();
    bench.run_steps(3);
    picture(&mut bench, "train-epoch-smooth-light");
}

#[test]
fn everything_that_can_be_saved_is_in_one_menu() {
    let mut bench = open(SMALL, Theme::Dark);
    start(&mut bench, recorded());
    bench.get_by_label("Save…").click();
    bench.run_steps(4);
    for what in ["main chart as PNG", "all charts as SVG", "values as CSV", "report as HTML"] {
        bench.get_by_label_contains(&format!("Save {what}…"));
    }
    picture(&mut bench, "train-save-menu-small-dark");
}

#[test]
fn the_window_scales_between_100_and_200_per_cent() {
    let mut bench = open([2048.0, 1400.0], Theme::Dark);
    start(&mut bench, recorded());
    for _ in 0..14 {
        bench.key_press_modifiers(Modifiers::COMMAND, Key::Plus);
        bench.run_steps(2);
    }
    assert_eq!(bench.ctx.zoom_factor(), 2.0);
    picture(&mut bench, "train-200-percent-dark");
    bench.key_press_modifiers(Modifiers::COMMAND, Key::Num0);
    bench.run_steps(2);
    bench.key_press_modifiers(Modifiers::COMMAND, Key::Minus);
    bench.run_steps(2);
    assert_eq!(bench.ctx.zoom_factor(), 1.0);
}

/// The insight of the probe: where four of five pairs lie.
fn with_spread(events: Vec<Event>) -> Vec<Event> {
    let widened = |event| match event {
        Event::Probe { step, mut arms, pairs } => {
            for metrics in arms.values_mut() {
                for answer in ["chosen", "rejected"] {
                    let mean = metrics[&format!("logps_per_token/{answer}")];
                    for (name, factor) in [("p10", 1.7), ("p90", 0.3)] {
                        let name = format!("logps_per_token/{answer}_{name}");
                        metrics.insert(name, mean * factor - 0.004);
                    }
                }
            }
            Event::Probe { step, arms, pairs }
        }
        other => other,
    };
    events.into_iter().map(widened).collect()
}

#[test]
fn the_spread_of_the_pairs_is_a_tint_around_the_curves() {
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, with_spread(recorded()));
    bench.get_by_label("tint: four of five pairs");
    picture(&mut bench, "train-spread-dark");
}

#[test]
fn start_is_off_while_a_field_complains() {
    let mut bench = open(USUAL, Theme::Light);
    bench.state_mut().state().form.set("beta", "-1");
    bench.state_mut().state().form.set("rank", "two");
    bench.run_steps(3);
    let start = bench.get_by_label("Start");
    assert!(start.accesskit_node().is_disabled());
    bench.get_by_label("“two” is no number");
    bench.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    bench.run_steps(2);
    assert!(bench.state().script.borrow().jobs.is_empty());
    picture(&mut bench, "train-complaints-light");
}

#[test]
fn typing_into_a_field_reaches_the_configuration() {
    let mut bench = open(USUAL, Theme::Dark);
    let beta = bench.get_by_role_and_label(Role::TextInput, "beta");
    assert_eq!(beta.value().as_deref(), Some("0.1"));
    beta.focus();
    bench.run_steps(2);
    bench.key_press_modifiers(Modifiers::COMMAND, Key::A);
    bench.get_by_role_and_label(Role::TextInput, "beta").type_text("0.25");
    bench.run_steps(3);
    let config = bench.state_mut().state().form.config().expect("valid");
    assert_eq!(config.beta, 0.25);
}

#[test]
fn pause_resume_stop_are_sent_and_shown() {
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, recorded_until(50));
    bench.get_by_label("Pause").click();
    bench.run_steps(2);
    say(&mut bench, [Event::Paused { step: 50 }]);
    bench.get_by_label("Paused");
    picture(&mut bench, "train-paused-dark");
    bench.get_by_label("Resume").click();
    bench.run_steps(2);
    say(&mut bench, [Event::Resumed { step: 50 }]);
    bench.get_by_label("Stop and save").click();
    bench.run_steps(2);
    bench.get_by_label("Saving and stopping");
    assert_eq!(
        bench.state().script.borrow().heard,
        [Command::Pause, Command::Resume, Command::Stop]
    );
    say(&mut bench, [Event::Stopped { step: 51, checkpoint: "/runs/r/checkpoint-51".into() }]);
    bench.get_by_label_contains("Stopped at step 51");
    bench.get_by_label("Start");
}

#[test]
fn a_dead_worker_is_explained_with_its_last_words() {
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, recorded_until(90));
    say(&mut bench, [Event::Checkpoint { step: 90, path: "/runs/r/checkpoint-90".into() }]);
    bench.state().script.borrow_mut().silent_for = 9.0;
    bench.run_steps(3);
    bench.get_by_label_contains("No sign of life");
    let message = "The GPU was lost: VK_ERROR_DEVICE_LOST. Resume with fewer pairs per pass.";
    {
        let mut script = bench.state().script.borrow_mut();
        script.log = vec!["burn: out of memory".into(), "trainer: giving up".into()];
        script.say.push_back(Event::Failed { message: message.into() });
        script.ended = true;
    }
    bench.run_steps(4);
    bench.get_by_label_contains(message);
    bench.get_by_label("trainer: giving up");
    picture(&mut bench, "train-failed-dark");
    bench.get_by_label("Resume").click();
    bench.run_steps(3);
    let jobs = bench.state().script.borrow().jobs.clone();
    assert_eq!(jobs[1].args[1], "--resume");
}

#[test]
fn quitting_during_a_run_asks_first() {
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, recorded_until(90));
    let viewport = bench.input_mut().viewports.entry(eframe::egui::ViewportId::ROOT).or_default();
    viewport.events.push(eframe::egui::ViewportEvent::Close);
    bench.step();
    if let Some(viewport) = bench.input_mut().viewports.get_mut(&eframe::egui::ViewportId::ROOT) {
        viewport.events.clear();
    }
    bench.run_steps(2);
    assert_eq!(bench.state_mut().state().dialog, Some(Dialog::CloseDuringRun));
    picture(&mut bench, "train-close-question");
    bench.get_by_label("Save and close").click();
    bench.run_steps(2);
    assert_eq!(bench.state().script.borrow().heard, [Command::Stop]);
    assert!(bench.state_mut().state().stopping);
}

#[test]
fn the_palette_runs_commands() {
    let mut bench = open(USUAL, Theme::Dark);
    bench.key_press_modifiers(Modifiers::COMMAND, Key::K);
    bench.run_steps(3);
    bench.get_by_label("Find a command").type_text("runs");
    bench.run_steps(3);
    picture(&mut bench, "palette-dark");
    bench.key_press(Key::Enter);
    bench.run_steps(3);
    wait(&mut bench, "the place", |state| state.place == dpop_studio::ui::state::Place::Runs);
}

/// A frame draws reduced points: its cost must not grow with the length of the run.
#[test]
fn a_long_run_is_drawn_as_fast_as_a_short_one() {
    let frame_of = |steps: usize| {
        let mut bench = open(USUAL, Theme::Dark);
        start(&mut bench, recorded_until(1));
        let arms = recorded().into_iter().find_map(|event| match event {
            Event::Step { arms, .. } => Some(arms),
            _ => None,
        });
        let arms = arms.expect("a step was recorded");
        let state = bench.state_mut().state();
        state.run.steps = steps;
        for step in 2..=steps {
            let mut arms = arms.clone();
            for metrics in arms.values_mut() {
                for value in metrics.values_mut() {
                    *value *= 1.0 + 0.3 * (step as f64 * 0.37).sin();
                }
            }
            let event = Event::Step {
                step,
                epoch: 0.0,
                elapsed: step as f64,
                tokens_per_second: 1.0,
                num_tokens: 0,
                memory_bytes: 0,
                arms,
            };
            state.apply([event]);
        }
        bench.run_steps(3);
        let frames = 20;
        let begun = std::time::Instant::now();
        bench.run_steps(frames);
        begun.elapsed().as_secs_f64() / frames as f64
    };
    let (short, long) = (frame_of(400), frame_of(40_000));
    println!("a frame of 400 steps: {:.2} ms, of 40 000: {:.2} ms", short * 1e3, long * 1e3);
    // Lines of a long run have two points a pixel, those of a short one fewer.
    assert!(long < 10.0 * short + 0.02, "{short} s against {long} s a frame");
}

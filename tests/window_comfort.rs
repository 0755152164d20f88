//! Is the window kind to people: the tour, undo, settings by name, files used before, messages, notes on a run?

mod recorded;
mod window;

use dpop_studio::train::event::Event;
use dpop_studio::ui::drop::Dropped;
use dpop_studio::ui::memory::Memory;
use dpop_studio::ui::state::Place;
use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers, Theme};
use egui_kittest::kittest::Queryable;
use window::{SMALL, USUAL, drop_paths, open, open_with, picture, say, start, wait};

#[test]
fn the_tour_has_three_stops_and_comes_once() {
    for (size, theme, name) in [(USUAL, Theme::Dark, "dark"), (SMALL, Theme::Light, "small-light")]
    {
        let mut bench = open_with(size, theme, Vec::new(), |folders| {
            std::fs::remove_file(&folders.memory).unwrap();
        });
        for stop in 1..=3 {
            bench.get_by_label(&format!("{stop} of 3"));
            picture(&mut bench, &format!("tour-{stop}-{name}"));
            bench.get_by_label(if stop < 3 { "Next" } else { "Done" }).click();
            bench.run_steps(3);
        }
        assert!(bench.query_by_label_contains("of 3").is_none());
        assert!(Memory::read(bench.state().memory()).toured, "it does not come again");
        let state = bench.state_mut().state();
        assert_eq!(state.tour, None);
    }
}

/// By keyboard alone, and nothing behind the shade is in reach.
#[test]
fn the_tour_is_walked_by_enter() {
    let mut bench = open_with(USUAL, Theme::Dark, Vec::new(), |folders| {
        std::fs::remove_file(&folders.memory).unwrap();
    });
    bench.run_steps(3);
    let behind = bench.get_by_role_and_label(Role::Button, "Data").rect().center();
    for pressed in [true, false] {
        bench.event(eframe::egui::Event::PointerMoved(behind));
        bench.event(eframe::egui::Event::PointerButton {
            pos: behind,
            button: eframe::egui::PointerButton::Primary,
            pressed,
            modifiers: Modifiers::default(),
        });
        bench.run_steps(2);
    }
    assert_eq!(bench.state_mut().state().place, Place::Train, "a click went through the shade");
    for stop in 1..=3 {
        bench.get_by_label(&format!("{stop} of 3"));
        bench.key_press(Key::Enter);
        bench.run_steps(4);
    }
    assert!(bench.query_by_label_contains("of 3").is_none());
}

/// What the trainer would refuse keeps Start off, in the words of the form.
#[test]
fn what_would_be_refused_keeps_start_off() {
    let mut bench = open_with(USUAL, Theme::Light, Vec::new(), |folders| {
        folders.program = env!("CARGO_BIN_EXE_dpop-studio").into();
    });
    wait(&mut bench, "the demo", |state| state.memory_need.is_some());
    assert!(bench.state_mut().state().can_start());
    for (name, value, words) in [
        ("compute_precision", "f16", "“Arithmetic” f32"),
        ("memory_limit", "0.0001", "“Memory limit”"),
        ("device", "wgpu:nowhere", "nowhere"),
    ] {
        let before = bench.state_mut().state().form.get(name).to_owned();
        if name != "device" {
            bench.state_mut().state().form.set("device", "cpu");
        }
        bench.state_mut().state().form.set(name, value);
        bench.run_steps(2);
        wait(&mut bench, "a refusal", |state| !state.start_hindrances().is_empty());
        let state = bench.state_mut().state();
        assert!(!state.can_start());
        let told = state.start_hindrances().join(" ");
        assert!(told.contains(words) && !told.contains("--"), "{name}: {told}");
        bench.get_by_label("Not ready");
        picture(&mut bench, &format!("refused-{name}-light"));
        bench.state_mut().state().form.set(name, before);
        bench.run_steps(2);
        wait(&mut bench, "a plan", |state| state.memory_need.is_some());
        assert!(bench.state_mut().state().can_start());
    }
}

/// The menu ends within the window; what does not fit is scrolled to.
#[test]
fn the_menu_fits_a_small_window() {
    let mut bench = open(SMALL, Theme::Dark);
    bench.get_by_label("Menu").click();
    bench.run_steps(4);
    picture(&mut bench, "menu-small-dark");
    let bottom = |bench: &window::Bench| bench.get_by_label_contains("Quit").rect().bottom();
    assert!(bottom(&bench) > SMALL[1], "it needs no scrolling, and this test shows nothing");
    let first = bench.get_by_label_contains("Open GGUF file…").rect().center();
    bench.hover_at(first);
    for _ in 0..40 {
        bench.event(eframe::egui::Event::MouseWheel {
            unit: eframe::egui::MouseWheelUnit::Point,
            delta: eframe::egui::vec2(0.0, -60.0),
            modifiers: Modifiers::default(),
            phase: eframe::egui::TouchPhase::Move,
            source: eframe::egui::MouseWheelSource::Wheel,
        });
        bench.run_steps(1);
    }
    bench.run_steps(20);
    assert!(bottom(&bench) <= SMALL[1], "Quit is at {}", bottom(&bench));
}

/// A run that failed before its first figure is gone when something else is chosen.
#[test]
fn a_failed_start_does_not_stay() {
    let mut bench = open(USUAL, Theme::Light);
    start(&mut bench, [Event::Failed { message: "no such thing: use --rank 4".to_owned() }]);
    bench.get_by_label_contains("use “Rank r” 4");
    let file = bench.state().runs().parent().unwrap().join("mine.jsonl");
    let row = r#"{"prompt":"a","chosen":"b c","rejected":"b d"}"#;
    std::fs::write(&file, format!("{row}\n{row}\n{row}\n")).unwrap();
    drop_paths(&mut bench, &[&file]);
    wait(&mut bench, "the file", |state| state.data.ready().is_some_and(|d| d.path == file));
    assert!(bench.query_by_label_contains("The run failed").is_none());
}

#[test]
fn a_setting_is_taken_back_and_kept_by_name() {
    let mut bench = open(USUAL, Theme::Dark);
    bench.state_mut().state().form.set("beta", "0.42");
    bench.run_steps(2);
    bench.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    bench.run_steps(2);
    assert_eq!(bench.state_mut().state().form.get("beta"), "0.1");
    bench.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    bench.run_steps(2);
    assert_eq!(bench.state_mut().state().form.get("beta"), "0.42");

    bench.get_by_role_and_label(Role::ComboBox, "Preset").click();
    bench.run_steps(4);
    bench.get_by_label("Save settings as…").click();
    bench.run_steps(4);
    bench.get_by_label("Name of the settings").type_text("gentle");
    bench.run_steps(3);
    picture(&mut bench, "save-settings-dark");
    bench.get_by_label("Save").click();
    bench.run_steps(3);
    let kept = Memory::read(bench.state().memory());
    assert_eq!(kept.presets["gentle"]["beta"], "0.42");
    assert_eq!(bench.unnamed_widgets(), Vec::<String>::new());
}

#[test]
fn files_used_before_are_offered_again() {
    let mut bench = open(USUAL, Theme::Light);
    let file = bench.state().runs().parent().unwrap().join("mine.jsonl");
    let row = r#"{"prompt":"a","chosen":"b c","rejected":"b d"}"#;
    std::fs::write(&file, format!("{row}\n{row}\n{row}\n")).unwrap();
    drop_paths(&mut bench, &[&file]);
    assert_eq!(Memory::read(bench.state().memory()).data, std::slice::from_ref(&file));
    bench.state_mut().state().form.set("data", "");
    bench.run_steps(3);
    bench.get_by_label("Recent pairs").click();
    bench.run_steps(4);
    picture(&mut bench, "recent-light");
    bench.get_by_role_and_label(Role::Button, "mine.jsonl").click();
    bench.run_steps(3);
    wait(&mut bench, "the file", |state| state.form.path("data") == Some(file.clone()));
    assert!(Dropped::Data(file.clone()).path().is_file());
    bench.get_by_label_contains("Preference file: mine.jsonl");
    bench.state_mut().state().dialog = Some(dpop_studio::ui::state::Dialog::Messages);
    bench.run_steps(4);
    bench.get_by_label("Messages");
    picture(&mut bench, "messages-light");
}

#[test]
fn forecasts_warnings_and_advice_stand_beneath_the_chart() {
    for (size, theme, name) in [(USUAL, Theme::Dark, "dark"), (SMALL, Theme::Light, "small-light")]
    {
        let mut bench = open(size, theme);
        start(&mut bench, recorded::events().into_iter().take(120));
        let pair = |row: usize, falls: bool| {
            serde_json::json!({ "row": row, "inner": 1.0, "chosen": 1.0, "rejected": 2.0,
                                "ratio": 1.0, "falls": falls, "heading": -0.01 })
        };
        let forecast = serde_json::json!({
            "event": "forecast", "step": 100, "arm": "dpo", "share": 0.75, "band": null,
            "pairs": [pair(0, true), pair(1, true), pair(2, true), pair(3, false)],
        });
        let forecast: Event = serde_json::from_value(forecast).unwrap();
        say(&mut bench, [forecast, Event::Warning { message: "The log grows.".into() }]);
        bench.get_by_label_contains("on 4 of 4");
        bench.get_by_label("The log grows.");
        picture(&mut bench, &format!("train-notes-{name}"));
    }
}

#[test]
fn what_a_run_says_out_of_sight_is_shown_and_kept_with_its_details() {
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, []);
    bench.state_mut().state().place = Place::Data;
    bench.run_steps(2);
    say(&mut bench, recorded::events());
    bench.get_by_label("DPO collapses at step 50");
    bench.get_by_label("The run ended after 200 steps");
    bench.get_all_by_label("Details: Menu, Messages").next().unwrap();
    picture(&mut bench, "notices-dark");
    bench.state_mut().state().notices.clear();
    bench.state_mut().state().dialog = Some(dpop_studio::ui::state::Dialog::Messages);
    bench.run_steps(4);
    bench.get_by_label_contains("although 78 % of the pairs are ranked right");
    picture(&mut bench, "messages-details-dark");

    // In Train the charts say it themselves: it is kept, not shown again.
    let mut bench = open(USUAL, Theme::Dark);
    start(&mut bench, recorded::events());
    let state = bench.state_mut().state();
    assert!(state.notices.is_empty());
    assert!(state.messages.iter().any(|notice| notice.text == "DPO collapses at step 50"));
}

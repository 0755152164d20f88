//! Do Data, Inspect and Runs show what they should, with and without something to show?

mod recorded;
mod window;

use std::fs;

use dpop_studio::ui::state::{Loaded, PairColumn, Place};
use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Theme};
use egui_kittest::kittest::Queryable;
use window::{SMALL, USUAL, open, open_with, picture, start, wait};

#[test]
fn data_shows_the_demo_pairs() {
    for (theme, name) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let mut bench = open(USUAL, theme);
        bench.get_by_role_and_label(Role::Button, "Data").click();
        bench.run_steps(3);
        bench.get_by_label("No skipped rows");
        bench.get_by_label("Every row is a usable pair.");
        picture(&mut bench, &format!("data-{name}"));
    }
}

#[test]
fn inspect_says_what_to_do_then_shows_and_sorts_pairs() {
    let mut bench = open(USUAL, Theme::Dark);
    bench.get_by_label("Inspect").click();
    bench.run_steps(3);
    bench.get_by_label("No probe yet");
    picture(&mut bench, "inspect-empty-dark");
    start(&mut bench, recorded::events());
    bench.get_by_label("Inspect").click();
    // The look begins a frame after the click; before that there is nothing to wait for.
    bench.run_steps(3);
    wait(&mut bench, "a look at the folder", |state| matches!(state.probe, Loaded::Nothing));
    bench.get_by_label_contains("no record of single tokens");
    picture(&mut bench, "inspect-sums-dark");
    bench.get_by_label("Sort by chosen").click();
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().inspect.sort, (PairColumn::Chosen, false));
    bench.get_by_label("Sort by chosen").click();
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().inspect.sort, (PairColumn::Chosen, true));
}

/// The window with a recorded run in Runs, its pairs in Inspect.
fn inspecting(size: [f32; 2], theme: Theme) -> window::Bench {
    let mut bench = open_with(size, theme, Vec::new(), |folders| {
        let run = folders.runs.join("2026-11-23T10-15-00-pairs_train");
        recorded::write(&run);
        recorded::write_probe(&run);
    });
    bench.get_by_label("Runs").click();
    wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|runs| runs.len() == 1));
    bench.get_by_label_contains("Run 2026-11-23T10-15-00-pairs_train").click();
    wait(&mut bench, "the run", |state| matches!(state.opened, Loaded::Ready(_)));
    bench.get_by_label("Inspect pairs").click();
    wait(&mut bench, "its tokens", |state| matches!(state.probe, Loaded::Ready(_)));
    bench
}

#[test]
fn a_past_run_is_looked_into_token_by_token() {
    let mut bench = inspecting([1360.0, 1000.0], Theme::Dark);
    bench.get_by_label("Where likelihood is lost");
    bench.get_by_label("step 200");
    bench.get_by_label("Row 0, token by token");
    picture(&mut bench, "inspect-tokens-dark");
    // The figure's numbers are those of the records: DPO's tokens behind the difference fell.
    let probe = bench.state_mut().state().probe.ready().cloned().unwrap();
    let behind = |arm: &str| probe.profiles[arm].after.unwrap();
    let reference = probe.reference_profile.after.unwrap();
    assert!(behind("dpo") < reference - 0.05 && behind("dpop") > reference - 0.02);
    // A pair's tokens add up to what the probe's event told of it.
    let told = bench.state_mut().state().opened.ready().unwrap().view.pairs["dpo"][0].clone();
    let changes = probe.changes("dpo", 0, true);
    let sum: f64 = changes.iter().map(|change| f64::from(*change)).sum();
    assert!((sum - (told.chosen - told.ref_chosen)).abs() < 1e-3, "{sum}");
    assert!(sum < -1.0, "DPO made the first pair's chosen answer much less likely");

    bench.get_by_label("Find pairs").focus();
    bench.run_steps(2);
    bench.get_by_label("Find pairs").type_text("apples");
    bench.run_steps(3);
    bench.get_by_label_contains("of 32 pairs");
    bench.get_by_label("Sort by margin").click();
    bench.run_steps(3);
    let row = bench.get_all_by_role(Role::Row).last().unwrap();
    row.click();
    bench.run_steps(3);
    assert_ne!(bench.state_mut().state().inspect.pair, 0);
    picture(&mut bench, "inspect-filtered-dark");
}

#[test]
fn the_slider_goes_back_to_an_earlier_probe() {
    let mut bench = inspecting(SMALL, Theme::Light);
    picture(&mut bench, "inspect-small-light");
    bench.get_by_label("Step of the probe").focus();
    bench.run_steps(2);
    bench.key_press(Key::ArrowLeft);
    bench.run_steps(2);
    wait(&mut bench, "step 150", |state| {
        state.probe.ready().is_some_and(|probe| probe.now.step == 150)
    });
    assert_eq!(bench.state_mut().state().inspect.step, Some(150));
    for _ in 0..3 {
        bench.key_press(Key::ArrowLeft);
        bench.run_steps(2);
    }
    wait(&mut bench, "step 0", |state| {
        state.probe.ready().is_some_and(|probe| probe.now.step == 0)
    });
    let probe = bench.state_mut().state().probe.ready().cloned().unwrap();
    assert!(probe.changes("dpo", 3, true).iter().all(|change| *change == 0.0));
    assert_eq!(bench.unnamed_widgets(), Vec::<String>::new());
}

#[test]
fn runs_lists_opens_and_deletes() {
    let mut bench = open_with(USUAL, Theme::Dark, Vec::new(), |folders| {
        let run = folders.runs.join("2026-11-23T10-15-00-pairs_train");
        recorded::write(&run);
        let torn = folders.runs.join("2026-11-22T09-00-00-other");
        fs::create_dir_all(&torn).unwrap();
        let half: String =
            recorded::TEXT.lines().take(100).map(|line| format!("{line}\n")).collect();
        fs::write(torn.join("events.jsonl"), half + "{\"event\": \"st").unwrap();
    });
    bench.get_by_label("Runs").click();
    wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|runs| runs.len() == 2));
    bench.get_by_label("No run selected");
    picture(&mut bench, "runs-list-dark");
    bench.get_by_label_contains("Run 2026-11-23T10-15-00-pairs_train").click();
    bench.run_steps(2);
    wait(&mut bench, "the run", |state| matches!(state.opened, Loaded::Ready(_)));
    bench.get_by_label_contains("DPO collapses at step 50");
    bench.get_by_label_contains("Adapter saved in");
    picture(&mut bench, "runs-detail-dark");
    bench.get_by_label("Delete…").click();
    bench.run_steps(3);
    bench.get_by_label("Delete this run?");
    picture(&mut bench, "runs-delete-question");
    bench.get_by_label("Delete").click();
    bench.run_steps(3);
    wait(&mut bench, "the deletion", |state| {
        state.runs.ready().is_some_and(|runs| runs.len() == 1)
    });
    assert!(!bench.state().runs().join("2026-11-23T10-15-00-pairs_train").exists());
}

#[test]
fn runs_are_compared_side_by_side() {
    for (size, theme, name) in [(USUAL, Theme::Dark, "dark"), (SMALL, Theme::Light, "small-light")]
    {
        let mut bench = open_with(size, theme, Vec::new(), |folders| {
            recorded::write(&folders.runs.join("2026-11-23T10-15-00-pairs_train"));
            let other = folders.runs.join("2026-11-23T11-30-00-pairs_train");
            recorded::write_with(&other, |draft| draft.beta = Some(0.3), &recorded::shrunk());
        });
        bench.get_by_label("Runs").click();
        wait(&mut bench, "the list", |state| state.runs.ready().is_some_and(|r| r.len() == 2));
        for number in 0..2 {
            bench.get_all_by_label("Compare pairs_train").nth(number).unwrap().click();
            bench.run_steps(2);
        }
        wait(&mut bench, "both runs", |state| {
            state.compare.runs.len() == 2
                && state.compare.runs.iter().all(|(_, run)| run.ready().is_some())
        });
        bench.get_by_label("2 runs side by side");
        bench.get_by_label("≠ beta");
        picture(&mut bench, &format!("compare-{name}"));
        bench.get_by_label("Show DPO of B").click();
        bench.run_steps(3);
        assert_eq!(bench.state_mut().state().compare.hidden.len(), 1);
        assert_eq!(bench.unnamed_widgets(), Vec::<String>::new());
        bench.get_by_label("Compare nothing").click();
        bench.run_steps(3);
        bench.get_by_label("No run selected");
    }
}

#[test]
fn an_empty_list_of_runs_says_where_they_come_from() {
    let mut bench = open(USUAL, Theme::Light);
    bench.get_by_label("Runs").click();
    wait(&mut bench, "the list", |state| {
        state.place == Place::Runs && state.runs.ready().is_some()
    });
    bench.get_by_label_contains("No run yet");
    picture(&mut bench, "runs-empty-light");
}

#[test]
fn every_control_of_every_place_has_a_name() {
    let mut bench = open(USUAL, Theme::Dark);
    bench.state_mut().state().more_settings = true;
    start(&mut bench, recorded::events());
    for place in Place::ALL {
        bench.state_mut().state().place = place;
        bench.run_steps(3);
        assert_eq!(bench.unnamed_widgets(), Vec::<String>::new(), "{place:?}");
    }
}

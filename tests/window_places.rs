//! Do Data, Inspect and Runs show what they should, with and without something to show?

mod recorded;
mod window;

use std::fs;

use dpop_studio::ui::state::{Loaded, PairColumn, Place};
use eframe::egui::Theme;
use eframe::egui::accesskit::Role;
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
    bench.run_steps(3);
    picture(&mut bench, "inspect-dark");
    bench.get_by_label("Sort by chosen of DPO").click();
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().sort, (PairColumn::Chosen(1), false));
    bench.get_by_label("Sort by chosen of DPO").click();
    bench.run_steps(3);
    assert_eq!(bench.state_mut().state().sort, (PairColumn::Chosen(1), true));
}

#[test]
fn inspect_in_light_and_narrow() {
    let mut bench = open(SMALL, Theme::Light);
    start(&mut bench, recorded::events());
    bench.get_by_label("Inspect").click();
    bench.run_steps(3);
    picture(&mut bench, "inspect-small-light");
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

//! Inspect: where in the answers likelihood is lost, every pair of the probe, and one pair token by token.

mod answers;
mod bands;
mod pairs;
mod profile;
mod tokens;

use eframe::egui::{
    Align, CentralPanel, Frame, Label, Layout, Margin, RichText, ScrollArea, Slider, Ui,
};

use crate::config::arm_title;
use crate::report::palette::Ink;
use crate::report::run_view::RunView;
use crate::report::trace;
use crate::ui::action::{Action, Actions};
use crate::ui::chart::color;
use crate::ui::command::Command;
use crate::ui::export;
use crate::ui::probe::ProbeView;
use crate::ui::state::{Inspection, Loaded, State};
use crate::ui::theme::{self, GAP, TokensExt};
use crate::ui::widgets;

pub fn inspect_ui(ui: &mut Ui, state: &mut State, actions: &mut Actions) {
    let t = ui.tokens();
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 12, right: 4, top: 10, bottom: 0 });
    CentralPanel::default().frame(frame).show(ui, |ui| {
        let mut inspect = std::mem::take(&mut state.inspect);
        let run = match (&state.opened, inspect.opened) {
            (Loaded::Ready(opened), true) => &opened.view,
            _ => &state.run,
        };
        if run.last_probe().is_none() {
            nothing_yet(ui, actions);
        } else {
            let probe = state.probe.ready().map(|view| &**view);
            header(ui, run, probe, &mut inspect, actions);
            if inspect.answers {
                answers::answers_ui(ui, run, &mut inspect, actions);
            } else {
                body(ui, run, &state.probe, &mut inspect, actions);
            }
        }
        state.inspect = inspect;
    });
}

fn nothing_yet(ui: &mut Ui, actions: &mut Actions) {
    let lines = [
        "A run scores the same held-out pairs again and again.",
        "Each of them appears here with what both adapters did to it, token by token.",
    ];
    widgets::empty_state(ui, "No probe yet", &lines, |ui| {
        if widgets::primary_button(ui, true, "Go to Train").clicked() {
            actions.push(Action::Run(Command::ShowTrain));
        }
        if widgets::quiet_button(ui, "Choose an earlier run").clicked() {
            actions.push(Action::Run(Command::ShowRuns));
        }
    });
}

/// Which run, and the probe after how many updates.
fn header(
    ui: &mut Ui,
    run: &RunView,
    probe: Option<&ProbeView>,
    inspect: &mut Inspection,
    actions: &mut Actions,
) {
    let t = ui.tokens();
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        let tabs = ["Probe pairs", "Answers"];
        if let Some(tab) = widgets::small_segmented(ui, &tabs, usize::from(inspect.answers)) {
            inspect.answers = tab == 1;
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_space(10.0);
            if inspect.answers {
                step_slider(ui, &run.samples.steps(), inspect);
            } else if let Some(probe) = probe {
                step_slider(ui, &probe.steps, inspect);
            }
            if inspect.opened && widgets::corner_button(ui, "Back to this window's run").clicked() {
                actions.push(Action::Inspect { opened: false });
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let name = RichText::new(export::name(run)).size(12.5).color(t.text_muted);
                ui.add(Label::new(name).truncate());
            });
        });
    });
    ui.add_space(2.0);
}

/// Drawn from right to left.
fn step_slider(ui: &mut Ui, steps: &[usize], inspect: &mut Inspection) {
    let Some(last) = steps.len().checked_sub(1).filter(|&last| last > 0) else { return };
    let mut index = shown_at(steps, inspect.step);
    let word = RichText::new(format!("step {}", steps[index])).font(theme::semibold(12.5));
    ui.add_sized([76.0, 20.0], Label::new(word).halign(Align::Max));
    ui.spacing_mut().slider_width = (ui.available_width() * 0.4).clamp(120.0, 260.0);
    let slider = Slider::new(&mut index, 0..=last).show_value(false);
    let response = ui.add(slider).accessible_name("Step of the probe");
    if response.on_hover_text("After so many updates").changed() {
        // At the end the newest is followed.
        inspect.step = (index < last).then(|| steps[index]);
    }
}

/// Number of the newest of `steps` that is not later than the one asked for.
fn shown_at(steps: &[usize], wanted: Option<usize>) -> usize {
    let wanted = wanted.unwrap_or(usize::MAX);
    steps.partition_point(|&at| at <= wanted).saturating_sub(1)
}

fn body(
    ui: &mut Ui,
    run: &RunView,
    probe: &Loaded<ProbeView>,
    inspect: &mut Inspection,
    actions: &mut Actions,
) {
    ScrollArea::vertical().id_salt("inspect").auto_shrink(false).show(ui, |ui| {
        ui.set_width(ui.available_width() - 10.0);
        // A few rows, so that the tokens of one are in sight as well; all there is room for without them.
        let share = if probe.ready().is_some() { 0.21 } else { 0.7 };
        let list_height = (ui.available_height() * share).max(120.0);
        let gap = GAP - ui.spacing().item_spacing.y;
        match probe {
            Loaded::Ready(view) => profile::profile_card(ui, run, view, actions),
            Loaded::Loading => widgets::card(ui, "Where likelihood is lost", |_| {}, |ui| {
                ui.spinner();
            }),
            Loaded::Failed(message) => {
                let body = |ui: &mut Ui| widgets::complaint(ui, message);
                widgets::card(ui, "Where likelihood is lost", |_| {}, body);
            }
            Loaded::Nothing => widgets::card(ui, "Where likelihood is lost", |_| {}, |ui| {
                let words = "This run has no record of single tokens: it was made by an older version, \
                             or has not been probed yet. The sums of its last probe are below.";
                widgets::hint(ui, words);
            }),
        }
        ui.add_space(gap);
        let probe = probe.ready().map(|view| &**view);
        pairs::pairs_card(ui, run, probe, inspect, list_height);
        ui.add_space(gap);
        if let Some(probe) = probe {
            tokens::pair_card(ui, run, probe, inspect.pair);
            ui.add_space(gap);
        }
        bands::bands_card(ui, run, inspect.arm);
        ui.add_space(12.0);
    });
}

/// An arm with the sample of its line; `ink` is the colour where there is a twin at most.
fn arm_sample(ui: &mut Ui, run: &RunView, arm: usize, ink: Ink) {
    let trace = trace::of_arm(run, arm, [ink, ink]);
    widgets::line_sample(ui, color(trace.ink, ui.tokens()), trace);
    let name = run.arms.get(arm).map_or("", |arm| &arm.name);
    ui.label(RichText::new(arm_title(name)).font(theme::medium(12.0)));
}

//! The arms of a run side by side: what each came to at the newest probe, and its adapter.

use eframe::egui::{Align, Grid, Layout, RichText, ScrollArea, Ui, vec2};

use crate::config::arm_title;
use crate::report::charts::Unit;
use crate::report::palette::Ink;
use crate::report::run_view::RunView;
use crate::report::series::Source;
use crate::report::trace;
use crate::ui::action::{Action, Actions};
use crate::ui::chart::color;
use crate::ui::export::Export;
use crate::ui::theme::{self, GAP, TokensExt};
use crate::ui::widgets;

/// Titles, metrics of the probe and how they are written; where there is little room the last ones are left out.
const FIGURES: [(&str, &str, &str, Unit); 6] = [
    (
        "chosen / token",
        "Mean of a chosen answer's token, nats",
        "logps_per_token/chosen",
        Unit::Plain,
    ),
    (
        "less ref. / answer",
        "Chosen answers less the reference, nats per answer",
        "change/chosen",
        Unit::Plain,
    ),
    ("margin", "Reward of chosen less rejected", "rewards/margins", Unit::Plain),
    ("accuracy", "Share of pairs with a margin above 0", "rewards/accuracies", Unit::Share),
    ("penalty on", "Share of chosen answers below the reference", "dpop/active", Unit::Share),
    (
        "rejected / token",
        "Mean of a rejected answer's token, nats",
        "logps_per_token/rejected",
        Unit::Plain,
    ),
];

/// Room (points) that all figures want, and how many are shown in less.
const ROOM: f32 = 700.0;
const FEWER: usize = 4;

pub fn arms_card(ui: &mut Ui, run: &RunView, actions: &mut Actions) {
    let Some(probe) = run.last_probe() else { return };
    let caption = |ui: &mut Ui| {
        let text = format!("held-out pairs after {probe} steps");
        ui.label(RichText::new(text).size(12.0).color(ui.tokens().text_muted));
    };
    widgets::card(ui, "Arms", caption, |ui| {
        let room = ui.available_width();
        ScrollArea::horizontal().id_salt("arms").show(ui, |ui| {
            Grid::new("arms").spacing(vec2(16.0, 4.0)).show(ui, |ui| table(ui, run, room, actions));
        });
    });
    ui.add_space(GAP - ui.spacing().item_spacing.y);
}

fn table(ui: &mut Ui, run: &RunView, room: f32, actions: &mut Actions) {
    let t = ui.tokens();
    let small = |text: &str| RichText::new(text.to_owned()).size(12.0);
    let figures = if room < ROOM { &FIGURES[..FEWER] } else { &FIGURES[..] };
    ui.label("");
    for (title, help, _, _) in figures {
        ui.label(small(title).color(t.text_muted)).on_hover_text(*help);
    }
    ui.label(small("collapse").color(t.text_muted));
    ui.label("");
    ui.end_row();
    for (number, arm) in run.arms.iter().enumerate() {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            let trace = trace::of_arm(run, number, [Ink::Kept, Ink::Twin]);
            widgets::line_sample(ui, color(trace.ink, t), trace);
            ui.label(RichText::new(arm_title(&arm.name)).font(theme::semibold(12.0)))
                .on_hover_text(&arm.objective);
            if arm.kept {
                widgets::pill(ui, "kept", t.success)
                    .on_hover_text("Its adapter is the one in the run's folder adapter/");
            }
        });
        for (_, _, metric, unit) in figures {
            let value = run.last(Source::Probe, &arm.name, metric);
            ui.label(small(&value.map_or("–".to_owned(), |v| unit.value(v))));
        }
        match run.collapses.iter().find(|collapse| collapse.arm == arm.name) {
            Some(collapse) => {
                let step = small(&format!("step {}", collapse.step)).color(t.danger);
                ui.label(step).on_hover_text(&collapse.message)
            }
            None => ui.label(small("none")),
        };
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            save_button(ui, run, arm, actions)
        });
        ui.end_row();
    }
}

fn save_button(
    ui: &mut Ui,
    run: &RunView,
    arm: &crate::train::event::ArmInfo,
    actions: &mut Actions,
) {
    let saved = run.last_checkpoint.as_ref().map(|(step, _)| *step);
    let button = ui.add_enabled_ui(saved.is_some() && run.folder.is_some(), |ui| {
        let said = format!("Save adapter of {}…", arm_title(&arm.name));
        widgets::corner_button(ui, "Save adapter…").accessible_name(said)
    });
    let tip = match saved {
        Some(step) => {
            format!("Into a folder of its own, as of checkpoint {step}, in PEFT's format")
        }
        None => "There is no checkpoint yet".to_owned(),
    };
    if button.inner.on_hover_text(&tip).on_disabled_hover_text(&tip).clicked() {
        actions.push(Action::Save(Export::Adapter(arm.name.clone())));
    }
}

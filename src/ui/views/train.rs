//! Train: the cards on the left, the charts of the run on the right.

use eframe::egui::{CentralPanel, ComboBox, Frame, Margin, Panel, RichText, ScrollArea, Ui};

use crate::ui::action::{Action, Actions};
use crate::ui::chart::ChartCache;
use crate::ui::command::Command;
use crate::ui::run_view::Status;
use crate::ui::state::State;
use crate::ui::theme::{self, FORM_WIDTH, GAP, TokensExt};
use crate::ui::views::charts::{Charts, run_charts_ui};
use crate::ui::views::{cards, outcome};
use crate::ui::widgets;

pub fn train_ui(ui: &mut Ui, state: &mut State, cache: &mut ChartCache, actions: &mut Actions) {
    let t = ui.tokens();
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 12, right: 2, top: 10, bottom: 0 });
    Panel::left("form")
        .exact_size(FORM_WIDTH)
        .resizable(false)
        .show_separator_line(false)
        .frame(frame)
        .show(ui, |ui| {
            preset_row(ui, state, actions);
            ScrollArea::vertical().id_salt("cards").auto_shrink(false).show(ui, |ui| {
                ui.set_width(FORM_WIDTH - 24.0);
                let enabled = !state.run.status.is_active();
                cards::model::model_card(ui, state, enabled, actions);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                cards::data::data_card(ui, state, enabled, actions);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                cards::method::method_card(ui, state, enabled);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                cards::lora::lora_card(ui, state, enabled);
                ui.add_space(12.0);
            });
        });
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 6, right: 4, top: 10, bottom: 0 });
    CentralPanel::default().frame(frame).show(ui, |ui| {
        if state.run.status == Status::Idle {
            first_words(ui, state, actions);
            return;
        }
        ScrollArea::vertical().id_salt("charts").auto_shrink(false).show(ui, |ui| {
            ui.set_width(ui.available_width() - 10.0);
            let height = ui.available_height();
            let top = ui.cursor().top();
            outcome::outcome_ui(ui, &state.run, &state.log_tail, state.dismissed_collapse, actions);
            let left = height - (ui.cursor().top() - top);
            let mut charts = Charts { cache, hover: &mut state.hover, scale: state.scale };
            run_charts_ui(ui, &state.run, &mut charts, left, actions);
        });
    });
}

fn preset_row(ui: &mut Ui, state: &State, actions: &mut Actions) {
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        let label = ui.label(RichText::new("Preset").font(theme::semibold(13.0)));
        ui.label_inputs_by(label.id, |ui| {
            let presets = state.form.presets();
            let chosen = state.form.preset();
            let shown = chosen.map_or("Own settings", |preset| preset.title);
            let enabled = !state.run.status.is_active();
            ui.add_enabled_ui(enabled, |ui| {
                ComboBox::from_id_salt("preset").width(150.0).selected_text(shown).show_ui(
                    ui,
                    |ui| {
                        for preset in presets {
                            let on = chosen.is_some_and(|chosen| chosen.name == preset.name);
                            if ui
                                .selectable_label(on, preset.title)
                                .on_hover_text(preset.description)
                                .clicked()
                            {
                                actions.push(Action::Preset(preset.name.to_owned()));
                            }
                        }
                    },
                );
            });
        });
    });
    ui.add_space(2.0);
}

/// Before the first run: what will be seen, and the way there.
fn first_words(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let t = ui.tokens();
    widgets::empty_state(
        ui,
        "Ready to train",
        &[
            "Start trains two LoRA adapters side by side on the same batches:",
            "the one you keep, and a plain-DPO twin to compare.",
            "The charts appear here and move as it learns. Watch the chosen answers:",
            "where their log-likelihood falls below the reference, the method is unlearning them.",
        ],
        |ui| {
            let enabled = state.can_start();
            if widgets::primary_button(ui, enabled, "Start training").clicked() {
                actions.push(Action::Run(Command::Start));
            }
            ui.add_space(8.0);
            let text = "Or drop a preference file or a model folder anywhere on this window.";
            ui.label(RichText::new(text).size(12.0).color(t.text_faint));
        },
    );
}

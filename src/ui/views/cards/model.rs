//! Card: the model and the adapter it starts from.

use eframe::egui::{Button, RichText, Ui, vec2};

use crate::ui::action::{Action, Actions};
use crate::ui::drop::Dropped;
use crate::ui::fields::field_row;
use crate::ui::state::{Loaded, State, Wanted};
use crate::ui::theme::{self, TokensExt};
use crate::ui::widgets;

pub fn model_card(ui: &mut Ui, state: &mut State, enabled: bool, actions: &mut Actions) {
    widgets::card(
        ui,
        "Model",
        |ui| {
            let button = Button::new(RichText::new("Open…").font(theme::medium(12.0)))
                .min_size(vec2(0.0, 24.0));
            let response = ui.add_enabled(enabled, button).on_hover_text(
                "Choose a model folder; a .gguf file: Menu, “Open GGUF file…”, or drop it",
            );
            if response.accessible_name("Open model…").clicked() {
                actions.push(Action::Open(Wanted::Model));
            }
            let recent = &state.memory.models;
            if let Some(path) = widgets::recent_menu(ui, enabled, "Recent models", recent) {
                actions.push(Action::Take(Dropped::Model(path)));
            }
        },
        |ui| {
            match &state.model {
                Loaded::Ready(model) => {
                    ui.label(RichText::new(&model.name).font(theme::semibold(13.0)))
                        .on_hover_text(model.path.display().to_string());
                    let facts: Vec<&str> =
                        model.facts.iter().map(|(_, value)| value.as_str()).collect();
                    widgets::hint(ui, facts.join(" · "));
                }
                Loaded::Loading => {
                    ui.horizontal(|ui| {
                        ui.spinner();
                        widgets::hint(ui, "Reading the model folder");
                    });
                }
                Loaded::Failed(message) => {
                    ui.colored_label(ui.tokens().danger, message);
                }
                Loaded::Nothing => {
                    widgets::hint(
                        ui,
                        "Drop a Hugging Face model folder or a .gguf file on the window, or open a folder.",
                    );
                }
            }
            if let Some(memory) = &state.memory_need {
                let shown = match &memory.refusal {
                    None => widgets::hint(ui, &memory.text),
                    Some(refusal) => ui.colored_label(ui.tokens().danger, refusal),
                };
                if !memory.parts.is_empty() {
                    shown.on_hover_text(&memory.parts);
                }
            }
            field_row(ui, &mut state.form, "model", enabled);
            for name in [
                "init_adapter",
                "base_precision",
                "compute_precision",
                "weights",
                "recompute",
                "memory_limit",
            ] {
                field_row(ui, &mut state.form, name, enabled);
            }
        },
    );
}

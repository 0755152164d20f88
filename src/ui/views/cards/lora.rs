//! Card: the adapter, the optimiser and how long.

use eframe::egui::{Button, RichText, Ui, vec2};

use crate::ui::fields::field_row;
use crate::ui::state::State;
use crate::ui::theme;
use crate::ui::widgets;

const FIRST: &[&str] =
    &["rank", "alpha", "targets", "learning_rate", "steps", "epochs", "batch_pairs"];

const MORE: &[&str] = &[
    "schedule",
    "warmup_steps",
    "max_grad_norm",
    "weight_decay",
    "micro_batch_pairs",
    "max_length",
    "dropout",
    "rslora",
    "probe_pairs",
    "eval_every",
    "forecast_pairs",
    "stop_when",
    "save_every",
    "sample_prompts",
    "sample_tokens",
    "device",
    "seed",
    "shuffle",
];

pub fn lora_card(ui: &mut Ui, state: &mut State, enabled: bool) {
    let more = state.more_settings;
    let hidden_complaint = !more && MORE.iter().any(|name| state.form.complaint(name).is_some());
    let open = more || hidden_complaint;
    let mut toggle = false;
    widgets::card(
        ui,
        "LoRA & budget",
        |ui| {
            let text = if open { "Fewer settings" } else { "More settings" };
            let button = Button::new(RichText::new(text).font(theme::medium(12.0)))
                .min_size(vec2(0.0, 24.0));
            toggle = ui.add_enabled(!hidden_complaint, button).clicked();
        },
        |ui| {
            for name in FIRST {
                field_row(ui, &mut state.form, name, enabled);
            }
            if open {
                ui.add_space(2.0);
                for name in MORE {
                    field_row(ui, &mut state.form, name, enabled);
                }
            }
        },
    );
    if toggle {
        state.more_settings = !more;
    }
}

//! Card: the loss, with its formula and figures written out, and the twin.

use eframe::egui::{Frame, Margin, RichText, Ui};

use crate::ui::fields::field_row;
use crate::ui::form::Form;
use crate::ui::state::State;
use crate::ui::theme::TokensExt;
use crate::ui::widgets;

pub fn method_card(ui: &mut Ui, state: &mut State, enabled: bool) {
    widgets::card(
        ui,
        "Method",
        |_| {},
        |ui| {
            let form = &mut state.form;
            field_row(ui, form, "objective", enabled);
            formula(ui, form);
            if form.get("objective") != "sft" || uses(form, "beta") {
                field_row(ui, form, "beta", enabled);
            }
            if uses(form, "lambda") {
                field_row(ui, form, "lambda", enabled);
            }
            if uses(form, "label_smoothing") {
                field_row(ui, form, "label_smoothing", enabled);
            }
            field_row(ui, form, "twin", enabled);
            if form.get("objective") != "sft" {
                field_row(ui, form, "sweep", enabled);
            }
        },
    );
}

/// Whether the objective or the twin has this parameter.
fn uses(form: &Form, field: &str) -> bool {
    let has = |objective: &str| match field {
        "lambda" => objective == "dpop",
        "label_smoothing" => objective == "cdpo",
        _ => !matches!(objective, "sft" | "none"),
    };
    has(form.get("objective")) || has(form.get("twin"))
}

/// The loss of one pair, as the code computes it.
pub fn formula_of(objective: &str) -> &'static str {
    match objective {
        "dpop" => "L = −log σ(z)\nz = β · [ Δw − Δl − λ · max(0, −Δw) ]",
        "dpo" => "L = −log σ(z)\nz = β · [ Δw − Δl ]",
        "ipo" => "L = ( Δw − Δl − 1 / 2β )²",
        "hinge" => "L = max(0, 1 − β · [ Δw − Δl ])",
        "cdpo" => "L = −(1 − ε) log σ(z) − ε log σ(−z)\nz = β · [ Δw − Δl ]",
        "sft" => "L = −log π(chosen)",
        _ => "",
    }
}

fn formula(ui: &mut Ui, form: &Form) {
    let t = ui.tokens();
    let objective = form.get("objective");
    Frame::new().fill(t.well).corner_radius(6).inner_margin(Margin::symmetric(10, 7)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 3.0;
        ui.label(RichText::new(formula_of(objective)).size(12.5));
        if objective != "sft" {
            let text = "Δw, Δl: how far the log-likelihood of the chosen and the rejected answer moved from the reference";
            ui.label(RichText::new(text).size(11.0).color(t.text_faint));
        }
    });
}

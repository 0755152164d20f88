//! Rows of the cards: a label, an editor for a field of the form, its complaint.

use eframe::egui::{self, Button, ComboBox, RichText, Sense, Stroke, TextEdit, Ui, vec2};

use super::form::{Form, Kind, kind};
use super::theme::{self, TokensExt};
use super::widgets;
use crate::config::{Field, field};

/// Width of the labels' column.
const LABEL_WIDTH: f32 = 118.0;

/// Draws the row of the field called `name` and writes what is typed into the form.
pub fn field_row(ui: &mut Ui, form: &mut Form, name: &str, enabled: bool) {
    let field = field(name);
    let complaint = form.complaint(name).map(str::to_owned);
    ui.add_enabled_ui(enabled, |ui| {
        ui.horizontal(|ui| {
            let label = row_label(ui, field);
            ui.label_inputs_by(label, |ui| editor(ui, form, field, complaint.is_some()));
        });
    });
    if let Some(text) = complaint {
        ui.horizontal(|ui| {
            ui.add_space(LABEL_WIDTH + 8.0);
            widgets::complaint(ui, &text);
        });
    }
}

fn row_label(ui: &mut Ui, field: &Field) -> egui::Id {
    let t = ui.tokens();
    let text = RichText::new(field.label).size(12.5).color(t.text_muted);
    let label = ui.allocate_ui_with_layout(
        vec2(LABEL_WIDTH, 26.0),
        egui::Layout::left_to_right(egui::Align::Center),
        |ui| {
            ui.set_min_width(LABEL_WIDTH);
            ui.add(egui::Label::new(text).truncate().sense(Sense::hover()))
        },
    );
    let response = label.inner.on_hover_ui(|ui| {
        ui.label(RichText::new(field.label).font(theme::semibold(12.5)));
        ui.label(field.help);
        ui.label(RichText::new(field.flag).monospace().color(t.text_faint));
    });
    response.id
}

fn editor(ui: &mut Ui, form: &mut Form, field: &Field, bad: bool) {
    match kind(field) {
        Kind::Choice(options) => choice(ui, form, field, options),
        Kind::Switch => switch(ui, form, field),
        Kind::Targets => targets(ui, form, field),
        Kind::Path | Kind::Text | Kind::Number => text(ui, form, field, bad),
    }
}

fn text(ui: &mut Ui, form: &mut Form, field: &Field, bad: bool) {
    let t = ui.tokens();
    let mut value = form.get(field.name).to_owned();
    let hint = match (kind(field), field.name) {
        (Kind::Path, "init_adapter" | "eval_data") => "none",
        (Kind::Number, "steps" | "epochs") => "not set",
        _ => "",
    };
    if bad {
        let red = Stroke::new(1.2, t.danger);
        ui.visuals_mut().widgets.inactive.bg_stroke = red;
        ui.visuals_mut().widgets.hovered.bg_stroke = red;
    }
    let edit = TextEdit::singleline(&mut value)
        .id_salt(field.name)
        .hint_text(RichText::new(hint).color(t.text_faint))
        .desired_width(f32::INFINITY)
        .margin(egui::Margin::symmetric(8, 4))
        .font(theme::regular(13.0));
    if ui.add(edit).changed() {
        form.set(field.name, value);
    }
}

fn choice(ui: &mut Ui, form: &mut Form, field: &Field, options: &[(&str, &str)]) {
    let current = form.get(field.name).to_owned();
    let shown =
        options.iter().find(|(value, _)| *value == current).map_or(current.as_str(), |(_, l)| l);
    let mut picked = None;
    ComboBox::from_id_salt(field.name)
        .width(ui.available_width())
        .truncate()
        .selected_text(shown)
        .show_ui(ui, |ui| {
            for (value, label) in options {
                if ui.selectable_label(*value == current, *label).clicked() {
                    picked = Some((*value).to_owned());
                }
            }
        });
    if let Some(value) = picked {
        form.set(field.name, value);
    }
}

fn switch(ui: &mut Ui, form: &mut Form, field: &Field) {
    let mut on = form.flag(field.name);
    let word = if on { "on" } else { "off" };
    if ui.checkbox(&mut on, RichText::new(word).size(12.5)).changed() {
        form.set(field.name, if on { "true" } else { "false" });
    }
}

/// The seven linear layers as toggles.
fn targets(ui: &mut Ui, form: &mut Form, field: &Field) {
    const ALL: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];
    let t = ui.tokens();
    let current = form.get(field.name).to_owned();
    let on = |name: &str| current == "all" || current.split(',').any(|part| part.trim() == name);
    let mut clicked = None;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(3.0, 3.0);
        ui.spacing_mut().button_padding = vec2(6.0, 2.0);
        for name in ALL {
            let selected = on(name);
            let ink = if selected { t.text } else { t.text_faint };
            let fill = if selected {
                t.accent.gamma_multiply(if t.dark { 0.38 } else { 0.18 })
            } else {
                t.well
            };
            let button = Button::selectable(
                selected,
                RichText::new(name).font(theme::medium(11.5)).color(ink),
            )
            .fill(fill)
            .stroke(Stroke::new(1.0, t.card_border))
            .min_size(vec2(22.0, 22.0));
            let tip = format!("Adapter on {name}_proj");
            if ui.add(button).on_hover_text(tip).clicked() {
                clicked = Some(name);
            }
        }
    });
    if let Some(name) = clicked {
        let chosen: Vec<&str> =
            ALL.into_iter().filter(|part| on(part) != (*part == name)).collect();
        form.set(field.name, chosen.join(","));
    }
}

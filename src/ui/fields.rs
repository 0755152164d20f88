//! Rows of the cards: a label, an editor for a field of the form, its complaint.

use eframe::egui::{
    self, Align2, Button, ComboBox, Rect, RichText, Sense, Stroke, StrokeKind, TextEdit, Ui, pos2,
    vec2,
};

use super::form::{Form, Kind, kind};
use super::theme::{self, TokensExt};
use super::widgets;
use crate::config::{Field, field};

/// Width of the labels' column.
const LABEL_WIDTH: f32 = 124.0;

/// Draws the row of the field called `name` and writes what is typed into the form.
pub fn field_row(ui: &mut Ui, form: &mut Form, name: &str, enabled: bool) {
    let field = field(name);
    let complaint = form.complaint(name).map(str::to_owned);
    ui.add_enabled_ui(enabled, |ui| {
        ui.horizontal(|ui| {
            let label = row_label(ui, field);
            ui.label_inputs_by(label, |ui| editor(ui, form, field, complaint.is_some()));
            // Whoever walks the form by Tab sees where they are.
            let focused = ui.memory(|memory| memory.focused());
            let inside = |rect: Rect| ui.min_rect().contains_rect(rect);
            let reached = focused
                .filter(|_| ui.input(|i| i.key_pressed(egui::Key::Tab)))
                .and_then(|id| ui.ctx().read_response(id))
                .filter(|response| inside(response.rect));
            if let Some(response) = reached {
                response.scroll_to_me(None);
            }
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
        Kind::Path => path(ui, form, field, bad),
        Kind::Text | Kind::Number => {
            text(ui, form, field, bad);
        }
    }
}

fn text(ui: &mut Ui, form: &mut Form, field: &Field, bad: bool) -> egui::Response {
    let t = ui.tokens();
    let mut value = form.get(field.name).to_owned();
    let hint = match field.name {
        "init_adapter" | "eval_data" => "none",
        "steps" | "epochs" => "not set",
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
        .suffix(RichText::new(field.unit).size(11.5).color(t.text_faint))
        .desired_width(f32::INFINITY)
        .margin(egui::Margin::symmetric(8, 4))
        .font(theme::regular(13.0));
    let response = ui.add(edit);
    if response.changed() {
        form.set(field.name, value);
    }
    response
}

/// A path shows its end, where the name is; a click opens it for typing.
fn path(ui: &mut Ui, form: &mut Form, field: &Field, bad: bool) {
    let flag = ui.make_persistent_id(("typing", field.name));
    let typing = ui.data(|data| data.get_temp::<bool>(flag)).unwrap_or(false);
    let value = form.get(field.name).to_owned();
    if typing || value.trim().is_empty() {
        let response = text(ui, form, field, bad);
        let fresh =
            typing && ui.data(|data| data.get_temp::<bool>(flag.with("fresh"))).unwrap_or(false);
        if fresh {
            response.request_focus();
            ui.data_mut(|data| data.remove::<bool>(flag.with("fresh")));
        } else if response.lost_focus() {
            ui.data_mut(|data| data.remove::<bool>(flag));
        }
        return;
    }
    let optional = matches!(field.name, "init_adapter" | "eval_data");
    ui.spacing_mut().item_spacing.x = 4.0;
    let width = ui.available_width() - if optional { 28.0 } else { 0.0 };
    if path_box(ui, field, &value, width, bad).clicked() {
        ui.data_mut(|data| {
            data.insert_temp(flag, true);
            data.insert_temp(flag.with("fresh"), true);
        });
    }
    if optional {
        let name = format!("Clear {}", field.label.to_lowercase());
        if widgets::icon_button(ui, widgets::Icon::Cross, &name).clicked() {
            form.set(field.name, "");
        }
    }
}

fn path_box(ui: &mut Ui, field: &Field, value: &str, width: f32, bad: bool) -> egui::Response {
    let t = ui.tokens();
    let (rect, response) = ui.allocate_exact_size(vec2(width, 26.0), Sense::click());
    let name = format!("{}: {value}", field.label);
    let enabled = ui.is_enabled();
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled, &name));
    let stroke = match (bad, response.has_focus(), response.hovered()) {
        (true, ..) => Stroke::new(1.2, t.danger),
        (false, true, _) => Stroke::new(1.2, t.accent),
        (false, false, true) => Stroke::new(1.0, t.text_faint),
        (false, false, false) => Stroke::new(1.0, t.card_border),
    };
    ui.painter().rect(rect, 6.0, t.well, stroke, StrokeKind::Inside);
    let font = theme::regular(13.0);
    let fits = |text: &str| {
        let galley = ui.painter().layout_no_wrap(text.to_owned(), font.clone(), t.text);
        galley.size().x <= rect.width() - 16.0
    };
    let shown = shorten_front(value, fits);
    let clip = ui.painter_at(rect.shrink(4.0));
    let at = pos2(rect.left() + 8.0, rect.center().y);
    clip.text(at, Align2::LEFT_CENTER, shown, font, t.text);
    response.on_hover_cursor(egui::CursorIcon::Text).on_hover_text(value)
}

/// Drops leading folders until `fits`; the last name always stays.
fn shorten_front(path: &str, fits: impl Fn(&str) -> bool) -> String {
    if fits(path) {
        return path.to_owned();
    }
    let parts: Vec<&str> = path.split(['/', '\\']).collect();
    for start in 1..parts.len().saturating_sub(1) {
        let shown = format!("…/{}", parts[start..].join("/"));
        if fits(&shown) {
            return shown;
        }
    }
    parts.last().map_or_else(String::new, |last| (*last).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_keep_their_end() {
        let room = |n: usize| move |text: &str| text.chars().count() <= n;
        let path = "/data/people/me/models/llama";
        assert_eq!(shorten_front(path, room(99)), path);
        assert_eq!(shorten_front(path, room(17)), "…/me/models/llama");
        assert_eq!(shorten_front(path, room(16)), "…/models/llama");
        assert_eq!(shorten_front(path, room(3)), "llama");
    }
}

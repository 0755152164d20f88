//! The pairs in the order in which plain DPO is likely to hurt them.

use eframe::egui::{
    self, Align, Align2, Button, Color32, Key, Layout, Margin, Rect, RichText, ScrollArea, Sense,
    Stroke, Ui, UiBuilder, pos2, vec2,
};

use crate::insight::forecast::{Forecast, PairForecast};
use crate::report::format;
use crate::ui::action::{Action, Actions};
use crate::ui::foresight::{Foresight, Score, oddity, sorted};
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::widgets;

const ROW: f32 = 25.0;

/// Below this width figures would be cut: the table scrolls sideways.
const WIDTH: f32 = 600.0;

/// Left edges of the columns as shares of the width: row, the scores, both answers, what is odd.
const PLACES: [f32; 8] = [0.0, 0.07, 0.20, 0.31, 0.46, 0.61, 0.72, 0.84];

pub fn pairs_card(
    ui: &mut Ui,
    foresight: &mut Foresight,
    forecast: &Forecast,
    kept: &[usize],
    most: f32,
    actions: &mut Actions,
) {
    let frame = widgets::card_frame(ui.tokens()).inner_margin(Margin::symmetric(14, 10));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            ui.label(RichText::new("Likely to fall first").font(theme::semibold(14.0)));
            let words = "chosen, rejected: nats per token under the model";
            let words = RichText::new(words).size(12.0).color(ui.tokens().text_faint);
            ui.add(egui::Label::new(words).truncate());
        });
        ScrollArea::horizontal().id_salt("scored across").show(ui, |ui| {
            ui.set_width(ui.available_width().max(WIDTH));
            table(ui, foresight, forecast, kept, most, actions);
        });
    });
}

fn table(
    ui: &mut Ui,
    foresight: &mut Foresight,
    forecast: &Forecast,
    kept: &[usize],
    most: f32,
    actions: &mut Actions,
) {
    let sort = foresight.sort.unwrap_or((Score::Surprise, true));
    if let Some(chosen) = titles(ui, sort) {
        foresight.sort = Some(chosen);
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    let order = sorted(forecast, sort);
    let height = (order.len().max(1) as f32 * ROW).min(most);
    let area = ScrollArea::vertical().id_salt("scored").auto_shrink(false).max_height(height);
    area.show_rows(ui, ROW, order.len(), |ui, range| {
        for &place in &order[range] {
            let pair = &forecast.pairs[place];
            let passes = kept.binary_search(&pair.row).is_ok();
            let odd = oddity(pair, super::repeated(forecast, pair.row));
            if row_ui(ui, pair, odd, passes, foresight.row == Some(pair.row)) {
                actions.push(Action::ShowPair(pair.row));
            }
        }
    });
}

/// Where column `number` begins and how wide it is.
fn column(rect: Rect, number: usize) -> Rect {
    let from = rect.left() + rect.width() * PLACES[number];
    let to = PLACES.get(number + 1).map_or(rect.right(), |to| rect.left() + rect.width() * to);
    Rect::from_x_y_ranges(from..=to - 6.0, rect.y_range())
}

/// Answers the order that was asked for.
fn titles(ui: &mut Ui, (current, descending): (Score, bool)) -> Option<(Score, bool)> {
    let t = ui.tokens();
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width() - 8.0, 26.0), Sense::hover());
    let mut chosen = None;
    for (number, score) in (1..).zip(Score::ALL) {
        let on = score == current;
        let text = match (on, descending) {
            (true, true) => format!("{} ▼", score.title()),
            (true, false) => format!("{} ▲", score.title()),
            _ => score.title().to_owned(),
        };
        let builder = UiBuilder::new()
            .max_rect(column(rect, number))
            .layout(Layout::left_to_right(Align::Center));
        let mut child = ui.new_child(builder);
        child.spacing_mut().button_padding.x = 0.0;
        let ink = if on { t.text } else { t.text_muted };
        let text = RichText::new(text).font(theme::medium(12.0)).color(ink);
        let name = format!("Sort pairs by {}", score.title().to_lowercase());
        let response = child.add(Button::new(text).frame(false).truncate()).accessible_name(name);
        if response.on_hover_text(score.help()).clicked() {
            // The dangerous end first.
            let usual = score.keeps_below();
            chosen = Some((score, if on { !descending } else { usual }));
        }
    }
    let plain = [(0, "Row"), (5, "Chosen"), (6, "Rejected")];
    for (number, title) in plain {
        let at = column(rect, number).left_center();
        ui.painter().text(at, Align2::LEFT_CENTER, title, theme::medium(12.0), t.text_muted);
    }
    ui.painter().hline(rect.x_range(), rect.bottom(), Stroke::new(1.0, t.card_border));
    chosen
}

/// Draws a pair; answers whether it was chosen.
fn row_ui(
    ui: &mut Ui,
    pair: &PairForecast,
    odd: Option<String>,
    passes: bool,
    selected: bool,
) -> bool {
    let t = ui.tokens();
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width() - 8.0, ROW), Sense::click());
    ground(ui, rect, &response, selected, t);
    let ink = if passes { t.text } else { t.text_faint };
    let mut cells = vec![(pair.row.to_string(), if passes { t.text_muted } else { t.text_faint })];
    for score in Score::ALL {
        cells.push((score.of(pair).map_or("–".to_owned(), |v| score.text(v)), ink));
    }
    cells.push((format::number(pair.chosen_per_token), ink));
    cells.push((format::number(pair.rejected_per_token), ink));
    cells.push(match (passes, odd) {
        (false, _) => ("left out".to_owned(), t.text_faint),
        (true, Some(odd)) => (odd, t.warning),
        (true, None) => (String::new(), ink),
    });
    for (number, (text, ink)) in cells.iter().enumerate() {
        let cell = column(rect, number);
        let at = pos2(cell.left(), rect.center().y);
        let clipped = ui.painter().with_clip_rect(cell.intersect(ui.clip_rect()));
        clipped.text(at, Align2::LEFT_CENTER, text, theme::regular(12.5), *ink);
    }
    response.widget_info(|| {
        let said: Vec<&str> = cells.iter().map(|(text, _)| text.as_str()).collect();
        let said = format!("pair {}", said.join(", "));
        egui::WidgetInfo::selected(egui::Role::Row, true, selected, said)
    });
    let by_key = response.has_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    response.clicked() || by_key
}

fn ground(ui: &Ui, rect: Rect, response: &egui::Response, selected: bool, t: &Tokens) {
    let fill = if selected {
        t.accent.gamma_multiply(if t.dark { 0.24 } else { 0.12 })
    } else if response.hovered() || response.has_focus() {
        t.button.gamma_multiply(0.6)
    } else {
        Color32::TRANSPARENT
    };
    ui.painter().rect_filled(rect.expand2(vec2(6.0, 0.0)), 4.0, fill);
}

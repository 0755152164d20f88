//! The table of the probe's pairs under one arm: sorted, filtered, one selected.

use eframe::egui::{
    self, Align, Align2, Button, Color32, ComboBox, Key, Layout, Margin, Rect, RichText,
    ScrollArea, Sense, Stroke, TextEdit, Ui, UiBuilder, pos2, vec2,
};

use crate::config::arm_title;
use crate::report::format;
use crate::report::run_view::RunView;
use crate::report::trace;
use crate::ui::probe::{PairRow, ProbeView, holds, rows, sorted};
use crate::ui::state::{Inspection, PairColumn};
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::widgets;

const ROW_HEIGHT: f32 = 26.0;

/// A column: its title, what it says, and the width it wants.
struct Column {
    key: PairColumn,
    title: &'static str,
    help: &'static str,
    width: f32,
    /// Drawn with a bar beside the number.
    bar: bool,
}

const fn column(
    key: PairColumn,
    title: &'static str,
    help: &'static str,
    width: f32,
    bar: bool,
) -> Column {
    Column { key, title, help, width, bar }
}

const COLUMNS: [Column; 11] = [
    column(PairColumn::Row, "Row", "Row of the file, from 0", 52.0, false),
    column(
        PairColumn::FirstDifference,
        "Differs at",
        "Token of the answers that differs first, from 0",
        76.0,
        false,
    ),
    column(PairColumn::Edits, "Edits", "Tokens to change, add or remove", 54.0, false),
    column(
        PairColumn::Chosen,
        "Chosen",
        "Change of the chosen answer from the reference, nats",
        92.0,
        true,
    ),
    column(
        PairColumn::Rejected,
        "Rejected",
        "Change of the rejected answer from the reference, nats",
        92.0,
        true,
    ),
    column(PairColumn::Margin, "Margin", "Chosen less rejected, nats", 92.0, true),
    column(
        PairColumn::Penalty,
        "Penalty",
        "On where the chosen answer lies below the reference",
        66.0,
        false,
    ),
    column(
        PairColumn::Since,
        "Since start",
        "Change of the chosen answer since the run began, nats",
        84.0,
        false,
    ),
    column(
        PairColumn::Ches,
        "CHES",
        "How alike the answers' hidden states are under the base model, length-normalised (arXiv 2410.08847)",
        66.0,
        false,
    ),
    column(
        PairColumn::WrongWay,
        "Wrong way",
        "Share of the common tokens behind the first difference that DPO pushes down although they are right",
        82.0,
        false,
    ),
    column(
        PairColumn::Heading,
        "Next step",
        "Forecast: change of the chosen answer by one more update, nats",
        80.0,
        false,
    ),
];

pub fn pairs_card(
    ui: &mut Ui,
    run: &RunView,
    probe: Option<&ProbeView>,
    inspect: &mut Inspection,
    list_height: f32,
) {
    let t = ui.tokens();
    let frame = widgets::card_frame(t).inner_margin(Margin::symmetric(14, 10));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        inspect.arm = inspect.arm.min(run.arms.len().saturating_sub(1));
        let Some(arm) = run.arms.get(inspect.arm) else { return };
        let rows = rows(run, probe, &arm.name);
        let shown: Vec<usize> = sorted(&rows, inspect.sort)
            .into_iter()
            .filter(|&index| !inspect.penalty_only || rows[index].penalty())
            .filter(|&index| {
                let pair = probe.and_then(|probe| probe.pairs().get(index));
                pair.is_none_or(|pair| holds(pair, &inspect.filter))
            })
            .collect();
        controls(ui, run, inspect, &rows, shown.len());
        let columns = Layouted::new(ui, &rows);
        titles(ui, inspect, &columns);
        list(ui, &rows, &shown, &columns, inspect, list_height);
    });
}

/// Arm, filters, and how many pairs there are.
fn controls(ui: &mut Ui, run: &RunView, inspect: &mut Inspection, rows: &[PairRow], shown: usize) {
    let t = ui.tokens();
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        let names: Vec<String> = run.arms.iter().map(|arm| arm_title(&arm.name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !trace::many(run) {
            if let Some(index) = widgets::small_segmented(ui, &names, inspect.arm) {
                inspect.arm = index;
            }
        } else {
            arm_menu(ui, &names, &mut inspect.arm);
        }
        let edit = TextEdit::singleline(&mut inspect.filter)
            .hint_text("Find words or a row")
            .desired_width(150.0)
            .margin(Margin::symmetric(8, 4));
        ui.add(edit).accessible_name("Find pairs");
        widgets::small_switch(ui, &mut inspect.penalty_only, "Penalty on");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let below = rows.iter().filter(|row| row.penalty()).count();
            let text = if shown < rows.len() {
                format!("{shown} of {} pairs", rows.len())
            } else {
                format!("{below} of {} chosen answers below the reference", rows.len())
            };
            ui.add(egui::Label::new(RichText::new(text).size(12.0).color(t.text_muted)).truncate());
        });
    });
}

/// The choice of an arm where there are too many to stand side by side.
fn arm_menu(ui: &mut Ui, names: &[&str], arm: &mut usize) {
    let shown = names.get(*arm).copied().unwrap_or_default();
    let menu = ComboBox::from_id_salt("arm of the pairs").width(120.0).selected_text(shown);
    let response = menu.show_ui(ui, |ui| {
        for (index, name) in names.iter().enumerate() {
            ui.selectable_value(arm, index, *name);
        }
    });
    response.response.accessible_name("Arm");
}

/// Columns that have something to say, with their places.
struct Layouted {
    columns: Vec<(&'static Column, f32, f32)>,
    width: f32,
    /// Largest absolute value of each column, for bars and decimals.
    largest: Vec<f64>,
}

impl Layouted {
    fn new(ui: &Ui, rows: &[PairRow]) -> Self {
        let width = ui.available_width() - 10.0;
        let said = |column: &&Column| rows.iter().any(|row| row.value(column.key).is_some());
        let columns: Vec<&'static Column> = COLUMNS.iter().filter(said).collect();
        let wanted: f32 = columns.iter().map(|column| column.width).sum();
        let bars = columns.iter().filter(|column| column.bar).count().max(1) as f32;
        let even = ((wanted - width) / columns.len().max(1) as f32).max(0.0);
        let for_bars = ((width - wanted) / bars).clamp(0.0, 170.0);
        let mut left = 0.0;
        let mut placed = Vec::new();
        for column in columns {
            let own = column.width - even + if column.bar { for_bars } else { 0.0 };
            placed.push((column, left, own));
            left += own;
        }
        let largest = |column: &Column| {
            let values = rows.iter().filter_map(|row| row.value(column.key));
            values.map(f64::abs).fold(1e-9, f64::max)
        };
        let largest = placed.iter().map(|(column, _, _)| largest(column)).collect();
        Self { columns: placed, width, largest }
    }
}

fn titles(ui: &mut Ui, inspect: &mut Inspection, columns: &Layouted) {
    let t = ui.tokens();
    let (rect, _) = ui.allocate_exact_size(vec2(columns.width, 26.0), Sense::hover());
    for (column, left, width) in &columns.columns {
        let cell = Rect::from_min_size(rect.min + vec2(*left, 0.0), vec2(width - 6.0, 26.0));
        let (current, descending) = inspect.sort;
        let on = current == column.key;
        let text = match (on, descending) {
            (true, true) => format!("{} ▼", column.title),
            (true, false) => format!("{} ▲", column.title),
            _ => column.title.to_owned(),
        };
        let ink = if on { t.text } else { t.text_muted };
        let mut child = ui.new_child(
            UiBuilder::new().max_rect(cell).layout(Layout::left_to_right(Align::Center)),
        );
        child.spacing_mut().button_padding.x = 0.0;
        let text = RichText::new(text).font(theme::medium(12.0)).color(ink);
        let name = format!("Sort by {}", column.title.to_lowercase());
        let response = child.add(Button::new(text).frame(false).truncate()).accessible_name(name);
        if response.on_hover_text(column.help).clicked() {
            inspect.sort = (column.key, on && !descending);
        }
    }
    ui.painter().hline(rect.x_range(), rect.bottom(), Stroke::new(1.0, t.card_border));
}

fn list(
    ui: &mut Ui,
    rows: &[PairRow],
    shown: &[usize],
    columns: &Layouted,
    inspect: &mut Inspection,
    most: f32,
) {
    ui.spacing_mut().item_spacing.y = 0.0;
    let height = (shown.len().max(1) as f32 * ROW_HEIGHT).min(most);
    let area = ScrollArea::vertical().id_salt("pairs").auto_shrink(false).max_height(height);
    area.show_rows(ui, ROW_HEIGHT, shown.len(), |ui, range| {
        for &index in &shown[range] {
            if row_ui(ui, &rows[index], columns, inspect.pair == index) {
                inspect.pair = index;
            }
        }
    });
    if shown.is_empty() {
        widgets::hint(ui, "No pair is like that.");
    }
}

/// Draws a row; answers whether it was chosen.
fn row_ui(ui: &mut Ui, row: &PairRow, columns: &Layouted, selected: bool) -> bool {
    let t = ui.tokens();
    let size = vec2(columns.width, ROW_HEIGHT);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let words = || spoken(row, columns);
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Row, true, selected, words()));
    let ground = rect.expand2(vec2(6.0, 0.0));
    if selected {
        let fill = t.accent.gamma_multiply(if t.dark { 0.24 } else { 0.12 });
        ui.painter().rect_filled(ground, 4.0, fill);
    } else if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(ground, 4.0, t.button.gamma_multiply(0.6));
    }
    for ((column, left, width), largest) in columns.columns.iter().zip(&columns.largest) {
        let cell = Rect::from_min_size(rect.min + vec2(*left, 0.0), vec2(width - 10.0, ROW_HEIGHT));
        cell_ui(ui, row, column, cell, *largest, t);
    }
    let by_key = response.has_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    response.clicked() || by_key
}

/// Room for a number, which stands at its right end.
const NUMBER_WIDTH: f32 = 54.0;

fn cell_ui(ui: &Ui, row: &PairRow, column: &Column, cell: Rect, largest: f64, t: &Tokens) {
    let (text, color) = written(row, column.key, largest, t);
    if !column.bar {
        text_at(ui, cell.left_center(), Align2::LEFT_CENTER, &text, color);
        return;
    }
    let number = cell.left() + NUMBER_WIDTH.min(cell.width());
    text_at(ui, pos2(number, cell.center().y), Align2::RIGHT_CENTER, &text, color);
    let ink = match column.key {
        PairColumn::Chosen => t.chosen,
        PairColumn::Rejected => t.rejected,
        _ => t.text_muted,
    };
    if let Some(value) = row.value(column.key) {
        bar(ui, cell, value / largest, ink);
    }
}

/// A value as it stands in its cell.
fn written(row: &PairRow, key: PairColumn, largest: f64, t: &Tokens) -> (String, Color32) {
    let Some(value) = row.value(key) else { return ("–".into(), t.text_faint) };
    match key {
        PairColumn::Row | PairColumn::FirstDifference | PairColumn::Edits => {
            (format!("{value:.0}"), t.text_muted)
        }
        PairColumn::Penalty if value > 0.0 => ("on".into(), t.danger),
        PairColumn::Penalty => ("off".into(), t.text_faint),
        PairColumn::WrongWay => (format::percent(value), t.text),
        PairColumn::Heading => (format::number(value), t.text),
        _ => (format::fixed(value, largest), t.text),
    }
}

/// What a screen reader says of a row.
fn spoken(row: &PairRow, columns: &Layouted) -> String {
    let say = |(column, _, _): &(&'static Column, f32, f32)| {
        let (text, _) = written(row, column.key, 1.0, &theme::DARK);
        format!("{} {text}", column.title.to_lowercase())
    };
    columns.columns.iter().map(say).collect::<Vec<_>>().join(", ")
}

/// A bar beside the number: left of its middle for falls, right for gains.
fn bar(ui: &Ui, cell: Rect, share: f64, color: Color32) {
    let room = (cell.width() - NUMBER_WIDTH - 10.0) / 2.0;
    if room < 8.0 {
        return;
    }
    let middle = cell.right() - room;
    let end = middle + room * share.clamp(-1.0, 1.0) as f32;
    let half = 4.0;
    let y = cell.center().y;
    let rect = Rect::from_min_max(pos2(end.min(middle), y - half), pos2(end.max(middle), y + half));
    ui.painter().rect_filled(rect, 2.0, color.gamma_multiply(0.55));
    ui.painter().vline(middle, (y - 7.0)..=(y + 7.0), Stroke::new(1.0, ui.tokens().card_border));
}

fn text_at(ui: &Ui, at: egui::Pos2, anchor: Align2, text: &str, color: Color32) {
    ui.painter().text(at, anchor, text, theme::regular(12.5), color);
}

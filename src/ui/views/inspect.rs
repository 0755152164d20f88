//! Inspect: every probe pair of the newest probe, arm beside arm.

use eframe::egui::{
    self, Align, Align2, Button, CentralPanel, Color32, Frame, Layout, Margin, Rect, RichText,
    ScrollArea, Sense, Stroke, Ui, UiBuilder, pos2, vec2,
};

use crate::report::format;
use crate::report::run_view::{RunView, arm_title};
use crate::train::event::ProbePair;
use crate::ui::action::{Action, Actions};
use crate::ui::command::Command;
use crate::ui::state::{PairColumn, State};
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::widgets;

const ROW_HEIGHT: f32 = 26.0;
const ROW_COLUMN: f32 = 62.0;

/// Changes from the reference of one pair under one arm, in nats.
#[derive(Clone, Copy)]
struct Figures {
    chosen: f64,
    rejected: f64,
}

impl Figures {
    fn of(pair: &ProbePair) -> Self {
        Self { chosen: pair.chosen - pair.ref_chosen, rejected: pair.rejected - pair.ref_rejected }
    }

    fn margin(self) -> f64 {
        self.chosen - self.rejected
    }

    /// The chosen answer lies below the reference: DPOP's penalty is on.
    fn penalty(self) -> bool {
        self.chosen < 0.0
    }
}

pub fn inspect_ui(ui: &mut Ui, state: &mut State, actions: &mut Actions) {
    let t = ui.tokens();
    let frame = Frame::new().fill(t.window).inner_margin(Margin::same(12));
    CentralPanel::default().frame(frame).show(ui, |ui| {
        if state.run.pairs.values().all(Vec::is_empty) {
            widgets::empty_state(
                ui,
                "No probe yet",
                &[
                    "A run scores the same held-out pairs again and again.",
                    "Each of them appears here with what both adapters did to it.",
                ],
                |ui| {
                    if widgets::primary_button(ui, true, "Go to Train").clicked() {
                        actions.push(Action::Run(Command::ShowTrain));
                    }
                },
            );
            return;
        }
        header(ui, &state.run);
        let frame = widgets::card_frame(t).inner_margin(Margin::symmetric(14, 10));
        frame.show(ui, |ui| {
            ui.set_width(ui.available_width());
            table(ui, state);
        });
    });
}

fn header(ui: &mut Ui, run: &RunView) {
    let t = ui.tokens();
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        ui.label(RichText::new("Probe pairs").font(theme::semibold(16.0)));
        let text =
            format!("at step {}, change from the reference in nats per answer", run.pairs_step);
        ui.label(RichText::new(text).size(12.5).color(t.text_muted));
    });
    ui.add_space(2.0);
}

/// Width of the column that says whether the penalty is on.
const PENALTY_COLUMN: f32 = 62.0;

/// Space before each arm's columns.
const GROUP_GAP: f32 = 30.0;

/// Column positions for the width there is.
struct Columns {
    left: f32,
    group: f32,
    cell: f32,
}

impl Columns {
    fn new(left: f32, width: f32, arms: usize) -> Self {
        let group = (width - ROW_COLUMN) / arms.max(1) as f32;
        let cell = (group - GROUP_GAP - PENALTY_COLUMN) / 3.0;
        Self { left: left + ROW_COLUMN, group, cell }
    }

    fn rect(&self, arm: usize, column: usize, y: f32, height: f32) -> Rect {
        let left = self.left + self.group * arm as f32 + GROUP_GAP + self.cell * column as f32;
        let width = if column == 3 { PENALTY_COLUMN } else { self.cell - 14.0 };
        Rect::from_min_size(pos2(left, y), vec2(width, height))
    }
}

fn table(ui: &mut Ui, state: &mut State) {
    let t = ui.tokens();
    let arms: Vec<(String, Vec<Figures>)> = state
        .run
        .arms
        .iter()
        .filter_map(|arm| {
            Some((
                arm.name.clone(),
                state.run.pairs.get(&arm.name)?.iter().map(Figures::of).collect(),
            ))
        })
        .collect();
    let rows: Vec<usize> = match arms.first().and_then(|(name, _)| state.run.pairs.get(name)) {
        Some(pairs) => pairs.iter().map(|p| p.row).collect(),
        None => return,
    };
    let width = ui.available_width() - 10.0;
    let columns = Columns::new(ui.max_rect().left(), width, arms.len());
    arm_titles(ui, &arms, &columns, t);
    column_titles(ui, state, arms.len(), &columns, width);
    let order = sorted(&rows, &arms, state.sort);
    let scale = |f: fn(&Figures) -> f64| {
        arms.iter().flat_map(|(_, v)| v).map(|x| f(x).abs()).fold(1e-9, f64::max)
    };
    let scales = [scale(|f| f.chosen), scale(|f| f.rejected), scale(|f| f.margin())];
    ui.spacing_mut().item_spacing.y = 0.0;
    ScrollArea::vertical().auto_shrink(false).show_rows(
        ui,
        ROW_HEIGHT,
        order.len(),
        |ui, range| {
            for index in range {
                let pair = order[index];
                let (rect, response) =
                    ui.allocate_exact_size(vec2(width, ROW_HEIGHT), Sense::hover());
                let words = || row_words(rows[pair], pair, &arms);
                response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Row, true, words()));
                if response.hovered() {
                    ui.painter().rect_filled(
                        rect.expand2(vec2(6.0, 0.0)),
                        4.0,
                        t.button.gamma_multiply(0.6),
                    );
                }
                let cell = Rect::from_min_size(rect.min, vec2(ROW_COLUMN, ROW_HEIGHT));
                text_cell(ui, cell, &rows[pair].to_string(), t.text_muted, Align::Min);
                for (arm, (_, figures)) in arms.iter().enumerate() {
                    if let Some(figures) = figures.get(pair) {
                        pair_cells(ui, *figures, arm, &columns, rect.top(), scales, t);
                    }
                }
            }
        },
    );
}

fn arm_titles(ui: &mut Ui, arms: &[(String, Vec<Figures>)], columns: &Columns, t: &Tokens) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
    for (arm, (name, figures)) in arms.iter().enumerate() {
        let first = columns.rect(arm, 0, rect.top(), 22.0);
        let group = Rect::from_min_size(first.min, vec2(columns.group - GROUP_GAP, 22.0));
        let mut child = ui.new_child(
            UiBuilder::new().max_rect(group).layout(Layout::left_to_right(Align::Center)),
        );
        widgets::line_sample(&mut child, t.text_muted, arm > 0);
        child.label(RichText::new(arm_title(name)).font(theme::semibold(13.0)));
        let below = figures.iter().filter(|f| f.penalty()).count();
        let text = format!("{below} of {} chosen answers below the reference", figures.len());
        child.add(egui::Label::new(RichText::new(text).size(12.0).color(t.text_muted)).truncate());
    }
}

fn column_titles(ui: &mut Ui, state: &mut State, arms: usize, columns: &Columns, width: f32) {
    let t = ui.tokens();
    let (rect, _) = ui.allocate_exact_size(vec2(width, 28.0), Sense::hover());
    let cell = Rect::from_min_size(rect.min, vec2(ROW_COLUMN - 8.0, 26.0));
    sort_button(ui, state, PairColumn::Row, "Row", cell);
    for arm in 0..arms {
        let titles = [
            (PairColumn::Chosen(arm), "Chosen"),
            (PairColumn::Rejected(arm), "Rejected"),
            (PairColumn::Margin(arm), "Margin"),
            (PairColumn::Penalty(arm), "Penalty"),
        ];
        for (column, (key, title)) in titles.into_iter().enumerate() {
            sort_button(ui, state, key, title, columns.rect(arm, column, rect.top(), 26.0));
        }
    }
    ui.painter().hline(rect.x_range(), rect.bottom(), Stroke::new(1.0, t.card_border));
}

fn sort_button(ui: &mut Ui, state: &mut State, column: PairColumn, title: &str, rect: Rect) {
    let t = ui.tokens();
    let (current, descending) = state.sort;
    let on = current == column;
    let text = match (on, descending) {
        (true, true) => format!("{title} ▼"),
        (true, false) => format!("{title} ▲"),
        _ => title.to_owned(),
    };
    let ink = if on { t.text } else { t.text_muted };
    let text = RichText::new(text).font(theme::medium(12.0)).color(ink);
    let name = match column {
        PairColumn::Row => "Sort by row".to_owned(),
        PairColumn::Chosen(arm)
        | PairColumn::Rejected(arm)
        | PairColumn::Margin(arm)
        | PairColumn::Penalty(arm) => {
            let arm = state.run.arms.get(arm).map_or_else(String::new, |a| arm_title(&a.name));
            format!("Sort by {} of {arm}", title.to_lowercase())
        }
    };
    let mut child = ui.new_child(
        egui::UiBuilder::new().max_rect(rect).layout(egui::Layout::left_to_right(Align::Center)),
    );
    child.spacing_mut().button_padding.x = 0.0;
    let response = child.add(Button::new(text).frame(false)).accessible_name(name);
    if response.clicked() {
        state.sort = (column, on && !descending);
    }
}

/// Indices of the pairs in the asked order; equal ones stay in the order of the file.
fn sorted(
    rows: &[usize],
    arms: &[(String, Vec<Figures>)],
    (column, descending): (PairColumn, bool),
) -> Vec<usize> {
    let key = |index: usize| -> f64 {
        let figures = |arm: usize| arms.get(arm).and_then(|(_, f)| f.get(index).copied());
        let value = match column {
            PairColumn::Row => Some(rows[index] as f64),
            PairColumn::Chosen(arm) => figures(arm).map(|f| f.chosen),
            PairColumn::Rejected(arm) => figures(arm).map(|f| f.rejected),
            PairColumn::Margin(arm) => figures(arm).map(Figures::margin),
            PairColumn::Penalty(arm) => figures(arm).map(|f| f64::from(u8::from(f.penalty()))),
        };
        value.unwrap_or(0.0)
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| {
        let ordering = key(a).total_cmp(&key(b));
        if descending { ordering.reverse() } else { ordering }
    });
    order
}

fn pair_cells(
    ui: &mut Ui,
    f: Figures,
    arm: usize,
    columns: &Columns,
    top: f32,
    scales: [f64; 3],
    t: &Tokens,
) {
    let cells = [(f.chosen, t.chosen), (f.rejected, t.rejected), (f.margin(), t.text_muted)];
    for (column, (value, color)) in cells.into_iter().enumerate() {
        let rect = columns.rect(arm, column, top, ROW_HEIGHT);
        bar(ui, rect, value / scales[column], color);
        let number = Rect::from_min_size(rect.min, vec2(NUMBER_WIDTH, ROW_HEIGHT));
        text_cell(ui, number, &format::fixed(value, scales[column]), t.text, Align::Max);
    }
    let rect = columns.rect(arm, 3, top, ROW_HEIGHT);
    let (text, color) = if f.penalty() { ("on", t.danger) } else { ("off", t.text_faint) };
    text_cell(ui, rect, text, color, Align::Min);
}

/// What a screen reader says of a row.
fn row_words(row: usize, pair: usize, arms: &[(String, Vec<Figures>)]) -> String {
    let mut words = format!("Row {row}");
    for (arm, figures) in arms {
        if let Some(f) = figures.get(pair) {
            words.push_str(&format!(
                ", {}: chosen {}, rejected {}, margin {}, penalty {}",
                arm_title(arm),
                format::number(f.chosen),
                format::number(f.rejected),
                format::number(f.margin()),
                if f.penalty() { "on" } else { "off" }
            ));
        }
    }
    words
}

/// Room for a number, which stands at its right end.
const NUMBER_WIDTH: f32 = 54.0;

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

fn text_cell(ui: &mut Ui, rect: Rect, text: &str, color: Color32, align: Align) {
    let anchor = if align == Align::Max { Align2::RIGHT_CENTER } else { Align2::LEFT_CENTER };
    let pos = if align == Align::Max { rect.right_center() } else { rect.left_center() };
    ui.painter().text(pos, anchor, text, theme::regular(12.5), color);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sort_by_any_column_both_ways() {
        let f = |chosen, rejected| Figures { chosen, rejected };
        let arms = vec![("dpop".to_owned(), vec![f(0.1, -3.0), f(-2.0, -1.0), f(0.0, -9.0)])];
        let rows = [7, 3, 5];
        assert_eq!(sorted(&rows, &arms, (PairColumn::Row, false)), [1, 2, 0]);
        assert_eq!(sorted(&rows, &arms, (PairColumn::Chosen(0), false)), [1, 2, 0]);
        assert_eq!(sorted(&rows, &arms, (PairColumn::Margin(0), true)), [2, 0, 1]);
        assert_eq!(sorted(&rows, &arms, (PairColumn::Penalty(0), true)), [1, 0, 2]);
        assert!(!arms[0].1[2].penalty(), "at zero the penalty is off: the inequality is strict");
    }
}

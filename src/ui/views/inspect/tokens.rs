//! One pair: both answers as text, each token tinted by its change from the reference, arm by arm.

use eframe::egui::text::LayoutJob;
use eframe::egui::{
    Align, Color32, Frame, Galley, Label, Layout, Margin, Pos2, Rect, RichText, Sense, Stroke,
    TextFormat, Ui, pos2, vec2,
};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::report::format;
use crate::report::palette::Ink;
use crate::report::run_view::RunView;
use crate::run::probe_records::{RecordedPair, Tokens as Texts};
use crate::ui::chart::color;
use crate::ui::probe::ProbeView;
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::views::inspect::arm_sample;
use crate::ui::widgets;

/// From so many nats on a tint is at its deepest.
const DEEPEST: f32 = 2.0;

pub fn pair_card(ui: &mut Ui, run: &RunView, probe: &ProbeView, number: usize) {
    let Some(pair) = probe.pairs().get(number) else { return };
    let title = format!("Row {}, token by token", pair.row);
    widgets::card(ui, &title, legend, |ui| {
        prompt(ui, pair);
        let sides = [(true, &pair.chosen), (false, &pair.rejected)];
        let differing = differing(pair);
        let wide = ui.available_width() > 820.0;
        let width = if wide { (ui.available_width() - 18.0) / 2.0 } else { ui.available_width() };
        let columns = |ui: &mut Ui| {
            for ((chosen, tokens), differs) in sides.into_iter().zip(&differing) {
                ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
                    ui.set_width(width);
                    answer(ui, run, probe, number, chosen, tokens, differs);
                });
            }
        };
        if wide {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 18.0;
                columns(ui);
            });
        } else {
            columns(ui);
        }
    });
}

fn prompt(ui: &mut Ui, pair: &RecordedPair) {
    let text = pair.prompt.texts.concat();
    if !text.trim().is_empty() {
        let color = ui.tokens().text_muted;
        ui.add(Label::new(RichText::new(text.trim()).size(12.5).color(color)).wrap());
        ui.add_space(4.0);
    }
}

/// For each token of both answers, whether the other answer has another in its place.
fn differing(pair: &RecordedPair) -> [Vec<bool>; 2] {
    let (chosen, rejected) = (&pair.chosen.ids, &pair.rejected.ids);
    let mut marks = [vec![true; chosen.len()], vec![true; rejected.len()]];
    for operation in capture_diff_slices(Algorithm::Myers, chosen, rejected) {
        if let DiffOp::Equal { old_index, new_index, len } = operation {
            marks[0][old_index..old_index + len].fill(false);
            marks[1][new_index..new_index + len].fill(false);
        }
    }
    marks
}

/// One answer under every arm.
fn answer(
    ui: &mut Ui,
    run: &RunView,
    probe: &ProbeView,
    number: usize,
    chosen: bool,
    tokens: &Texts,
    differs: &[bool],
) {
    let t = ui.tokens();
    let (title, ink) =
        if chosen { ("Chosen answer", Ink::Chosen) } else { ("Rejected answer", Ink::Rejected) };
    ui.label(RichText::new(title).font(theme::semibold(12.5)).color(color(ink, t)));
    for (number_of_arm, arm) in run.arms.iter().enumerate() {
        let changes = probe.changes(&arm.name, number, chosen);
        if changes.is_empty() {
            continue;
        }
        ui.horizontal(|ui| {
            ui.set_min_height(18.0);
            arm_sample(ui, run, number_of_arm, ink);
            let sum: f64 = changes.iter().map(|&change| f64::from(change)).sum();
            let text = format!("{} nats", signed(sum));
            ui.label(RichText::new(text).size(12.0).color(t.text_muted));
        });
        let frame =
            Frame::new().fill(t.well).corner_radius(6).inner_margin(Margin::symmetric(10, 7));
        frame.show(ui, |ui| {
            ui.set_width(ui.available_width());
            heat_map(ui, tokens, &changes, differs, t);
        });
        ui.add_space(4.0);
    }
}

/// The text with a tint behind each token; the pointer reads one.
fn heat_map(ui: &mut Ui, tokens: &Texts, changes: &[f32], differs: &[bool], t: &Tokens) {
    let mut job = LayoutJob::default();
    job.wrap.max_width = ui.available_width();
    let mut ends = Vec::with_capacity(changes.len());
    let mut length = 0;
    for (text, &change) in tokens.texts.iter().zip(changes) {
        let mut format = TextFormat::simple(theme::regular(13.5), t.text);
        format.line_height = Some(22.0);
        format.background = tint(change, t);
        // Neighbours would overlap.
        format.expand_bg = 0.0;
        job.append(text, 0.0, format);
        length += text.chars().count();
        ends.push(length);
    }
    let galley = ui.fonts_mut(|fonts| fonts.layout_job(job));
    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::hover());
    ui.painter().galley(rect.min, galley.clone(), t.text);
    underline(ui, &galley, rect.min, &ends, differs);
    let words = || {
        let parts = tokens.texts.iter().zip(changes);
        let parts = parts.map(|(text, change)| format!("{text} {}", signed(f64::from(*change))));
        parts.collect::<Vec<_>>().join(", ")
    };
    response.widget_info(|| {
        eframe::egui::WidgetInfo::labeled(eframe::egui::Role::Paragraph, true, words())
    });
    let Some(pointer) = response.hover_pos() else { return };
    let at = galley.cursor_from_pos(pointer - rect.min).index.0;
    let index = ends.partition_point(|&end| end <= at);
    if let (Some(text), Some(&change)) = (tokens.texts.get(index), changes.get(index)) {
        let id = tokens.ids.get(index).copied().unwrap_or_default();
        response.on_hover_text_at_pointer(format!(
            "“{}”, token {} of the answer (id {id}): {} nats from the reference",
            text.escape_debug(),
            index + 1,
            signed(f64::from(change))
        ));
    }
}

/// A line close below the tokens that differ. The galley's own stands at the bottom of its high rows, where it seems to
/// belong to the next one.
fn underline(ui: &Ui, galley: &Galley, at: Pos2, ends: &[usize], differs: &[bool]) {
    let stroke = Stroke::new(1.6, ui.tokens().text);
    let mut index = 0;
    for placed in &galley.rows {
        for glyph in &placed.row.glyphs {
            let token = ends.partition_point(|&end| end <= index);
            index += 1;
            if differs.get(token) == Some(&true) {
                let base = at + placed.pos.to_vec2() + glyph.pos.to_vec2() + vec2(0.0, 2.5);
                ui.painter().hline(base.x..=base.x + glyph.advance_width, base.y, stroke);
            }
        }
        index += usize::from(placed.ends_with_newline);
    }
}

fn signed(v: f64) -> String {
    if v > 0.0 { format!("+{}", format::number(v)) } else { format::number(v) }
}

/// Red where a token became less likely, blue where it became more likely. The root shows small changes as well.
fn tint(change: f32, t: &Tokens) -> Color32 {
    let share = (change.abs() / DEEPEST).min(1.0).sqrt();
    let color = if change < 0.0 { t.danger } else { t.chosen };
    color.gamma_multiply(share * if t.dark { 0.62 } else { 0.5 })
}

/// The scale of the tints. Drawn from right to left.
fn legend(ui: &mut Ui) {
    let t = ui.tokens();
    let small = |text: &str| RichText::new(text.to_owned()).size(11.5).color(t.text_muted);
    ui.label(small("nats per token"));
    ui.label(small("+2"));
    let (rect, _) = ui.allocate_exact_size(vec2(110.0, 12.0), Sense::hover());
    let cells = 44;
    for cell in 0..cells {
        let share = (cell as f32 + 0.5) / cells as f32;
        let left = rect.left() + rect.width() * cell as f32 / cells as f32;
        let right = rect.left() + rect.width() * (cell + 1) as f32 / cells as f32;
        let cell = Rect::from_min_max(pos2(left, rect.top()), pos2(right, rect.bottom()));
        ui.painter().rect_filled(cell, 0.0, tint((share - 0.5) * 2.0 * DEEPEST, t));
    }
    ui.painter().rect_stroke(
        rect,
        0.0,
        Stroke::new(1.0, t.card_border),
        eframe::egui::StrokeKind::Outside,
    );
    ui.label(small("−2"));
    if ui.available_width() > 420.0 {
        ui.label(small("underlined: differs   ·   change from the reference"));
    }
}

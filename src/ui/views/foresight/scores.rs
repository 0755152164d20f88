//! A histogram of each score, and beneath it the rule that cuts it.

use eframe::egui::{
    self, Align, Layout, Margin, Rect, RichText, Sense, Stroke, TextEdit, Ui, pos2, vec2,
};

use crate::insight::Histogram;
use crate::insight::forecast::Forecast;
use crate::ui::foresight::{Rules, Score};
use crate::ui::theme::{self, GAP, TokensExt};
use crate::ui::widgets;

const HEIGHT: f32 = 74.0;

pub fn cards(ui: &mut Ui, forecast: &Forecast, rules: &mut Rules) {
    let columns = if ui.available_width() > 540.0 { 4 } else { 2 };
    let width = ((ui.available_width() - GAP * (columns as f32 - 1.0)) / columns as f32).floor();
    for row in Score::ALL.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for score in row {
                let layout = Layout::top_down(Align::Min);
                ui.allocate_ui_with_layout(vec2(width, 0.0), layout, |ui| {
                    ui.set_max_width(width);
                    card(ui, *score, forecast, rules);
                });
            }
        });
        ui.add_space(GAP - ui.spacing().item_spacing.y);
    }
    ui.add_space(ui.spacing().item_spacing.y - GAP);
}

fn card(ui: &mut Ui, score: Score, forecast: &Forecast, rules: &mut Rules) {
    let t = ui.tokens();
    let margin = Margin { left: 12, right: 12, top: 9, bottom: 9 };
    widgets::card_frame(t).inner_margin(margin).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 4.0;
        ui.label(RichText::new(score.title()).font(theme::semibold(12.5)))
            .on_hover_text(score.help());
        let limit = rules.limit(score);
        match score.histogram(forecast) {
            Some(histogram) => bars(ui, score, histogram, limit.clone().ok().flatten()),
            None => {
                ui.add_sized(vec2(ui.available_width(), HEIGHT + 16.0), egui::Label::new("–"));
            }
        }
        ui.horizontal(|ui| {
            let word = if score.keeps_below() { "at most" } else { "at least" };
            ui.label(RichText::new(word).size(12.0).color(t.text_muted));
            let index = Score::ALL.iter().position(|own| *own == score).unwrap_or_default();
            let edit = TextEdit::singleline(&mut rules.limits[index])
                .hint_text("any")
                .desired_width(f32::INFINITY)
                .margin(Margin::symmetric(8, 3));
            let said = format!("{} {word}", score.title());
            let response = ui.add(edit).accessible_name(said);
            if limit.is_err() {
                let border = Stroke::new(1.2, t.danger);
                ui.painter().rect_stroke(response.rect, 6.0, border, egui::StrokeKind::Inside);
            }
        });
        if let Err(problem) = limit {
            widgets::complaint(ui, &problem);
        }
    });
}

fn bars(ui: &mut Ui, score: Score, histogram: &Histogram, limit: Option<f64>) {
    let t = ui.tokens();
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT + 16.0), Sense::hover());
    let frame = Rect::from_min_max(rect.min, pos2(rect.right(), rect.top() + HEIGHT));
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1) as f32;
    let bins = histogram.counts.len() as f64;
    let edge = |bin: usize| histogram.low + (histogram.high - histogram.low) * bin as f64 / bins;
    let pointed = ui.input(|i| i.pointer.hover_pos()).filter(|at| response.rect.contains(*at));
    let mut told = String::new();
    for (bin, &count) in histogram.counts.iter().enumerate() {
        let x = |bin: usize| frame.left() + frame.width() * bin as f32 / bins as f32;
        let (left, right) = (x(bin) + 0.5, x(bin + 1) - 0.5);
        // A bin that is not empty shows.
        let height = if count == 0 { 0.0 } else { (count as f32 / most * HEIGHT).max(2.0) };
        let bar =
            Rect::from_min_max(pos2(left, frame.bottom() - height), pos2(right, frame.bottom()));
        let out = limit.is_some_and(|limit| {
            if score.keeps_below() { edge(bin) > limit } else { edge(bin + 1) < limit }
        });
        let ink = if out { t.text_faint.gamma_multiply(0.4) } else { t.chosen };
        ui.painter().rect_filled(bar, 1.5, ink);
        if pointed.is_some_and(|at| (left..=right).contains(&at.x)) {
            let (from, to) = (score.text(edge(bin)), score.text(edge(bin + 1)));
            told = format!("{count} pairs from {from} to {to}");
        }
    }
    ui.painter().hline(frame.x_range(), frame.bottom(), Stroke::new(1.0, t.grid));
    if let Some(limit) = limit
        && (histogram.low..=histogram.high).contains(&limit)
        && histogram.high > histogram.low
    {
        let share = (limit - histogram.low) / (histogram.high - histogram.low);
        let x = egui::lerp(frame.x_range(), share as f32);
        ui.painter().vline(x, frame.y_range(), Stroke::new(1.4, t.danger));
    }
    let below = frame.bottom() + 9.0;
    let ends = [
        (frame.left(), egui::Align2::LEFT_CENTER, histogram.low),
        (frame.right(), egui::Align2::RIGHT_CENTER, histogram.high),
    ];
    for (x, anchor, value) in ends {
        let font = theme::regular(11.0);
        ui.painter().text(pos2(x, below), anchor, score.text(value), font, t.text_faint);
    }
    let said = format!(
        "{}, {} to {}, most pairs in a bin: {most}",
        score.title(),
        score.text(histogram.low),
        score.text(histogram.high)
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Figure, true, &said));
    if !told.is_empty() {
        response.on_hover_text_at_pointer(told);
    }
}

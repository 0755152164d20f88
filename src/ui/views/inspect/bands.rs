//! The newest gradient forecast of one arm: for each of its pairs the band of push ratios that would lower no chosen and
//! raise no rejected answer, and the ratio with which the arm pushes.

use eframe::egui::{self, Align2, Color32, Painter, Rect, Sense, Shape, Stroke, Ui, pos2, vec2};

use crate::config::arm_title;
use crate::report::format;
use crate::report::run_view::{Forecast, RunView};
use crate::train::event::PairGradients;
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::widgets;

const HELP: &str = "A step on the pair itself, to first order: with r below the band it would lower the chosen answer, \
                    with r above it raise the rejected one (arXiv 2604.18239). r says how many times harder the loss \
                    pushes the chosen answer up than the rejected one down: 1 for DPO, 1 + lambda while DPOP's penalty acts.";

const ROW: f32 = 24.0;
const NAMES: f32 = 64.0;
/// Words behind the bars.
const WORDS: f32 = 190.0;
/// Pairs shown at most.
const SHOWN: usize = 12;

pub fn bands_card(ui: &mut Ui, run: &RunView, arm: usize) {
    let Some(arm) = run.arms.get(arm).or_else(|| run.arms.first()) else { return };
    let Some(forecast) = run.forecasts.get(&arm.name) else { return };
    let title = format!("Forecast for {} at step {}", arm_title(&arm.name), forecast.step);
    widgets::card(
        ui,
        &title,
        |_| {},
        |ui| {
            let t = ui.tokens();
            summary(ui, forecast);
            let pairs = &forecast.pairs[..forecast.pairs.len().min(SHOWN)];
            let height = ROW * pairs.len() as f32 + 20.0;
            let (rect, _) =
                ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
            let axis = Axis::over(pairs, rect);
            axis.draw(ui.painter(), t);
            for (number, pair) in pairs.iter().enumerate() {
                let top = rect.top() + ROW * number as f32;
                let row = Rect::from_min_size(pos2(rect.left(), top), vec2(rect.width(), ROW));
                pair_row(ui, &axis, row, pair, t);
            }
        },
    );
}

fn summary(ui: &mut Ui, forecast: &Forecast) {
    let all = forecast.pairs.len();
    let text = format!(
        "A step of plain DPO on the pair itself would lower {:.0} of {all} chosen answers, a step of this arm's loss {}. \
         Bars: the push ratios r that would do no harm; the dot is the arm's r.",
        forecast.share * all as f64,
        forecast.falling(),
    );
    widgets::hint(ui, text).on_hover_text(HELP);
    ui.add_space(4.0);
}

/// Push ratios from left to right, by their logarithm.
struct Axis {
    frame: Rect,
    low: f64,
    high: f64,
}

/// Ratios beyond these stand at the edge.
const LEAST: f64 = 0.1;
const MOST: f64 = 1e4;

impl Axis {
    /// Wide enough for every ratio and every finite end of a band within its limits.
    fn over(pairs: &[PairGradients], rect: Rect) -> Axis {
        let frame = Rect::from_min_max(
            pos2(rect.left() + NAMES, rect.top()),
            pos2((rect.right() - WORDS).max(rect.left() + NAMES + 60.0), rect.bottom() - 20.0),
        );
        let bands = pairs.iter().filter_map(|pair| pair.products.band());
        let ends = bands.flat_map(|band| [Some(band.low), band.high]).flatten();
        let ratios = pairs.iter().filter_map(|pair| pair.ratio);
        let seen = ends.chain(ratios).filter(|v| (LEAST..=MOST).contains(v));
        let (low, high) = seen.fold((0.5f64, 2.0f64), |(l, h), v| (l.min(v), h.max(v)));
        Axis { frame, low: low.log10() - 0.08, high: high.log10() + 0.08 }
    }

    fn x(&self, ratio: f64) -> f32 {
        let share = (ratio.max(1e-9).log10() - self.low) / (self.high - self.low);
        egui::lerp(self.frame.x_range(), share.clamp(0.0, 1.0) as f32)
    }

    fn draw(&self, painter: &Painter, t: &Tokens) {
        let room = f64::from(self.frame.width()) / (self.high - self.low);
        let mantissas: &[f64] = if room > 110.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        for power in self.low.floor() as i32..=self.high.ceil() as i32 {
            for mantissa in mantissas {
                let ratio = mantissa * 10f64.powi(power);
                if !(self.low..=self.high).contains(&ratio.log10()) {
                    continue;
                }
                let x = self.x(ratio);
                let ink = if ratio == 1.0 { t.reference } else { t.grid };
                painter.vline(x, self.frame.y_range(), Stroke::new(1.0, ink));
                let label = if ratio == 1.0 { "r = 1".into() } else { format::tick(ratio, ratio) };
                let at = pos2(x, self.frame.bottom() + 10.0);
                let font = theme::regular(11.0);
                painter.text(at, Align2::CENTER_CENTER, label, font, t.text_faint);
            }
        }
    }
}

fn pair_row(ui: &mut Ui, axis: &Axis, row: Rect, pair: &PairGradients, t: &Tokens) {
    let painter = ui.painter();
    let middle = row.center().y;
    let name = format!("row {}", pair.row);
    let font = theme::regular(12.0);
    painter.text(pos2(row.left(), middle), Align2::LEFT_CENTER, &name, font, t.text_muted);
    let Some(band) = pair.products.band() else { return };
    let (from, to) = (axis.x(band.low), band.high.map_or(axis.frame.right(), |high| axis.x(high)));
    let bar = Rect::from_x_y_ranges(from..=to.max(from + 2.0), middle - 4.0..=middle + 4.0);
    painter.rect_filled(bar, 3.0, t.success.gamma_multiply(0.45));
    if band.high.is_none() {
        let tip = pos2(axis.frame.right() + 8.0, middle);
        let back = axis.frame.right();
        let head = vec![pos2(back, middle - 4.0), tip, pos2(back, middle + 4.0)];
        let fill = t.success.gamma_multiply(0.45);
        painter.add(Shape::convex_polygon(head, fill, Stroke::NONE));
    }
    let (word, ink) = verdict(pair, t);
    if let Some(ratio) = pair.ratio {
        let at = pos2(axis.x(ratio), middle);
        painter.circle(at, 4.5, ink, Stroke::new(1.6, t.card));
    }
    let at = pos2(axis.frame.right() + 16.0, middle);
    painter.text(at, Align2::LEFT_CENTER, &word, theme::medium(12.0), ink);
    let response = ui.interact(row, ui.scope_id().with(("band", pair.row)), Sense::hover());
    let upper = band.high.map_or("no upper end".to_owned(), format::number);
    let ratio = pair.ratio.map_or("none".to_owned(), ratio_text);
    let said = format!(
        "{name}: r {ratio}, band {} to {upper}, {word}; by the optimiser's heading {} nats with the next update",
        format::number(band.low),
        format::number(pair.heading),
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &said));
    response.on_hover_text(&said);
}

/// `1`, `51`, `3.25`.
fn ratio_text(ratio: f64) -> String {
    if ratio.fract() == 0.0 { format!("{ratio:.0}") } else { format::number(ratio) }
}

fn verdict(pair: &PairGradients, t: &Tokens) -> (String, Color32) {
    let (Some(band), Some(ratio)) = (pair.products.band(), pair.ratio) else {
        return ("no push".to_owned(), t.text_muted);
    };
    let r = ratio_text(ratio);
    if band.holds(ratio) {
        (format!("r = {r}: no harm"), t.success)
    } else if ratio < band.low {
        (format!("r = {r}: chosen falls"), t.danger)
    } else {
        (format!("r = {r}: rejected rises"), t.warning)
    }
}

//! What the pointer reads in a chart: every figure of that step, beside the pointer.

use eframe::egui::{
    Align2, Area, Color32, Frame, Grid, Id, Margin, Order, Pos2, RichText, Ui, pos2, vec2,
};

use crate::report::charts::{Unit, reference_level};
use crate::report::ruler::Axis;
use crate::report::run_view::{RunView, arm_title};
use crate::report::series::Source;
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::views::charts::Look;
use crate::ui::widgets;

/// One line: its name, where its values come from, how they are written.
struct Line {
    name: &'static str,
    source: Source,
    metric: String,
    unit: Unit,
    color: Option<fn(&Tokens) -> Color32>,
    /// The answer whose reference belongs beside it.
    answer: Option<&'static str>,
}

fn lines(look: Look) -> Vec<Line> {
    let answer = |answer: &'static str, color: fn(&Tokens) -> Color32| Line {
        name: answer,
        source: Source::Probe,
        metric: look.scale.metric(answer),
        unit: Unit::Plain,
        color: Some(color),
        answer: Some(answer),
    };
    let plain = |name, source, metric: &str, unit| Line {
        name,
        source,
        metric: metric.to_owned(),
        unit,
        color: None,
        answer: None,
    };
    vec![
        answer("chosen", |t| t.chosen),
        answer("rejected", |t| t.rejected),
        plain("margin", Source::Probe, "rewards/margins", Unit::Plain),
        plain("accuracy", Source::Probe, "rewards/accuracies", Unit::Share),
        plain("under the penalty", Source::Probe, "dpop/active", Unit::Share),
        plain("loss of the batch", Source::Step, "loss", Unit::Plain),
        plain("gradient norm", Source::Step, "grad_norm", Unit::Plain),
        plain("learning rate", Source::Step, "learning_rate", Unit::Scientific),
    ]
}

/// Width of the box with two arms, and its height: for choosing its side.
const BOX: [f32; 2] = [330.0, 250.0];

/// Draws the box beside `pointer`.
pub fn readings(ui: &Ui, run: &RunView, look: Look, step: f64, pointer: Pos2) {
    let screen = ui.ctx().content_rect();
    let left = pointer.x + BOX[0] < screen.right();
    let x = if left { pointer.x + 26.0 } else { pointer.x - 26.0 };
    let y = (pointer.y + 10.0).min(screen.bottom() - BOX[1]);
    Area::new(Id::unique("readings"))
        .order(Order::Tooltip)
        .interactable(false)
        .pivot(if left { Align2::LEFT_TOP } else { Align2::RIGHT_TOP })
        .fixed_pos(pos2(x, y))
        .constrain(true)
        .show(ui.ctx(), |ui| {
            Frame::popup(ui.style()).inner_margin(Margin::same(12)).show(ui, |ui| {
                ui.spacing_mut().item_spacing = vec2(14.0, 4.0);
                ui.spacing_mut().interact_size.y = 14.0;
                title(ui, run, step);
                table(ui, run, look, step);
            });
        });
}

fn title(ui: &mut Ui, run: &RunView, step: f64) {
    let muted = ui.tokens().text_muted;
    ui.horizontal(|ui| {
        ui.label(RichText::new(Axis::Step.words(step)).font(theme::semibold(12.5)));
        let also = [Axis::Epoch, Axis::Time].map(|axis| axis.words(run.ruler(axis).x(step)));
        ui.label(RichText::new(also.join(" · ")).size(11.5).color(muted));
    });
}

fn table(ui: &mut Ui, run: &RunView, look: Look, step: f64) {
    let t = ui.tokens();
    let small = |text: String| RichText::new(text).size(12.0);
    Grid::new("readings").num_columns(run.arms.len() + 2).spacing(vec2(16.0, 4.0)).show(ui, |ui| {
        ui.label("");
        for arm in &run.arms {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                widgets::line_sample(ui, t.text_muted, !arm.kept);
                ui.label(RichText::new(arm_title(&arm.name)).font(theme::medium(12.0)));
            });
        }
        ui.label(RichText::new("reference").size(11.5).color(t.text_muted));
        ui.end_row();
        for line in lines(look) {
            let color = line.color.map_or(t.text_muted, |color| color(t));
            ui.label(small(line.name.to_owned()).color(color));
            for arm in &run.arms {
                let series = run.store.get(line.source, &arm.name, &line.metric);
                let value = series.and_then(|s| s.nearest(step));
                let text = value.map_or_else(|| "–".to_owned(), |(_, v)| line.unit.value(v));
                ui.label(small(text));
            }
            if let Some(level) = line.answer.and_then(|a| reference_level(run, a, look.scale)) {
                ui.label(small(line.unit.value(level)).color(t.text_muted));
            }
            ui.end_row();
        }
    });
}

//! What the pointer reads in a chart: every figure of that step, beside the pointer.

use eframe::egui::{
    Align2, Area, Color32, Frame, Grid, Id, Margin, Order, Pos2, RichText, Ui, pos2, vec2,
};

use crate::config::arm_title;
use crate::report::charts::{Unit, reference_level};
use crate::report::palette::Ink;
use crate::report::ruler::Axis;
use crate::report::run_view::RunView;
use crate::report::series::Source;
use crate::report::trace;
use crate::ui::chart::color;
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

/// Width of the box with so many arms, and its height: for choosing its side.
fn size(arms: usize) -> [f32; 2] {
    [170.0 + 80.0 * arms as f32, 250.0]
}

/// Draws the box beside `pointer`.
pub fn readings(ui: &Ui, run: &RunView, look: Look, step: f64, pointer: Pos2) {
    let screen = ui.ctx().content_rect();
    let size = size(run.arms.len());
    let left = pointer.x + size[0] < screen.right();
    let x = if left { pointer.x + 26.0 } else { pointer.x - 26.0 };
    let y = (pointer.y + 10.0).min(screen.bottom() - size[1]);
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
        for (number, arm) in run.arms.iter().enumerate() {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                let trace = trace::of_arm(run, number, [Ink::Kept, Ink::Twin]);
                widgets::line_sample(ui, color(trace.ink, t), trace);
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

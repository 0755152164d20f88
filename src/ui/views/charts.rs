//! All charts of one run: chosen above rejected, then six small ones, on one x axis and one cursor.

use eframe::egui::{
    self, Align, Align2, Area, Frame, Id, Layout, Margin, Order, RichText, Ui, pos2, vec2,
};

use crate::ui::action::{Action, Actions};
use crate::ui::chart::{ChartCache, ChartSpec, Curve, Mark, Unit, chart_ui};
use crate::ui::command::Command;
use crate::ui::format;
use crate::ui::run_view::{RunView, arm_title};
use crate::ui::series::{Key, Source};
use crate::ui::state::Scale;
use crate::ui::theme::{self, GAP, Tokens, TokensExt};
use crate::ui::widgets;

/// What the charts keep between frames, and the cursor they share.
pub struct Charts<'a> {
    pub cache: &'a mut ChartCache,
    pub hover: &'a mut Option<f64>,
    pub scale: Scale,
}

/// A chart of the lower rows.
struct Small {
    id: &'static str,
    title: &'static str,
    help: &'static str,
    metric: &'static str,
    source: Source,
    unit: Unit,
    smooth: bool,
    include: &'static [f64],
}

const fn small(
    id: &'static str,
    title: &'static str,
    help: &'static str,
    metric: &'static str,
) -> Small {
    Small {
        id,
        title,
        help,
        metric,
        source: Source::Probe,
        unit: Unit::Plain,
        smooth: false,
        include: &[],
    }
}

const fn of_batches(mut chart: Small, unit: Unit, smooth: bool) -> Small {
    chart.source = Source::Step;
    chart.unit = unit;
    chart.smooth = smooth;
    chart
}

const fn share(mut chart: Small) -> Small {
    chart.unit = Unit::Share;
    chart.include = &[0.0, 1.0];
    chart
}

const fn from_zero(mut chart: Small) -> Small {
    chart.include = &[0.0];
    chart
}

const SMALL: [Small; 6] = [
    from_zero(small(
        "margin",
        "Margin",
        "Reward of chosen less reward of rejected on the probe: beta times the difference of their changes \
         from the reference. Larger means the preference is learnt; it grows even while both fall.",
        "rewards/margins",
    )),
    share(small(
        "accuracy",
        "Accuracy",
        "Share of probe pairs whose chosen answer gained more on the reference than the rejected one.",
        "rewards/accuracies",
    )),
    share(small(
        "active",
        "Pairs under the penalty",
        "Share of probe pairs whose chosen answer fell below the reference: there DPOP's lambda pulls.",
        "dpop/active",
    )),
    of_batches(
        from_zero(small(
            "loss",
            "Loss",
            "Loss of each batch before its update, and its moving average.",
            "loss",
        )),
        Unit::Plain,
        true,
    ),
    of_batches(
        from_zero(small(
            "grad_norm",
            "Gradient norm",
            "Global norm of the adapter's gradient, and its moving average.",
            "grad_norm",
        )),
        Unit::Plain,
        true,
    ),
    of_batches(
        from_zero(small(
            "learning_rate",
            "Learning rate",
            "AdamW's step size after warm-up and schedule.",
            "learning_rate",
        )),
        Unit::Scientific,
        false,
    ),
];

/// Draws every chart of `run` into the width there is; at least `height` points high.
pub fn run_charts_ui(
    ui: &mut Ui,
    run: &RunView,
    charts: &mut Charts<'_>,
    height: f32,
    actions: &mut Actions,
) {
    let columns = if ui.available_width() >= 760.0 { 3 } else { 2 };
    let rows = SMALL.len().div_ceil(columns) as f32;
    let small_height = ((height * 0.12).clamp(74.0, 150.0)).round();
    let small_card = small_height + 48.0;
    let main_plots = (height - rows * (small_card + GAP) - 132.0).max(270.0);
    let chosen_height = (main_plots * 0.62).round();
    let rejected_height = (main_plots - chosen_height).round();
    let marks: Vec<Mark> = run
        .collapses
        .iter()
        .map(|c| Mark {
            step: c.step as f64,
            text: format!("{} collapses here", arm_title(&c.arm)),
        })
        .collect();
    let mut hovered = None;
    widgets::card_frame(ui.tokens()).show(ui, |ui| {
        ui.set_width(ui.available_width());
        main_header(ui, charts.scale, actions);
        let parts = [("chosen", chosen_height), ("rejected", rejected_height)];
        for (answer, height) in parts {
            answer_chart(ui, run, charts, answer, height, &marks, &mut hovered);
        }
    });
    ui.add_space(GAP - ui.spacing().item_spacing.y);
    let width = ((ui.available_width() - GAP * (columns as f32 - 1.0)) / columns as f32).floor();
    for row in SMALL.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for chart in row {
                ui.allocate_ui_with_layout(
                    vec2(width, small_card),
                    Layout::top_down(Align::Min),
                    |ui| {
                        ui.set_max_width(width);
                        small_chart(ui, run, charts, chart, small_height, &marks, &mut hovered);
                    },
                );
            }
        });
        ui.add_space(GAP - ui.spacing().item_spacing.y);
    }
    finish_hover(ui, run, charts, hovered);
}

/// Title, what is measured, the scale switch.
fn main_header(ui: &mut Ui, scale: Scale, actions: &mut Actions) {
    let t = ui.tokens();
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        ui.label(RichText::new("Log-likelihood on held-out pairs").font(theme::semibold(14.0)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let labels = Scale::ALL.map(Scale::label);
            let selected = Scale::ALL.iter().position(|&s| s == scale).unwrap_or(0);
            let commands = [Command::ScalePerToken, Command::ScaleSum, Command::ScaleChange];
            if let Some(index) = widgets::segmented(ui, &labels, selected) {
                actions.push(Action::Run(commands[index]));
            }
            if ui.available_width() > 120.0 {
                let unit =
                    if scale == Scale::PerToken { "nats per token" } else { "nats per answer" };
                ui.label(RichText::new(unit).size(11.5).color(t.text_faint));
            }
        });
    });
}

fn answer_curves(run: &RunView, answer: &str, scale: Scale, t: &Tokens) -> Vec<Curve> {
    let color = if answer == "chosen" { t.chosen } else { t.rejected };
    run.arms
        .iter()
        .map(|arm| Curve {
            label: arm_title(&arm.name),
            color,
            dashed: !arm.kept,
            key: Key { source: Source::Probe, arm: arm.name.clone(), metric: scale.metric(answer) },
            smooth: false,
        })
        .collect()
}

/// The reference's level of an answer; every arm has the same.
fn reference_level(run: &RunView, answer: &str, scale: Scale) -> Option<f64> {
    let Some(metric) = scale.reference(answer) else { return Some(0.0) };
    run.arms
        .iter()
        .find_map(|arm| Some(run.store.get(Source::Probe, &arm.name, &metric)?.first()?.1))
}

/// Room around the reference so that noise of a held line does not fill the chart: a little more than
/// the collapse threshold of 0.05 nats per token.
fn least_span(run: &RunView, answer: &str, scale: Scale) -> f64 {
    const PER_TOKEN: f64 = 0.06;
    let level = |s: Scale| reference_level(run, answer, s).filter(|v| v.abs() > 1e-9);
    match scale {
        Scale::PerToken => PER_TOKEN,
        Scale::Sum | Scale::Change => match (level(Scale::Sum), level(Scale::PerToken)) {
            (Some(sum), Some(per_token)) => PER_TOKEN * (sum / per_token).abs(),
            _ => 1.0,
        },
    }
}

fn answer_chart(
    ui: &mut Ui,
    run: &RunView,
    charts: &mut Charts<'_>,
    answer: &'static str,
    height: f32,
    marks: &[Mark],
    hovered: &mut Option<(f64, egui::Pos2)>,
) {
    let t = ui.tokens();
    let chosen = answer == "chosen";
    let curves = answer_curves(run, answer, charts.scale, t);
    let reference = reference_level(run, answer, charts.scale);
    let (title, color) =
        if chosen { ("Chosen answers", t.chosen) } else { ("Rejected answers", t.rejected) };
    ui.horizontal(|ui| {
        ui.set_min_height(20.0);
        ui.label(RichText::new(title).font(theme::semibold(12.5)).color(color));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            legend(ui, run, &curves, *charts.hover, Unit::Plain, reference, true);
        });
    });
    let span = least_span(run, answer, charts.scale);
    let include: Vec<f64> = match reference {
        Some(level) if chosen => vec![level - span, level + span * 0.18],
        Some(level) => vec![level - span * 0.5, level + span * 0.5],
        None => vec![-1.0, 0.0],
    };
    let spec = ChartSpec {
        id: answer,
        height,
        unit: Unit::Plain,
        curves: &curves,
        reference,
        shade: chosen,
        include: &include,
        // A log-likelihood is at most 0; its change may be anything.
        ceiling: (charts.scale != Scale::Change).then_some(0.0),
        marks,
        name_marks: chosen,
        x_labels: !chosen,
        last_step: run.steps as f64,
    };
    let response = chart_ui(ui, &run.store, charts.cache, &spec, *charts.hover);
    if let (Some(step), Some(pointer)) = (response.hovered, response.pointer) {
        *hovered = Some((step, pointer));
    }
}

fn small_curves(run: &RunView, chart: &Small, t: &Tokens) -> Vec<Curve> {
    run.arms
        .iter()
        .map(|arm| Curve {
            label: arm_title(&arm.name),
            color: if arm.kept { t.kept } else { t.twin },
            dashed: !arm.kept,
            key: Key {
                source: chart.source,
                arm: arm.name.clone(),
                metric: chart.metric.to_owned(),
            },
            smooth: chart.smooth,
        })
        .collect()
}

fn small_chart(
    ui: &mut Ui,
    run: &RunView,
    charts: &mut Charts<'_>,
    chart: &Small,
    height: f32,
    marks: &[Mark],
    hovered: &mut Option<(f64, egui::Pos2)>,
) {
    let t = ui.tokens();
    let curves = small_curves(run, chart, t);
    let frame = widgets::card_frame(t).inner_margin(egui::Margin {
        left: 12,
        right: 10,
        top: 8,
        bottom: 6,
    });
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            ui.set_min_height(22.0);
            ui.label(RichText::new(chart.title).font(theme::semibold(12.5)))
                .on_hover_text(chart.help);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                legend(ui, run, &curves, *charts.hover, chart.unit, None, false);
            });
        });
        let spec = ChartSpec {
            id: chart.id,
            height,
            unit: chart.unit,
            curves: &curves,
            reference: None,
            shade: false,
            include: chart.include,
            ceiling: (chart.unit == Unit::Share).then_some(1.0),
            marks,
            name_marks: false,
            x_labels: true,
            last_step: run.steps as f64,
        };
        let response = chart_ui(ui, &run.store, charts.cache, &spec, *charts.hover);
        if let (Some(step), Some(pointer)) = (response.hovered, response.pointer) {
            *hovered = Some((step, pointer));
        }
    });
}

/// Line samples with arm names and values: at the cursor if there is one, else the newest. Drawn from
/// right to left.
fn legend(
    ui: &mut Ui,
    run: &RunView,
    curves: &[Curve],
    hover: Option<f64>,
    unit: Unit,
    reference: Option<f64>,
    names: bool,
) {
    let t = ui.tokens();
    if let (Some(level), true) = (reference, names) {
        ui.label(RichText::new(unit.value(level)).font(theme::medium(12.0)).color(t.text_muted));
        ui.label(RichText::new("reference").size(12.0).color(t.text_muted));
        widgets::level_sample(ui, t.reference);
        ui.add_space(6.0);
    }
    for curve in curves.iter().rev() {
        let series = run.store.get(curve.key.source, &curve.key.arm, &curve.key.metric);
        let value = series.and_then(|s| hover.map_or_else(|| s.last(), |step| s.nearest(step)));
        let Some((_, value)) = value else { continue };
        ui.label(RichText::new(unit.value(value)).font(theme::semibold(12.0)));
        if names {
            ui.label(RichText::new(&curve.label).font(theme::medium(12.0)));
        }
        widgets::line_sample(ui, curve.color, curve.dashed);
        ui.add_space(if names { 6.0 } else { 2.0 });
    }
}

/// Moves the shared cursor to the nearest recorded step and shows every reading beside the pointer.
fn finish_hover(
    ui: &Ui,
    run: &RunView,
    charts: &mut Charts<'_>,
    hovered: Option<(f64, egui::Pos2)>,
) {
    let step = hovered.and_then(|(x, _)| {
        let kept = run.kept()?;
        let series = run
            .store
            .get(Source::Probe, &kept.name, "logps/chosen")
            .or_else(|| run.store.get(Source::Probe, &kept.name, "logps_per_token/chosen"))
            .or_else(|| run.store.get(Source::Step, &kept.name, "loss"))?;
        Some(series.nearest(x)?.0)
    });
    if *charts.hover != step {
        *charts.hover = step;
        ui.ctx().request_repaint();
    }
    if let (Some(step), Some((_, pointer))) = (step, hovered) {
        readings(ui, run, charts.scale, step, pointer);
    }
}

fn readings(ui: &Ui, run: &RunView, scale: Scale, step: f64, pointer: egui::Pos2) {
    let t = ui.tokens();
    let screen = ui.ctx().content_rect();
    let left = pointer.x + 300.0 < screen.right();
    let at = pos2(if left { pointer.x + 30.0 } else { pointer.x - 30.0 }, pointer.y + 10.0);
    Area::new(Id::unique("readings"))
        .order(Order::Tooltip)
        .interactable(false)
        .pivot(if left { Align2::LEFT_TOP } else { Align2::RIGHT_TOP })
        .fixed_pos(at)
        .constrain(true)
        .show(ui.ctx(), |ui| {
            Frame::popup(ui.style()).inner_margin(Margin::same(12)).show(ui, |ui| {
                ui.spacing_mut().item_spacing = vec2(14.0, 4.0);
                ui.spacing_mut().interact_size.y = 14.0;
                ui.label(RichText::new(format!("Step {step:.0}")).font(theme::semibold(12.5)));
                egui::Grid::new("readings").num_columns(4).spacing(vec2(16.0, 4.0)).show(
                    ui,
                    |ui| {
                        ui.label("");
                        for (title, color) in [
                            ("chosen", t.chosen),
                            ("rejected", t.rejected),
                            ("margin", t.text_muted),
                        ] {
                            ui.label(RichText::new(title).size(11.5).color(color));
                        }
                        ui.end_row();
                        for arm in &run.arms {
                            ui.horizontal(|ui| {
                                ui.spacing_mut().item_spacing.x = 5.0;
                                widgets::line_sample(ui, t.text_muted, !arm.kept);
                                ui.label(
                                    RichText::new(arm_title(&arm.name)).font(theme::medium(12.0)),
                                );
                            });
                            let metrics = [
                                scale.metric("chosen"),
                                scale.metric("rejected"),
                                "rewards/margins".into(),
                            ];
                            for metric in metrics {
                                let value = run.store.get(Source::Probe, &arm.name, &metric);
                                let text = value
                                    .and_then(|s| s.nearest(step))
                                    .map_or_else(|| "–".to_owned(), |(_, v)| format::number(v));
                                ui.label(RichText::new(text).size(12.0));
                            }
                            ui.end_row();
                        }
                    },
                );
            });
        });
}

//! The paper's figure: mean log-probability of the chosen answers' tokens by their distance from the first token that
//! differs, under the reference and under each arm.

use std::ops::RangeInclusive;

use eframe::egui::{Color32, Grid, Rangef, RichText, Stroke, Ui, vec2};
use egui_plot::{
    AxisHints, GridMark, HoverPosition, Line, LineStyle, MarkerShape, Plot, PlotPoint, PlotPoints,
    Points, VLine,
};

use crate::insight::EditProfile;
use crate::report::format;
use crate::report::palette::Ink;
use crate::report::profile::{BEFORE, BEHIND, HELP, ProfileLine, lines};
use crate::report::run_view::RunView;
use crate::report::trace::Trace;
use crate::ui::action::Actions;
use crate::ui::chart::color;
use crate::ui::export::What;
use crate::ui::probe::ProbeView;
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::views::charts::save_picture;
use crate::ui::widgets;

const HEIGHT: f32 = 190.0;

/// One line of the figure.
struct Profile<'a> {
    name: String,
    profile: &'a EditProfile,
    color: Color32,
    trace: Trace,
    style: LineStyle,
    width: f32,
}

pub fn profile_card(ui: &mut Ui, run: &RunView, probe: &ProbeView, actions: &mut Actions) {
    let t = ui.tokens();
    let lines = profiles(run, probe, t);
    widgets::card(
        ui,
        "Where likelihood is lost",
        |ui| {
            // From right to left.
            save_picture(ui, "Save…", What::Profile(Some(probe.now.step)), actions);
            ui.add_space(8.0);
            ui.label(RichText::new("reference").size(12.0).color(t.text_muted));
            widgets::level_sample(ui, t.reference);
            for line in &lines[1..] {
                ui.add_space(8.0);
                ui.label(RichText::new(&line.name).font(theme::medium(12.0)));
                widgets::line_sample(ui, line.color, line.trace);
            }
        },
        |ui| {
            ui.horizontal_top(|ui| {
                let figures = 236.0;
                let width = (ui.available_width() - figures - 18.0).max(200.0);
                ui.allocate_ui(vec2(width, HEIGHT), |ui| figure(ui, &lines, t));
                ui.add_space(10.0);
                ui.vertical(|ui| means(ui, &lines, t));
            });
        },
    );
}

fn profiles<'a>(run: &RunView, probe: &'a ProbeView, t: &Tokens) -> Vec<Profile<'a>> {
    let styled = |line: ProfileLine<'a>| {
        let ProfileLine { name, trace, profile } = line;
        let Some(trace) = trace else {
            let trace = Trace { ink: Ink::Twin, dashed: true, kept: false };
            let style = LineStyle::dotted_dense();
            return Profile { name, profile, color: t.reference, trace, style, width: 1.6 };
        };
        let style = if trace.dashed { LineStyle::Dashed { length: 7.0 } } else { LineStyle::Solid };
        let width = if trace.kept { 2.4 } else { 1.8 };
        Profile { name, profile, color: color(trace.ink, t), trace, style, width }
    };
    lines(run, &probe.reference_profile, &probe.profiles).into_iter().map(styled).collect()
}

fn figure(ui: &mut Ui, lines: &[Profile<'_>], t: &'static Tokens) {
    let ink = t.text_faint;
    let label = |mark: GridMark, _: &RangeInclusive<f64>| {
        let v = mark.value.round();
        if v > 0.0 { format!("+{v}") } else { format::tick(v, 1.0) }
    };
    let x_axis = AxisHints::new_x()
        .label(RichText::new("tokens from the first that differs").size(11.5).color(ink))
        .tick_label_color(ink)
        .tick_label_font(theme::regular(11.0))
        .label_spacing(Rangef::new(20.0, 21.0))
        .formatter(label);
    let y_axis = AxisHints::new_y()
        .min_thickness(48.0)
        .tick_label_color(ink)
        .tick_label_font(theme::regular(11.0))
        .label_spacing(Rangef::new(14.0, 15.0))
        .formatter(|mark: GridMark, _: &RangeInclusive<f64>| {
            format::tick(mark.value, mark.step_size)
        });
    let drawn: Vec<Vec<PlotPoint>> = lines.iter().map(|line| points(line.profile)).collect();
    let response = Plot::new("edit profile")
        .height(HEIGHT)
        .show_background(false)
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .show_crosshair(false)
        .show_grid([false, true])
        .grid_color(t.grid)
        .grid_fade(0.0)
        .include_y(0.0)
        .x_grid_spacer(|input| {
            let step = format::round_step(input.base_step_size * 40.0).max(1.0);
            let range = (input.bounds.0 / step).ceil() as i64..=(input.bounds.1 / step) as i64;
            range.map(|k| GridMark { value: k as f64 * step, step_size: step }).collect()
        })
        .grid_spacing(Rangef::new(1.0, 2.0))
        .y_grid_spacer(|input| {
            let step = format::round_step(input.base_step_size * 30.0);
            if step <= 0.0 {
                return Vec::new();
            }
            let range =
                (input.bounds.0 / step).ceil() as i64..=(input.bounds.1.min(0.0) / step) as i64;
            range.map(|k| GridMark { value: k as f64 * step, step_size: step }).collect()
        })
        .custom_x_axes(vec![x_axis])
        .custom_y_axes(vec![y_axis])
        .label_formatter(|hover| {
            let (HoverPosition::NearDataPoint { position, .. }
            | HoverPosition::Elsewhere { position }) = hover;
            Some(reading(lines, position.x.round() as isize))
        })
        .show(ui, |plot_ui| {
            plot_ui.vline(
                VLine::new("first difference", 0.0).color(t.danger.gamma_multiply(0.6)).width(1.0),
            );
            for (line, points) in lines.iter().zip(&drawn) {
                let drawn = Line::new(line.name.clone(), PlotPoints::Borrowed(points));
                plot_ui.line(drawn.color(line.color).width(line.width).style(line.style));
                let dots = Points::new(line.name.clone(), PlotPoints::Borrowed(points));
                plot_ui
                    .points(dots.color(line.color).radius(line.width).shape(MarkerShape::Circle));
            }
        });
    let words = format!("Where likelihood is lost: {}", reading(lines, 0).replace('\n', ", "));
    response.response.widget_info(|| {
        eframe::egui::WidgetInfo::labeled(eframe::egui::Role::Figure, true, &words)
    });
}

fn points(profile: &EditProfile) -> Vec<PlotPoint> {
    let shown = profile.points.iter().filter(|point| (-BEFORE..=BEHIND).contains(&point.offset));
    shown.map(|point| PlotPoint::new(point.offset as f64, point.mean)).collect()
}

/// Every line's value at one distance.
fn reading(lines: &[Profile<'_>], offset: isize) -> String {
    let mut words = match offset {
        0 => "the first token that differs".to_owned(),
        1.. => format!("{offset} tokens behind it"),
        _ => format!("{} tokens before it", -offset),
    };
    for line in lines {
        if let Some(point) = line.profile.points.iter().find(|point| point.offset == offset) {
            let mean = format::number(point.mean);
            words.push_str(&format!("\n{}: {mean} nats ({} answers)", line.name, point.tokens));
        }
    }
    words
}

/// Means before, at and behind the first difference.
fn means(ui: &mut Ui, lines: &[Profile<'_>], t: &Tokens) {
    ui.spacing_mut().interact_size.y = 16.0;
    let small = |text: &str| RichText::new(text).size(12.0);
    ui.label(small("Mean, nats per token").color(t.text_muted)).on_hover_text(HELP);
    Grid::new("profile means").num_columns(4).spacing(vec2(14.0, 6.0)).show(ui, |ui| {
        ui.label("");
        for title in ["before", "at", "behind"] {
            ui.label(small(title).color(t.text_muted));
        }
        ui.end_row();
        // The reference, then the kept arm, which is drawn last.
        for line in lines.iter().take(1).chain(lines.iter().skip(1).rev()) {
            ui.label(RichText::new(&line.name).font(theme::medium(12.0)));
            for mean in [line.profile.before, line.profile.at, line.profile.after] {
                ui.label(small(&mean.map_or("–".to_owned(), format::number)));
            }
            ui.end_row();
        }
    });
    ui.add_space(4.0);
    let (line, _) = ui.allocate_exact_size(vec2(200.0, 1.0), eframe::egui::Sense::hover());
    ui.painter().hline(line.x_range(), line.top(), Stroke::new(1.0, t.card_border));
    ui.set_max_width(226.0);
    widgets::hint(
        ui,
        "In the paper, behind the difference: −0.37 reference, −1.82 after DPO, −0.26 after DPOP.",
    )
    .on_hover_text(HELP);
}

//! All charts of one run: chosen above rejected, then six small ones, on one x axis and one cursor.

use eframe::egui::{self, Align, Event, Label, Layout, Popup, Pos2, RichText, Ui, vec2};

use crate::report::charts::{self, Chart, Scale};
use crate::report::notes::{Kind, Note};
use crate::report::ruler::Axis;
use crate::report::run_view::RunView;
use crate::report::series::Source;
use crate::report::trace;
use crate::ui::action::{Action, Actions};
use crate::ui::chart::{ChartResponse, Place, chart_ui, color};
use crate::ui::chart_cache::ChartCache;
use crate::ui::command::{Command, TABLE};
use crate::ui::export::{Export, Format, What};
use crate::ui::state::State;
use crate::ui::theme::{self, GAP, TokensExt};
use crate::ui::views::arms::arms_card;
use crate::ui::views::overlays::command_row;
use crate::ui::views::readings::readings;
use crate::ui::widgets;

/// How all charts are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub scale: Scale,
    pub axis: Axis,
    pub smooth: bool,
    /// Place of the cursor on the x axis.
    pub hover: Option<f64>,
}

impl Look {
    pub fn of(state: &State) -> Self {
        let State { scale, axis, smooth, hover, .. } = *state;
        Self { scale, axis, smooth, hover }
    }
}

/// What the charts of one frame share.
struct Board<'a> {
    run: &'a RunView,
    look: Look,
    cache: &'a mut ChartCache,
    hovered: Option<(f64, Pos2)>,
}

impl Board<'_> {
    fn draw(&mut self, ui: &mut Ui, chart: &Chart, height: f32, main: Main) -> ChartResponse {
        let runs = [self.run];
        let place = Place {
            runs: &runs,
            axis: self.look.axis,
            height,
            name_marks: main == Main::Chosen,
            x_labels: main != Main::Chosen,
            hover: self.look.hover,
        };
        let response = chart_ui(ui, self.cache, chart, &place);
        self.hovered = response.hovered.or(self.hovered);
        response
    }
}

/// Which of the charts one is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Main {
    Chosen,
    Rejected,
    Small,
}

/// Draws every chart of `run` into the width there is, at least `height` points high. Answers where the cursor is to
/// stand.
pub fn run_charts_ui(
    ui: &mut Ui,
    run: &RunView,
    cache: &mut ChartCache,
    look: Look,
    height: f32,
    notes: &[Note],
    actions: &mut Actions,
) -> Option<f64> {
    let small = charts::small(run);
    let columns = match ui.available_width() {
        ..760.0 => 2,
        ..900.0 => 3,
        _ => 4,
    };
    let rows = small.len().div_ceil(columns) as f32;
    let small_height = ((height * 0.12).clamp(74.0, 150.0)).round();
    let small_card = small_height + 48.0;
    let main_plots = (height - rows * (small_card + GAP) - 166.0).max(270.0);
    let chosen_height = (main_plots * 0.62).round();
    let heights = [chosen_height, (main_plots - chosen_height).round()];
    let mut board = Board { run, look, cache, hovered: None };
    widgets::card_frame(ui.tokens()).show(ui, |ui| {
        ui.set_width(ui.available_width());
        header(ui, look.scale, actions);
        let answers = charts::answers(run, look.scale, look.smooth);
        if trace::many(run) {
            names(ui, &answers[0]);
        }
        for ((chart, height), main) in
            answers.iter().zip(heights).zip([Main::Chosen, Main::Rejected])
        {
            answer_chart(ui, &mut board, chart, height, main);
        }
        footer(ui, &board, actions);
    });
    ui.add_space(GAP - ui.spacing().item_spacing.y);
    notes_ui(ui, notes);
    if trace::many(run) {
        arms_card(ui, run, actions);
    }
    let width = ((ui.available_width() - GAP * (columns as f32 - 1.0)) / columns as f32).floor();
    for row in small.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for chart in row {
                let size = vec2(width, small_card);
                ui.allocate_ui_with_layout(size, Layout::top_down(Align::Min), |ui| {
                    ui.set_max_width(width);
                    small_chart(ui, &mut board, chart, small_height, actions);
                });
            }
        });
        ui.add_space(GAP - ui.spacing().item_spacing.y);
    }
    let hovered = board.hovered;
    if !trace::many(run) {
        arms_card(ui, run, actions);
    }
    cursor(ui, run, look, hovered)
}

/// Forecasts and advice, a line each.
fn notes_ui(ui: &mut Ui, notes: &[Note]) {
    if notes.is_empty() {
        return;
    }
    let t = ui.tokens();
    let margin = egui::Margin::symmetric(14, 8);
    widgets::card_frame(t).inner_margin(margin).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 4.0;
        for note in notes {
            let color = match note.kind {
                Kind::Forecast | Kind::Record => t.kept,
                Kind::Advice => t.chosen,
                Kind::Warning => t.warning,
            };
            ui.horizontal_top(|ui| {
                let word = RichText::new(note.kind.word()).font(theme::semibold(12.0)).color(color);
                widgets::margin_word(ui, 66.0, word);
                ui.add(Label::new(RichText::new(&note.text).size(12.5)).wrap());
            });
        }
    });
    ui.add_space(GAP - ui.spacing().item_spacing.y);
}

/// Title, what is measured, the scale switch.
fn header(ui: &mut Ui, scale: Scale, actions: &mut Actions) {
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
                ui.label(RichText::new(scale.unit()).size(11.5).color(t.text_faint));
            }
        });
    });
}

/// The lines of all arms by name, for every chart of the run.
fn names(ui: &mut Ui, chart: &Chart) {
    let t = ui.tokens();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(6.0, 2.0);
        for curve in &chart.curves {
            widgets::line_sample(ui, color(curve.trace.ink, t), curve.trace);
            let name = RichText::new(&curve.label);
            ui.label(name.font(if curve.trace.kept {
                theme::semibold(12.0)
            } else {
                theme::medium(12.0)
            }));
            ui.add_space(8.0);
        }
    });
}

fn answer_chart(ui: &mut Ui, board: &mut Board<'_>, chart: &Chart, height: f32, main: Main) {
    let t = ui.tokens();
    let title = if main == Main::Chosen { t.chosen } else { t.rejected };
    ui.horizontal(|ui| {
        ui.set_min_height(20.0);
        ui.label(RichText::new(chart.title).font(theme::semibold(12.5)).color(title))
            .on_hover_text(chart.help);
        // In little room the figures alone: the lines' samples tell which is which.
        let names = ui.available_width() > 330.0;
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| legend(ui, board, chart, names));
    });
    board.draw(ui, chart, height, main);
}

/// Under the x axis: what it shows, smoothing, zoom.
fn footer(ui: &mut Ui, board: &Board<'_>, actions: &mut Actions) {
    let t = ui.tokens();
    let axis = board.look.axis;
    let banded = board.run.arms.iter().any(|arm| {
        let name = "logps_per_token/chosen_p10";
        board.run.store.get(Source::Probe, &arm.name, name).is_some()
    });
    ui.add_space(2.0);
    ui.horizontal(|ui| {
        ui.set_min_height(26.0);
        let labels = Axis::ALL.map(Axis::label);
        let selected = Axis::ALL.iter().position(|&a| a == axis).unwrap_or(0);
        let commands = [Command::AxisStep, Command::AxisEpoch, Command::AxisTime];
        if let Some(index) = widgets::small_segmented(ui, &labels, selected) {
            actions.push(Action::Run(commands[index]));
        }
        let mut smooth = board.look.smooth;
        if widgets::small_switch(ui, &mut smooth, "Smooth")
            .on_hover_text(Command::ToggleSmooth.entry().tooltip)
            .changed()
        {
            actions.push(Action::Run(Command::ToggleSmooth));
        }
        if banded && board.look.scale == Scale::PerToken && ui.available_width() > 330.0 {
            let words = RichText::new("tint: four of five pairs").size(11.5).color(t.text_faint);
            ui.label(words).on_hover_text("Between the 10th and the 90th percentile of the pairs");
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            save_menu(ui, board.run.folder.is_some(), actions);
            let buttons = [
                (Command::ResetCharts, widgets::Icon::Whole, board.cache.is_zoomed()),
                (Command::ZoomIn, widgets::Icon::Plus, true),
                (Command::ZoomOut, widgets::Icon::Minus, board.cache.is_zoomed()),
            ];
            for (command, icon, enabled) in buttons {
                let entry = command.entry();
                let pressed = ui.add_enabled_ui(enabled, |ui| {
                    widgets::icon_button(ui, icon, entry.label).clicked()
                });
                if pressed.inner {
                    actions.push(Action::Run(command));
                }
            }
            if ui.available_width() > 230.0 {
                let words = "Drag to move, Ctrl and wheel to zoom";
                ui.label(RichText::new(words).size(11.5).color(t.text_faint));
            }
        });
    });
}

/// Everything that can be taken away.
fn save_menu(ui: &mut Ui, enabled: bool, actions: &mut Actions) {
    let button = ui.add_enabled_ui(enabled, |ui| widgets::corner_button(ui, "Save…")).inner;
    Popup::menu(&button).width(280.0).show(|ui| {
        for command in TABLE.iter().map(|entry| entry.command) {
            if command.export().is_some() && command_row(ui, command, true) {
                actions.push(Action::Run(command));
                ui.close();
            }
        }
    });
}

/// A button with a menu of the kinds of picture.
pub fn save_picture(ui: &mut Ui, text: &str, what: What, actions: &mut Actions) {
    let button = widgets::corner_button(ui, text);
    Popup::menu(&button).width(160.0).show(|ui| picture_kinds(ui, what, actions));
}

fn picture_kinds(ui: &mut Ui, what: What, actions: &mut Actions) {
    for (text, format) in [("Save as PNG…", Format::Png), ("Save as SVG…", Format::Svg)] {
        if ui.button(text).clicked() {
            actions.push(Action::Save(Export::Picture { what, format }));
            ui.close();
        }
    }
}

fn small_chart(
    ui: &mut Ui,
    board: &mut Board<'_>,
    chart: &Chart,
    height: f32,
    actions: &mut Actions,
) {
    let margin = egui::Margin { left: 12, right: 10, top: 8, bottom: 6 };
    widgets::card_frame(ui.tokens()).inner_margin(margin).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            ui.set_min_height(22.0);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                legend(ui, board, chart, false);
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let title = RichText::new(chart.title).font(theme::semibold(12.5));
                    ui.add(Label::new(title).truncate()).on_hover_text(chart.help);
                });
            });
        });
        let drawn = board.draw(ui, chart, height, Main::Small);
        drawn.response.context_menu(|ui| picture_kinds(ui, What::Small(chart.id), actions));
    });
}

/// Line samples with arm names and values: at the cursor if there is one, else the newest. Drawn from
/// right to left.
fn legend(ui: &mut Ui, board: &Board<'_>, chart: &Chart, names: bool) {
    let t = ui.tokens();
    if let (Some(level), true) = (chart.reference, names) {
        let value = RichText::new(chart.unit.value(level));
        ui.label(value.font(theme::medium(12.0)).color(t.text_muted));
        ui.label(RichText::new("reference").size(12.0).color(t.text_muted));
        widgets::level_sample(ui, t.reference);
        ui.add_space(6.0);
    }
    let ruler = board.run.ruler(board.look.axis);
    let at = board.look.hover.map(|x| ruler.step(x));
    // Of many arms the kept one alone has its figure here; the table has the others.
    let many = trace::many(board.run);
    for curve in chart.curves.iter().rev().filter(|curve| !many || curve.trace.kept) {
        let series = curve.series(&[board.run]);
        let value = series.and_then(|s| at.map_or_else(|| s.last(), |step| s.nearest(step)));
        let Some((_, value)) = value else { continue };
        ui.label(RichText::new(chart.unit.value(value)).font(theme::semibold(12.0)));
        if names {
            ui.label(RichText::new(&curve.label).font(theme::medium(12.0)));
        }
        widgets::line_sample(ui, color(curve.trace.ink, t), curve.trace);
        ui.add_space(if names { 6.0 } else { 2.0 });
    }
}

/// The cursor snaps to the nearest recorded step; every reading stands beside the pointer.
fn cursor(ui: &Ui, run: &RunView, look: Look, hovered: Option<(f64, Pos2)>) -> Option<f64> {
    let Some((x, pointer)) = hovered else {
        // Without a pointer the cursor belongs to the keyboard, until the pointer comes back.
        let moved = |event: &Event| matches!(event, Event::PointerMoved(_) | Event::PointerGone);
        let pointed = ui.input(|i| i.events.iter().any(moved));
        return look.hover.filter(|_| !pointed);
    };
    let ruler = run.ruler(look.axis);
    let step = nearest_reading(run, ruler.step(x))?;
    if look.hover != Some(ruler.x(step)) {
        ui.ctx().request_repaint();
    }
    readings(ui, run, look, step, pointer);
    Some(ruler.x(step))
}

/// The step nearest to `step` at which the run was measured.
pub fn nearest_reading(run: &RunView, step: f64) -> Option<f64> {
    Some(measured(run)?.nearest(step)?.0)
}

/// The measured step before or after `step`.
pub fn next_reading(run: &RunView, step: f64, forward: bool) -> Option<f64> {
    let series = measured(run)?;
    let index = if forward {
        series.before(step + 0.5).min(series.len().checked_sub(1)?)
    } else {
        series.before(step - 0.5).saturating_sub(1)
    };
    (!series.is_empty()).then(|| series.at(index).0)
}

fn measured(run: &RunView) -> Option<&crate::report::series::Series> {
    let kept = run.kept()?;
    let probe = |metric| run.store.get(Source::Probe, &kept.name, metric);
    probe("logps/chosen")
        .or_else(|| probe("logps_per_token/chosen"))
        .or_else(|| run.store.get(Source::Step, &kept.name, "loss"))
}

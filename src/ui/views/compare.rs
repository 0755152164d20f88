//! Runs side by side: curves laid over each other, final figures, settings with what differs first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{Align, Color32, Grid, Label, Layout, RichText, ScrollArea, Ui, vec2};

use crate::config::arm_title;
use crate::report::charts::{self, Chart, Scale, letter};
use crate::report::page::FINAL;
use crate::report::ruler::Axis;
use crate::report::run_view::RunView;
use crate::report::series::Source;
use crate::report::trace;
use crate::ui::action::{Action, Actions};
use crate::ui::chart::{Place, chart_ui, color};
use crate::ui::chart_cache::ChartCache;
use crate::ui::command::Command;
use crate::ui::export::{self, What};
use crate::ui::state::{Comparison, Loaded, Opened, State};
use crate::ui::theme::{self, GAP, Tokens, TokensExt};
use crate::ui::views::charts::{Look, save_picture};
use crate::ui::widgets;

/// The runs that were read and the charts in which they are laid over each other.
pub fn overlaid(compare: &Comparison, look: Look) -> (Vec<&RunView>, Vec<Chart>) {
    let opened = compare.opened();
    let runs: Vec<&RunView> = opened.iter().map(|(_, run)| &run.view).collect();
    let shown = |number: usize, arm: &str| {
        let folder = opened.get(number).map(|(folder, _)| folder.to_path_buf());
        folder.is_some_and(|folder| !compare.hidden.contains(&(folder, arm.to_owned())))
    };
    let charts = charts::compared(&runs, shown, look.scale, look.smooth);
    (runs, charts)
}

/// `A sweep, B demo`: every run with its letter.
pub fn title(compare: &Comparison) -> String {
    let name = |(number, (folder, _)): (usize, (&Path, &Arc<Opened>))| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        format!("{} {name}", letter(number))
    };
    compare.opened().into_iter().enumerate().map(name).collect::<Vec<_>>().join(", ")
}

pub fn compare_ui(ui: &mut Ui, state: &mut State, cache: &mut ChartCache, actions: &mut Actions) {
    let opened: Vec<(PathBuf, Arc<Opened>)> = state
        .compare
        .runs
        .iter()
        .filter_map(|(folder, run)| Some((folder.clone(), run.ready()?.clone())))
        .collect();
    let runs: Vec<&RunView> = opened.iter().map(|(_, run)| &run.view).collect();
    ScrollArea::vertical().id_salt("compare").auto_shrink(false).show(ui, |ui| {
        ui.set_width(ui.available_width() - 10.0);
        header(ui, state, actions);
        for (_, run) in &state.compare.runs {
            if let Loaded::Failed(message) = run {
                widgets::complaint(ui, message);
            }
        }
        if runs.is_empty() {
            ui.spinner();
            return;
        }
        legend(ui, &opened, &mut state.compare);
        let look = Look::of(state);
        state.hover = overlay(ui, &state.compare, cache, look);
        widgets::card(ui, "Final figures", |_| {}, |ui| final_figures(ui, &runs));
        ui.add_space(GAP - ui.spacing().item_spacing.y);
        widgets::card(ui, "Settings", |_| {}, |ui| settings(ui, &opened));
        ui.add_space(GAP);
    });
}

fn header(ui: &mut Ui, state: &State, actions: &mut Actions) {
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        let title = format!("{} runs side by side", state.compare.runs.len());
        ui.label(RichText::new(title).font(theme::semibold(16.0)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if widgets::corner_button(ui, "Compare nothing").clicked() {
                actions.push(Action::CompareNothing);
            }
            save_picture(ui, "Save charts…", What::Compared, actions);
        });
    });
    ui.horizontal_wrapped(|ui| {
        let scales = Scale::ALL.map(Scale::label);
        let scale = Scale::ALL.iter().position(|&s| s == state.scale).unwrap_or(0);
        let commands = [Command::ScalePerToken, Command::ScaleSum, Command::ScaleChange];
        if let Some(index) = widgets::small_segmented(ui, &scales, scale) {
            actions.push(Action::Run(commands[index]));
        }
        let axes = Axis::ALL.map(Axis::label);
        let axis = Axis::ALL.iter().position(|&a| a == state.axis).unwrap_or(0);
        let commands = [Command::AxisStep, Command::AxisEpoch, Command::AxisTime];
        if let Some(index) = widgets::small_segmented(ui, &axes, axis) {
            actions.push(Action::Run(commands[index]));
        }
    });
    ui.add_space(4.0);
}

/// The colour of a run's letter: that of its lines, where they have one.
fn letter_color(runs: &[&RunView], number: usize, t: &Tokens) -> Color32 {
    if runs.iter().any(|run| trace::many(run)) {
        return t.text;
    }
    color(trace::among(runs, number, 0).ink, t)
}

/// Every run with its letter and its arms, which can be hidden.
fn legend(ui: &mut Ui, opened: &[(PathBuf, Arc<Opened>)], compare: &mut Comparison) {
    let t = ui.tokens();
    let runs: Vec<&RunView> = opened.iter().map(|(_, run)| &run.view).collect();
    widgets::card_frame(t).show(ui, |ui| {
        ui.set_width(ui.available_width());
        for (number, (folder, run)) in opened.iter().enumerate() {
            ui.horizontal(|ui| {
                ui.set_min_height(20.0);
                let ink = letter_color(&runs, number, t);
                let name = RichText::new(letter(number)).font(theme::semibold(13.0)).color(ink);
                ui.label(name);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    for (place, arm) in run.view.arms.iter().enumerate().rev() {
                        let key = (folder.clone(), arm.name.clone());
                        let mut on = !compare.hidden.contains(&key);
                        let title = arm_title(&arm.name);
                        let response = widgets::small_switch(ui, &mut on, &title);
                        let said = format!("Show {title} of {}", letter(number));
                        if response.accessible_name(said).changed() {
                            if on {
                                compare.hidden.remove(&key);
                            } else {
                                compare.hidden.insert(key);
                            }
                        }
                        let trace = trace::among(&runs, number, place);
                        widgets::line_sample(ui, color(trace.ink, t), trace);
                    }
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        ui.add(Label::new(export::name(&run.view)).truncate());
                    });
                });
            });
        }
    });
    ui.add_space(GAP - ui.spacing().item_spacing.y);
}

/// The charts, two in a row; answers where the cursor stands.
fn overlay(ui: &mut Ui, compare: &Comparison, cache: &mut ChartCache, look: Look) -> Option<f64> {
    let (runs, all) = overlaid(compare, look);
    let columns = if ui.available_width() > 620.0 { 2 } else { 1 };
    let width = ((ui.available_width() - GAP * (columns as f32 - 1.0)) / columns as f32).floor();
    let mut hovered = None;
    for row in all.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = GAP;
            for chart in row {
                let layout = Layout::top_down(Align::Min);
                ui.allocate_ui_with_layout(vec2(width, 190.0), layout, |ui| {
                    ui.set_max_width(width);
                    hovered = chart_card(ui, chart, &runs, cache, look).or(hovered);
                });
            }
        });
        ui.add_space(GAP - ui.spacing().item_spacing.y);
    }
    hovered
}

fn chart_card(
    ui: &mut Ui,
    chart: &Chart,
    runs: &[&RunView],
    cache: &mut ChartCache,
    look: Look,
) -> Option<f64> {
    let t = ui.tokens();
    widgets::card_frame(t)
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.set_min_height(20.0);
                ui.label(RichText::new(chart.title).font(theme::semibold(12.5)))
                    .on_hover_text(chart.help);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.spacing_mut().item_spacing.x = 6.0;
                    for curve in chart.curves.iter().rev() {
                        let at = look.hover.zip(runs.get(curve.run));
                        let step = at.map(|(x, run)| run.ruler(look.axis).step(x));
                        let value = curve.series(runs).and_then(|series| match step {
                            Some(step) => series.nearest(step),
                            None => series.last(),
                        });
                        if let (Some((_, value)), true) = (value, ui.available_width() > 60.0) {
                            let text = RichText::new(chart.unit.value(value)).size(11.5);
                            ui.label(text.color(color(curve.trace.ink, t)));
                        }
                    }
                });
            });
            let place = Place {
                runs,
                axis: look.axis,
                height: 130.0,
                name_marks: false,
                x_labels: true,
                hover: look.hover,
            };
            chart_ui(ui, cache, chart, &place).hovered.map(|(x, _)| x)
        })
        .inner
}

fn final_figures(ui: &mut Ui, runs: &[&RunView]) {
    let t = ui.tokens();
    let small = |text: String| RichText::new(text).size(12.0);
    ScrollArea::horizontal().id_salt("final figures").show(ui, |ui| {
        Grid::new("final figures").spacing(vec2(18.0, 6.0)).show(ui, |ui| {
            ui.label("");
            for (number, run) in runs.iter().enumerate() {
                for (place, arm) in run.arms.iter().enumerate() {
                    let ink = color(trace::among(runs, number, place).ink, t);
                    let text = format!("{} {}", letter(number), arm_title(&arm.name));
                    ui.label(RichText::new(text).font(theme::semibold(12.0)).color(ink));
                }
            }
            ui.end_row();
            for (name, metric, unit) in FINAL {
                ui.label(small(name.to_owned()).color(t.text_muted));
                for run in runs {
                    for arm in &run.arms {
                        let value = run.last(Source::Probe, &arm.name, metric);
                        ui.label(small(value.map_or("–".to_owned(), |v| unit.value(v))));
                    }
                }
                ui.end_row();
            }
            ui.label(small("Collapse".to_owned()).color(t.text_muted));
            for run in runs {
                for arm in &run.arms {
                    let collapse = run.collapses.iter().find(|c| c.arm == arm.name);
                    match collapse {
                        Some(c) => ui.label(small(format!("step {}", c.step)).color(t.danger)),
                        None => ui.label(small("none".to_owned())),
                    };
                }
            }
            ui.end_row();
        });
    });
}

/// One line of the table of settings: name and value for each run.
pub type SettingsRow = (String, Vec<String>);

/// Rows in which the runs differ, then those in which they agree, each in the order of the options.
pub fn beside(tables: &[&[(String, String)]]) -> (Vec<SettingsRow>, Vec<SettingsRow>) {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in tables.iter().flat_map(|table| table.iter()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let value = |table: &&[(String, String)], name: &String| {
        table
            .iter()
            .find(|(own, _)| own == name)
            .map_or("–".to_owned(), |(_, value)| value.clone())
    };
    let row = |name: &String| -> SettingsRow {
        (name.clone(), tables.iter().map(|table| value(table, name)).collect())
    };
    names
        .into_iter()
        .map(row)
        .partition(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]))
}

fn settings(ui: &mut Ui, opened: &[(PathBuf, Arc<Opened>)]) {
    let t = ui.tokens();
    let runs: Vec<&RunView> = opened.iter().map(|(_, run)| &run.view).collect();
    let tables: Vec<&[(String, String)]> =
        opened.iter().map(|(_, run)| &run.settings[..]).collect();
    let (differing, same) = beside(&tables);
    if differing.is_empty() {
        widgets::hint(ui, "Every setting is the same.");
    }
    ScrollArea::horizontal().id_salt("settings beside").show(ui, |ui| {
        Grid::new("settings beside").spacing(vec2(18.0, 6.0)).show(ui, |ui| {
            ui.label("");
            for number in 0..opened.len() {
                let ink = letter_color(&runs, number, t);
                ui.label(RichText::new(letter(number)).font(theme::semibold(12.0)).color(ink));
            }
            ui.end_row();
            let rows = differing.iter().map(|row| (row, true));
            for ((name, values), differs) in rows.chain(same.iter().map(|row| (row, false))) {
                let (ink, mark) = if differs { (t.text, "≠ ") } else { (t.text_muted, "") };
                ui.label(RichText::new(format!("{mark}{name}")).size(12.0).color(ink));
                for value in values {
                    let font = if differs { theme::semibold(12.0) } else { theme::regular(12.0) };
                    let text = RichText::new(value).font(font).color(ink);
                    ui.add(Label::new(text).extend());
                }
                ui.end_row();
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_come_first() {
        let table = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
            rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let a = table(&[("Model", "m"), ("beta", "0.1"), ("Seed", "1")]);
        let b = table(&[("Model", "m"), ("beta", "0.3"), ("Rank", "8"), ("Seed", "1")]);
        let (differing, same) = beside(&[&a[..], &b[..]]);
        let names = |rows: &[SettingsRow]| rows.iter().map(|r| r.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&differing), ["beta", "Rank"]);
        assert_eq!(differing[1].1, ["–", "8"]);
        assert_eq!(names(&same), ["Model", "Seed"]);
    }
}

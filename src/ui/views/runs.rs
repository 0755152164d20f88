//! Runs: earlier runs on the left, the charts of the selected one on the right.

use eframe::egui::{
    self, Align, Button, CentralPanel, Color32, Frame, Layout, Margin, Panel, RichText, ScrollArea,
    Sense, Stroke, Ui, UiBuilder, vec2,
};

use crate::config::arm_title;
use crate::report::charts::letter;
use crate::report::format;
use crate::ui::action::{Action, Actions};
use crate::ui::chart_cache::ChartCache;
use crate::ui::command::Command;
use crate::ui::state::{Loaded, Opened, State};
use crate::ui::summaries::RunRow;
use crate::ui::theme::{self, GAP, Tokens, TokensExt};
use crate::ui::views::charts::{Look, run_charts_ui};
use crate::ui::views::{compare, outcome};
use crate::ui::widgets;

/// `caches` are those of the charts of one run and of several compared.
pub fn runs_ui(
    ui: &mut Ui,
    state: &mut State,
    (cache, compare_cache): (&mut ChartCache, &mut ChartCache),
    actions: &mut Actions,
) {
    let t = ui.tokens();
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 12, right: 2, top: 10, bottom: 0 });
    Panel::left("runs")
        .exact_size(318.0)
        .resizable(false)
        .show_separator_line(false)
        .frame(frame)
        .show(ui, |ui| {
            list_header(ui, actions);
            list(ui, state, actions);
        });
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 6, right: 4, top: 10, bottom: 0 });
    CentralPanel::default().frame(frame).show(ui, |ui| match &state.opened {
        _ if state.compare.is_on() => compare::compare_ui(ui, state, compare_cache, actions),
        Loaded::Ready(opened) => {
            let opened = opened.clone();
            detail(ui, state, &opened, cache, actions);
        }
        Loaded::Loading => widgets::empty_state(ui, "Reading the run", &[], |ui| {
            ui.spinner();
        }),
        Loaded::Failed(message) => {
            widgets::empty_state(ui, "This run cannot be read", &[message.as_str()], |_| {})
        }
        Loaded::Nothing => widgets::empty_state(
            ui,
            "No run selected",
            &["Select a run on the left to see its charts,", "or drop a run folder on the window."],
            |_| {},
        ),
    });
}

fn list_header(ui: &mut Ui, actions: &mut Actions) {
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        ui.label(RichText::new("Runs").font(theme::semibold(16.0)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_space(10.0);
            if widgets::corner_button(ui, "Open…").accessible_name("Open run…").clicked() {
                actions.push(Action::Run(Command::OpenFolder));
            }
            if widgets::corner_button(ui, "Refresh").clicked() {
                actions.push(Action::Run(Command::RefreshRuns));
            }
        });
    });
    ui.add_space(2.0);
}

fn list(ui: &mut Ui, state: &State, actions: &mut Actions) {
    match &state.runs {
        Loaded::Ready(rows) if rows.is_empty() => {
            widgets::hint(ui, "No run yet. What Train starts is listed here.");
        }
        Loaded::Ready(rows) => {
            ScrollArea::vertical().id_salt("run list").auto_shrink(false).show(ui, |ui| {
                ui.set_width(292.0);
                for row in rows.iter() {
                    let selected = state.selected_run.as_ref() == Some(&row.folder);
                    let number = state.compare.runs.iter().position(|(own, _)| *own == row.folder);
                    let (clicked, compared) = run_row(ui, row, selected, number);
                    if compared {
                        actions.push(Action::Compare(row.folder.clone()));
                    } else if clicked {
                        if state.compare.is_on() {
                            actions.push(Action::CompareNothing);
                        }
                        actions.push(Action::SelectRun(row.folder.clone()));
                    }
                }
                ui.add_space(8.0);
            });
        }
        Loaded::Loading | Loaded::Nothing => {
            ui.spinner();
        }
        Loaded::Failed(message) => widgets::complaint(ui, message),
    }
}

fn status_color(status: &str, t: &Tokens) -> Color32 {
    match status.to_lowercase().as_str() {
        "finished" => t.success,
        "failed" => t.danger,
        "interrupted" => t.warning,
        "running" | "training" | "paused" => t.chosen,
        _ => t.text_muted,
    }
}

/// One run as a card that is a button; answers whether it was clicked, and whether it is to be compared or no more.
/// `number` is its place among the compared.
fn run_row(ui: &mut Ui, row: &RunRow, selected: bool, number: Option<usize>) -> (bool, bool) {
    let t = ui.tokens();
    let mut compared = false;
    let response = ui
        .scope_builder(UiBuilder::new().id_salt(&row.folder).sense(Sense::click()), |ui| {
            let hovered = ui.response().hovered();
            let border = if selected {
                t.accent
            } else if hovered {
                t.text_faint
            } else {
                t.card_border
            };
            widgets::card_frame(t)
                .stroke(Stroke::new(if selected { 1.6 } else { 1.0 }, border))
                .show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.spacing_mut().item_spacing.y = 3.0;
                    ui.horizontal(|ui| {
                        let title = RichText::new(&row.title).font(theme::semibold(13.0));
                        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                            widgets::pill(ui, &row.status, status_color(&row.status, t));
                            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                                ui.add(egui::Label::new(title).truncate().selectable(false));
                            });
                        });
                    });
                    quiet(ui, row.date.clone(), t);
                    let mut line = vec![row.objective.clone()];
                    line.push(format!("{} of {} steps", row.step, row.steps));
                    quiet(
                        ui,
                        line.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" · "),
                        t,
                    );
                    quiet(ui, figures_line(row), t);
                    quiet(ui, collapsed_line(row), t);
                    compared = compare_box(ui, row, number);
                });
        })
        .response;
    let name = format!("Run {}, {}", row.name, row.status);
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, true, selected, &name));
    ui.add_space(2.0);
    (response.clicked() && !compared, compared)
}

/// A checkbox that puts the run beside others.
fn compare_box(ui: &mut Ui, row: &RunRow, number: Option<usize>) -> bool {
    let mut on = number.is_some();
    let words = match number {
        Some(number) => format!("Compared as {}", letter(number)),
        None => "Compare".to_owned(),
    };
    let response = widgets::small_switch(ui, &mut on, &words);
    response.accessible_name(format!("Compare {}", row.title)).changed()
}

fn quiet(ui: &mut Ui, text: String, t: &Tokens) {
    if !text.is_empty() {
        let label = egui::Label::new(RichText::new(text).size(12.0).color(t.text_muted));
        ui.add(label.truncate().selectable(false));
    }
}

fn figures_line(row: &RunRow) -> String {
    let mut parts = Vec::new();
    if let Some(margin) = row.margin {
        parts.push(format!("margin {}", format::number(margin)));
    }
    if let Some(change) = row.chosen_change {
        let sign = if change > 0.0 { "+" } else { "" };
        parts.push(format!("chosen {sign}{} nats", format::number(change)));
    }
    parts.join(" · ")
}

fn collapsed_line(row: &RunRow) -> String {
    let words = row
        .collapsed
        .iter()
        .map(|(arm, step)| format!("{} collapsed at step {step}", arm_title(arm)));
    words.collect::<Vec<_>>().join(" · ")
}

fn detail(
    ui: &mut Ui,
    state: &mut State,
    opened: &Opened,
    cache: &mut ChartCache,
    actions: &mut Actions,
) {
    ScrollArea::vertical().id_salt("run detail").auto_shrink(false).show(ui, |ui| {
        ui.set_width(ui.available_width() - 10.0);
        let height = ui.available_height();
        let top = ui.cursor().top();
        detail_header(ui, state, opened, actions);
        outcome::outcome_ui(ui, &opened.view, &[], None, actions);
        let left = height - (ui.cursor().top() - top);
        let look = Look::of(state);
        state.hover = run_charts_ui(ui, &opened.view, cache, look, left, &opened.notes, actions);
        if !opened.settings.is_empty() {
            widgets::card(ui, "Settings", |_| {}, |ui| widgets::facts(ui, &opened.settings));
            ui.add_space(GAP);
        }
    });
}

fn detail_header(ui: &mut Ui, state: &State, opened: &Opened, actions: &mut Actions) {
    let t = ui.tokens();
    let name =
        opened.folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let row = state
        .runs
        .ready()
        .and_then(|rows| rows.iter().find(|row| row.folder == opened.folder).cloned());
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let live =
                state.run.status.is_active() && state.run.folder.as_ref() == Some(&opened.folder);
            let delete =
                Button::new(RichText::new("Delete…").font(theme::medium(12.0)).color(t.danger));
            if ui.add_enabled(!live, delete.min_size(vec2(0.0, 24.0))).clicked() {
                actions.push(Action::AskDelete(opened.folder.clone()));
            }
            if widgets::corner_button(ui, "Open folder").clicked() {
                actions.push(Action::Reveal(opened.folder.clone()));
            }
            if widgets::corner_button(ui, "Inspect pairs").clicked() {
                actions.push(Action::Inspect { opened: true });
            }
            if row.is_some_and(|row| row.can_resume)
                && !state.run.status.is_active()
                && widgets::corner_button(ui, "Resume").clicked()
            {
                actions.push(Action::ResumeRun(opened.folder.clone()));
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let title = RichText::new(name).font(theme::semibold(16.0));
                ui.add(egui::Label::new(title).truncate())
                    .on_hover_text(opened.folder.display().to_string());
            });
        });
    });
    let arms: Vec<&str> = opened.view.arms.iter().map(|arm| arm.objective.as_str()).collect();
    if !arms.is_empty() {
        widgets::hint(ui, format!("{} · {}", arms.join(" beside "), opened.view.device));
    }
    ui.add_space(2.0);
}

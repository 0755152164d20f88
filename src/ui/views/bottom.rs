//! The bottom bar: how far the run is, how fast, and the buttons that steer it.

use eframe::egui::{
    Align, CornerRadius, Frame, Layout, Margin, Panel, Rect, RichText, Sense, Stroke, Ui, pos2,
    vec2,
};

use crate::report::format;
use crate::report::run_view::{RunView, Status};
use crate::ui::action::{Action, Actions};
use crate::ui::command::Command;
use crate::ui::state::{SILENT_AFTER, State};
use crate::ui::theme::{self, Tokens, TokensExt};
use crate::ui::views::rail::tooltip;
use crate::ui::widgets;

pub const HEIGHT: f32 = 62.0;

pub fn bottom_ui(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let t = ui.tokens();
    let frame = Frame::new().fill(t.chrome).inner_margin(Margin::symmetric(16, 0));
    Panel::bottom("bottom").exact_size(HEIGHT).resizable(false).frame(frame).show(ui, |ui| {
        let bar = ui.max_rect().expand2(vec2(16.0, 0.0));
        progress_line(ui, bar, &state.run, t);
        ui.horizontal_centered(|ui| {
            status_block(ui, state, t);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                buttons(ui, state, actions);
                ui.add_space(8.0);
                figures(ui, state, t);
            });
        });
    });
}

/// A thin line along the top edge of the bar.
fn progress_line(ui: &mut Ui, bar: Rect, run: &RunView, t: &Tokens) {
    let painter = ui.painter().with_clip_rect(bar.expand(1.0));
    painter.hline(bar.x_range(), bar.top(), Stroke::new(1.0, t.card_border));
    if run.status == Status::Idle {
        return;
    }
    let color = match run.status {
        Status::Failed { .. } | Status::Interrupted => t.danger,
        Status::Finished { .. } => t.success,
        Status::Paused => t.warning,
        _ => t.accent,
    };
    let right = bar.left() + bar.width() * run.progress();
    let rect = Rect::from_min_max(bar.left_top(), pos2(right, bar.top() + 3.0));
    painter.rect_filled(rect, CornerRadius::ZERO, color);
}

/// A dot, the state in a word, and the step or the reason below it.
fn status_block(ui: &mut Ui, state: &State, t: &Tokens) {
    let run = &state.run;
    let silent = run.status.is_active() && state.silent_for > SILENT_AFTER;
    let color = match (&run.status, silent) {
        (_, true) => t.warning,
        (Status::Failed { .. } | Status::Interrupted, _) => t.danger,
        (Status::Finished { .. }, _) => t.success,
        (Status::Paused, _) => t.warning,
        (Status::Idle | Status::Stopped { .. }, _) => t.text_faint,
        _ => t.accent,
    };
    let (dot, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
    ui.painter().circle_filled(dot.center(), 4.5, color);
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        ui.add_space((ui.available_height() - 36.0).max(0.0) / 2.0);
        let word = match run.status {
            _ if state.stopping => "Saving and stopping",
            Status::Idle if !state.start_hindrances().is_empty() => "Not ready",
            _ => run.status.word(),
        };
        ui.label(RichText::new(word).font(theme::semibold(13.5)));
        let (text, color) = second_line(state, silent, t);
        let label =
            eframe::egui::Label::new(RichText::new(text).size(12.0).color(color)).truncate();
        let room = (ui.available_width() - if run.status == Status::Idle { 140.0 } else { 560.0 })
            .max(190.0);
        ui.scope(|ui| {
            ui.set_max_width(room);
            ui.add(label);
        });
    });
}

fn second_line(state: &State, silent: bool, t: &Tokens) -> (String, eframe::egui::Color32) {
    let run = &state.run;
    if silent {
        let text = format!("No sign of life for {}", format::duration(state.silent_for));
        return (text, t.warning);
    }
    let step = || format!("Step {} of {}", run.step, run.steps);
    let muted = t.text_muted;
    if !run.status.is_active() {
        match state.start_hindrances().as_slice() {
            [] => {}
            [one] => return (one.clone(), t.danger),
            [first, rest @ ..] => {
                return (format!("{first} (and {} more)", rest.len()), t.danger);
            }
        }
    }
    match &run.status {
        Status::Idle => ("Press Start to train with these settings".into(), muted),
        Status::Starting(phase) => (phase.clone(), muted),
        Status::Running => (format!("{}, epoch {:.2}", step(), run.pace.epoch), muted),
        Status::Paused | Status::Stopped { .. } | Status::Interrupted | Status::Failed { .. } => {
            (step(), muted)
        }
        Status::Finished { .. } => (format!("{} steps", run.step), muted),
    }
}

/// Time left, speed and memory, each a figure over its name. Drawn from right to left.
fn figures(ui: &mut Ui, state: &State, t: &Tokens) {
    let run = &state.run;
    if run.pace.elapsed <= 0.0 {
        return;
    }
    let mut items: Vec<(String, &str)> = Vec::new();
    if run.pace.memory_bytes > 0 {
        items.push((format::bytes(run.pace.memory_bytes), "memory"));
    }
    if run.pace.tokens_per_second > 0.0 {
        items.push((format::count(run.pace.tokens_per_second.round() as u64), "tokens/s"));
    }
    items.push((format::duration(run.pace.elapsed), "trained"));
    if run.status == Status::Running
        && let Some(left) = run.seconds_left()
    {
        items.push((format::duration(left), "left"));
    }
    let fits = (ui.available_width() / 92.0) as usize;
    for (value, name) in items.into_iter().rev().take(fits.max(1)).rev() {
        figure(ui, &value, name, t);
    }
}

fn figure(ui: &mut Ui, value: &str, name: &str, t: &Tokens) {
    ui.allocate_ui_with_layout(vec2(84.0, 40.0), Layout::top_down(Align::Max), |ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        ui.set_min_width(84.0);
        ui.add_space(2.0);
        ui.label(RichText::new(value).font(theme::semibold(13.5)));
        ui.label(RichText::new(name).size(11.5).color(t.text_muted));
    });
}

/// Start, or Pause / Resume and Stop. Drawn from right to left.
fn buttons(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let status = &state.run.status;
    if !status.is_active() {
        let enabled = state.can_start();
        let start = widgets::primary_button(ui, enabled, "Start");
        let why = state.start_hindrances().join("\n");
        if start.on_hover_text(tooltip(ui, Command::Start)).on_disabled_hover_text(why).clicked() {
            actions.push(Action::Run(Command::Start));
        }
        return;
    }
    let can_steer = !state.stopping;
    let stop = widgets::bar_button(ui, can_steer, "Stop and save");
    if stop.on_hover_text(tooltip(ui, Command::Stop)).clicked() {
        actions.push(Action::Run(Command::Stop));
    }
    let paused = *status == Status::Paused;
    let running = can_steer && !matches!(status, Status::Starting(_));
    let tip = tooltip(ui, Command::PauseOrResume);
    let response = if paused {
        widgets::primary_button(ui, running, "Resume")
    } else {
        widgets::bar_button(ui, running, "Pause")
    };
    if response.on_hover_text(tip).clicked() {
        actions.push(Action::Run(Command::PauseOrResume));
    }
}

//! What a run has to say above its charts: collapse, adapter saved, stopped, failed.

use std::path::Path;

use eframe::egui::{self, Align, Color32, Frame, Layout, Margin, RichText, ScrollArea, Stroke, Ui};

use crate::ui::action::{Action, Actions};
use crate::ui::run_view::{RunView, Status, arm_title};
use crate::ui::theme::{self, CARD_RADIUS, GAP, TokensExt};
use crate::ui::widgets::{self, Icon};

/// Draws the banners that apply. `log_tail` is the worker's last words.
pub fn outcome_ui(
    ui: &mut Ui,
    run: &RunView,
    log_tail: &[String],
    dismissed: bool,
    actions: &mut Actions,
) {
    let t = ui.tokens();
    match &run.status {
        Status::Finished { adapter, message } => {
            let title = format!("Adapter saved in {}", adapter.display());
            banner(ui, t.success, &title, message, |ui| {
                if widgets::corner_button(ui, "Open folder").clicked() {
                    actions.push(Action::Reveal(adapter.clone()));
                }
            });
        }
        Status::Stopped { checkpoint } => {
            let text = format!("Checkpoint saved in {}", checkpoint.display());
            let title = format!("Stopped at step {}", run.step);
            banner(ui, t.text_muted, &title, &text, |ui| run_buttons(ui, run, "Resume", actions));
        }
        Status::Interrupted => {
            let text = match &run.last_checkpoint {
                Some((step, _)) => format!("It can go on from the checkpoint of step {step}."),
                None => "No checkpoint was written yet.".to_owned(),
            };
            banner(ui, t.warning, &format!("Interrupted at step {}", run.step), &text, |ui| {
                run_buttons(ui, run, "Resume", actions);
            });
        }
        Status::Failed { message } => failure(ui, run, message, log_tail, actions),
        _ => {}
    }
    if !dismissed {
        for collapse in &run.collapses {
            let title = format!("{} collapses at step {}", arm_title(&collapse.arm), collapse.step);
            banner(ui, t.danger, &title, &collapse.message, |ui| {
                if widgets::icon_button(ui, Icon::Cross, "Hide this message").clicked() {
                    actions.push(Action::DismissCollapse);
                }
            });
        }
    }
}

fn run_buttons(ui: &mut Ui, run: &RunView, resume: &str, actions: &mut Actions) {
    let Some(folder) = &run.folder else { return };
    if run.last_checkpoint.is_some() || matches!(run.status, Status::Stopped { .. }) {
        resume_button(ui, folder, resume, actions);
    }
    if widgets::corner_button(ui, "Open folder").clicked() {
        actions.push(Action::Reveal(folder.clone()));
    }
}

fn resume_button(ui: &mut Ui, folder: &Path, text: &str, actions: &mut Actions) {
    if widgets::corner_button(ui, text).clicked() {
        actions.push(Action::ResumeRun(folder.to_owned()));
    }
}

/// A tinted card with a stripe of its colour on the left.
fn banner(ui: &mut Ui, color: Color32, title: &str, text: &str, buttons: impl FnOnce(&mut Ui)) {
    let t = ui.tokens();
    let fill = egui::lerp(
        egui::Rgba::from(t.card)..=egui::Rgba::from(color),
        if t.dark { 0.10 } else { 0.07 },
    );
    let response = Frame::new()
        .fill(fill.into())
        .stroke(Stroke::new(1.0, color.gamma_multiply(0.45)))
        .corner_radius(CARD_RADIUS)
        .inner_margin(Margin { left: 16, right: 12, top: 8, bottom: 8 })
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    buttons(ui);
                    ui.with_layout(Layout::top_down(Align::Min), |ui| {
                        ui.spacing_mut().item_spacing.y = 2.0;
                        let title = RichText::new(title).font(theme::semibold(13.0)).color(color);
                        ui.add(egui::Label::new(title).wrap());
                        if !text.is_empty() {
                            ui.add(egui::Label::new(RichText::new(text).size(12.5)).wrap());
                        }
                    });
                });
            });
        })
        .response;
    let mut stripe = response.rect.shrink2(egui::vec2(0.0, 9.0));
    stripe.set_width(3.0);
    ui.painter().rect_filled(stripe, 1.5, color);
    ui.add_space(GAP - ui.spacing().item_spacing.y);
}

fn failure(ui: &mut Ui, run: &RunView, message: &str, log_tail: &[String], actions: &mut Actions) {
    let t = ui.tokens();
    let title = if run.step > 0 {
        format!("Failed at step {}", run.step)
    } else {
        "The run failed".to_owned()
    };
    banner(ui, t.danger, &title, message, |ui| run_buttons(ui, run, "Resume", actions));
    if log_tail.is_empty() {
        return;
    }
    widgets::card_frame(t).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new("Last lines of the trainer's log").font(theme::semibold(12.5)));
        ScrollArea::vertical().id_salt("log tail").max_height(110.0).stick_to_bottom(true).show(
            ui,
            |ui| {
                ui.set_width(ui.available_width());
                for line in log_tail {
                    ui.add(
                        egui::Label::new(RichText::new(line).monospace().color(t.text_muted))
                            .wrap(),
                    );
                }
            },
        );
    });
    ui.add_space(GAP - ui.spacing().item_spacing.y);
}

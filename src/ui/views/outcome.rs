//! What a run has to say above its charts: collapse, adapter saved, stopped, failed.

use std::path::Path;

use eframe::egui::text::LayoutJob;
use eframe::egui::{
    self, Align, Color32, Frame, Layout, Margin, RichText, ScrollArea, Stroke, TextFormat, Ui,
};

use crate::config::arm_title;
use crate::report::run_view::{RunView, Status};
use crate::ui::action::{Action, Actions};
use crate::ui::form::in_labels;
use crate::ui::theme::{self, CARD_RADIUS, GAP, Tokens, TokensExt};
use crate::ui::widgets::{self, Icon};

/// Draws the banners that apply. `log_tail` is the worker's last words; `dismissed` hides the collapse, and
/// without it the collapse cannot be hidden.
pub fn outcome_ui(
    ui: &mut Ui,
    run: &RunView,
    log_tail: &[String],
    dismissed: Option<bool>,
    actions: &mut Actions,
) {
    let t = ui.tokens();
    match &run.status {
        Status::Finished { adapter, message } => {
            let folder = adapter.display().to_string();
            let title = format!("Adapter saved in {folder}");
            // Most often the message says no more than the title.
            let text = if message.contains(&folder) { "" } else { message.as_str() };
            banner(ui, t.success, &title, text, |ui| {
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
    if dismissed != Some(true) {
        let several = run.collapses.len() > 2;
        if several {
            let (title, text) = all_collapses(run);
            banner(ui, t.danger, &title, &text, |ui| hide_button(ui, dismissed, actions));
        }
        for collapse in run.collapses.iter().filter(|_| !several) {
            let usual = format!("{} collapses at step {}", arm_title(&collapse.arm), collapse.step);
            let (title, text) = headline(&collapse.message, &usual);
            banner(ui, t.danger, &title, text, |ui| hide_button(ui, dismissed, actions));
        }
    }
}

fn hide_button(ui: &mut Ui, dismissed: Option<bool>, actions: &mut Actions) {
    if dismissed.is_some() && widgets::icon_button(ui, Icon::Cross, "Hide this message").clicked() {
        actions.push(Action::DismissCollapse);
    }
}

/// One message for the collapses of many arms; the flags and the table have the figures.
fn all_collapses(run: &RunView) -> (String, String) {
    let mut collapses: Vec<_> = run.collapses.iter().collect();
    collapses.sort_by_key(|collapse| collapse.step);
    let told = collapses.iter().map(|c| format!("{} at step {}", arm_title(&c.arm), c.step));
    let title = format!("{} of {} arms collapse:", collapses.len(), run.arms.len());
    (title, told.collect::<Vec<_>>().join(", "))
}

/// The message's own beginning as a title, if it begins as `usual` does; else `usual` before the message.
fn headline<'a>(message: &'a str, usual: &str) -> (String, &'a str) {
    match message.strip_prefix(usual) {
        Some(rest) => match rest.strip_prefix(':') {
            Some(rest) => (format!("{usual}:"), rest.trim_start()),
            None => (usual.to_owned(), rest.trim_start_matches(['.', ',', ' '])),
        },
        None => (usual.to_owned(), message),
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

/// A tinted card with a stripe of its colour on the left: title and text in one flow, buttons on the right.
fn banner(ui: &mut Ui, color: Color32, title: &str, text: &str, buttons: impl FnOnce(&mut Ui)) {
    let t = ui.tokens();
    let response = Frame::new()
        .fill(theme::mix(t.card, color, if t.dark { 0.13 } else { 0.07 }))
        .stroke(Stroke::new(1.0, theme::mix(t.card_border, color, 0.4)))
        .corner_radius(CARD_RADIUS)
        .inner_margin(Margin { left: 16, right: 10, top: 6, bottom: 6 })
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    buttons(ui);
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        ui.add(egui::Label::new(words(title, text, color, t)).wrap());
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

fn words(title: &str, text: &str, color: Color32, t: &Tokens) -> LayoutJob {
    let mut job = LayoutJob::default();
    job.append(title, 0.0, TextFormat::simple(theme::semibold(13.0), color));
    if !text.is_empty() {
        let gap = if title.ends_with(':') { 5.0 } else { 10.0 };
        job.append(text, gap, TextFormat::simple(theme::regular(12.5), t.text));
    }
    job
}

fn failure(ui: &mut Ui, run: &RunView, message: &str, log_tail: &[String], actions: &mut Actions) {
    let t = ui.tokens();
    let title = if run.step > 0 {
        format!("Failed at step {}", run.step)
    } else {
        "The run failed".to_owned()
    };
    banner(ui, t.danger, &title, &in_labels(message), |ui| run_buttons(ui, run, "Resume", actions));
    // What the banner says already is no news.
    let told = |line: &&String| !message.contains(line.trim_start_matches("error: ").trim());
    let log_tail: Vec<&String> = log_tail.iter().filter(told).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_does_not_say_its_title_twice() {
        let usual = "DPO collapses at step 50";
        let (title, text) = headline("DPO collapses at step 50: it is so.", usual);
        assert_eq!((title.as_str(), text), ("DPO collapses at step 50:", "it is so."));
        assert_eq!(headline("DPO collapses at step 50. Yes.", usual).1, "Yes.");
        assert_eq!(headline("It is so.", usual).1, "It is so.");
    }
}

//! What the base model and every arm answer to the same held-out prompts, side by side, step by step.

use std::collections::BTreeMap;

use eframe::egui::{Align, Frame, Label, Layout, Margin, RichText, ScrollArea, TextEdit, Ui, vec2};

use super::{arm_sample, shown_at};
use crate::report::palette::Ink;
use crate::report::run_view::RunView;
use crate::report::samples::{PromptAnswers, marked};
use crate::train::event::SampleText;
use crate::ui::action::{Action, Actions};
use crate::ui::state::{Inspection, Loaded};
use crate::ui::theme::{self, GAP, TokensExt};
use crate::ui::widgets;

/// Narrower columns are put beneath each other.
const COLUMN: f32 = 230.0;

/// Who answered (an arm's number; `None`: the base model), and what.
struct Column<'a> {
    arm: Option<usize>,
    answer: Option<&'a SampleText>,
}

pub fn answers_ui(ui: &mut Ui, run: &RunView, inspect: &mut Inspection, actions: &mut Actions) {
    let steps = run.samples.steps();
    ScrollArea::vertical().id_salt("answers").auto_shrink(false).show(ui, |ui| {
        ui.set_width(ui.available_width() - 10.0);
        let gap = GAP - ui.spacing().item_spacing.y;
        if let Some(&step) = steps.get(shown_at(&steps, inspect.step)) {
            let help = "Marked are words that the base model did not say.";
            let color = ui.tokens().text_faint;
            ui.label(RichText::new(help).size(12.0).color(color));
            for prompt in run.samples.prompts() {
                prompt_card(ui, run, prompt, step);
                ui.add_space(gap);
            }
        } else {
            widgets::card(ui, "Answers", |_| {}, |ui| {
                let words = "This run has written no answers: it was made by an older version, without \
                             held-out prompts to answer, or with streamed weights.";
                widgets::hint(ui, words);
            });
            ui.add_space(gap);
        }
        widgets::card(ui, "Ask it yourself", |_| {}, |ui| ask(ui, run, inspect, actions));
        ui.add_space(12.0);
    });
}

/// A person's own prompt, and what the base model and every arm say to it.
fn ask(ui: &mut Ui, run: &RunView, inspect: &mut Inspection, actions: &mut Actions) {
    let saved = run.last_checkpoint.is_some();
    if run.status.is_active() || !saved {
        let words = if saved { "when the run has ended" } else { "when a checkpoint is saved" };
        widgets::hint(ui, format!("Write a prompt here {words}, and every arm answers it."));
        return;
    }
    let busy = matches!(inspect.asked, Loaded::Loading);
    ui.horizontal(|ui| {
        let edit = TextEdit::multiline(&mut inspect.question)
            .hint_text("A prompt, as the training file spells them")
            .desired_rows(2)
            .desired_width((ui.available_width() - 130.0).max(160.0));
        ui.add(edit).accessible_name("Your own prompt");
        let ready = !busy && !inspect.question.trim().is_empty();
        let clicked = widgets::primary_button(ui, ready, "Ask").clicked();
        if let (true, Some(run)) = (clicked, &run.folder) {
            actions.push(Action::Ask { run: run.clone(), prompt: inspect.question.clone() });
        }
    });
    match &inspect.asked {
        Loaded::Nothing => {}
        Loaded::Loading => {
            ui.horizontal(|ui| {
                ui.spinner();
                widgets::hint(ui, "The models are loaded and write.");
                if widgets::bar_button(ui, true, "Stop").clicked() {
                    actions.push(Action::StopAsking);
                }
            });
        }
        Loaded::Failed(message) => widgets::complaint(ui, message),
        Loaded::Ready(asked) => {
            ui.add_space(4.0);
            let mut words = format!("After {} steps", asked.step);
            if asked.prompt != inspect.question {
                words.push_str(&format!(", to: {}", asked.prompt.trim()));
            }
            widgets::hint(ui, words);
            let standard = asked.reference.as_ref().map_or("", |answer| &answer.text);
            let columns = columns(run, asked.reference.as_ref(), Some(&asked.arms));
            side_by_side(ui, run, &columns, standard);
        }
    }
}

/// The base model's answer, where there is one, and every arm's.
fn columns<'a>(
    run: &RunView,
    reference: Option<&'a SampleText>,
    arms: Option<&'a BTreeMap<String, SampleText>>,
) -> Vec<Column<'a>> {
    let base = reference.map(|answer| Column { arm: None, answer: Some(answer) });
    let arms = run.arms.iter().enumerate().map(|(number, arm)| Column {
        arm: Some(number),
        answer: arms.and_then(|answers| answers.get(&arm.name)),
    });
    base.into_iter().chain(arms).collect()
}

/// One prompt with the answers after `step` updates.
fn prompt_card(ui: &mut Ui, run: &RunView, prompt: &PromptAnswers, step: usize) {
    let t = ui.tokens();
    widgets::card_frame(t).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let muted = |text: &str| RichText::new(text.to_owned()).size(13.0).color(t.text_muted);
        let row = RichText::new(format!("Row {}", prompt.row)).font(theme::medium(11.5));
        ui.horizontal_top(|ui| {
            widgets::margin_word(ui, 58.0, row.color(t.text_faint));
            ui.add(Label::new(muted(prompt.prompt.trim())).wrap());
        });
        ui.horizontal_top(|ui| {
            let word = RichText::new("preferred").font(theme::semibold(11.5)).color(t.chosen);
            widgets::margin_word(ui, 58.0, word);
            ui.add(Label::new(muted(prompt.chosen.trim())).wrap());
        });
        ui.add_space(4.0);
        let columns = columns(run, prompt.reference.as_ref(), prompt.steps.get(&step));
        side_by_side(ui, run, &columns, prompt.standard());
    });
}

/// The columns beside each other, or beneath where there is no room.
fn side_by_side(ui: &mut Ui, run: &RunView, columns: &[Column<'_>], standard: &str) {
    let gap = 14.0;
    let count = columns.len().max(1) as f32;
    let width = ((ui.available_width() - gap * (count - 1.0)) / count).floor();
    if width < COLUMN {
        columns.iter().for_each(|column| answer(ui, run, column, standard));
        return;
    }
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        for column in columns {
            ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                answer(ui, run, column, standard);
            });
        }
    });
}

fn answer(ui: &mut Ui, run: &RunView, column: &Column<'_>, standard: &str) {
    let t = ui.tokens();
    let answer = column.answer;
    ui.horizontal(|ui| {
        ui.set_min_height(18.0);
        ui.spacing_mut().item_spacing.x = 6.0;
        match column.arm {
            Some(arm) => {
                let kept = run.arms.get(arm).is_some_and(|arm| arm.kept);
                arm_sample(ui, run, arm, if kept { Ink::Kept } else { Ink::Twin });
            }
            None => {
                widgets::level_sample(ui, t.reference);
                ui.label(RichText::new("Base model").font(theme::medium(12.0)));
            }
        }
        if let Some(answer) = answer
            && !answer.ended
        {
            let text = RichText::new("cut").size(11.5).color(t.text_faint);
            ui.label(text).on_hover_text("The answer did not end within the tokens it was given");
        }
    });
    let frame = Frame::new().fill(t.well).corner_radius(6).inner_margin(Margin::symmetric(10, 7));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        let Some(answer) = answer else {
            widgets::hint(ui, "No answer at this step.");
            return;
        };
        let runs = marked(answer.text.trim(), standard.trim());
        if answer.text.trim().is_empty() {
            widgets::hint(ui, "An empty answer.");
        }
        let pieces = runs.iter().map(|(words, differs)| (words.as_str(), *differs));
        ui.add(Label::new(widgets::marked(pieces, t.danger, t)).wrap());
    });
}

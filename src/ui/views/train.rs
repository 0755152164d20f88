//! Train: the cards on the left, the charts of the run on the right.

use eframe::egui::epaint::CubicBezierShape;
use eframe::egui::{
    Align2, CentralPanel, Color32, ComboBox, Direction, Frame, Margin, Panel, Pos2, Rect, RichText,
    ScrollArea, Sense, Shape, Stroke, Ui, vec2,
};

use crate::report::run_view::Status;
use crate::ui::action::{Action, Actions};
use crate::ui::chart_cache::ChartCache;
use crate::ui::command::Command;
use crate::ui::state::State;
use crate::ui::theme::{self, FORM_WIDTH, GAP, Tokens, TokensExt};
use crate::ui::views::charts::{Look, run_charts_ui};
use crate::ui::views::{cards, outcome};
use crate::ui::widgets;

pub fn train_ui(ui: &mut Ui, state: &mut State, cache: &mut ChartCache, actions: &mut Actions) {
    let t = ui.tokens();
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 12, right: 2, top: 10, bottom: 0 });
    Panel::left("form")
        .exact_size(FORM_WIDTH)
        .resizable(false)
        .show_separator_line(false)
        .frame(frame)
        .show(ui, |ui| {
            preset_row(ui, state, actions);
            ScrollArea::vertical().id_salt("cards").auto_shrink(false).show(ui, |ui| {
                ui.set_width(FORM_WIDTH - 24.0);
                let enabled = !state.run.status.is_active();
                cards::model::model_card(ui, state, enabled, actions);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                cards::data::data_card(ui, state, enabled, actions);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                cards::method::method_card(ui, state, enabled);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                cards::lora::lora_card(ui, state, enabled);
                ui.add_space(12.0);
            });
        });
    let frame =
        Frame::new().fill(t.window).inner_margin(Margin { left: 6, right: 4, top: 10, bottom: 0 });
    CentralPanel::default().frame(frame).show(ui, |ui| {
        if state.run.status == Status::Idle {
            first_words(ui, state, actions);
            return;
        }
        ScrollArea::vertical().id_salt("charts").auto_shrink(false).show(ui, |ui| {
            ui.set_width(ui.available_width() - 10.0);
            let height = ui.available_height();
            let top = ui.cursor().top();
            outcome::outcome_ui(
                ui,
                &state.run,
                &state.log_tail,
                Some(state.dismissed_collapse),
                actions,
            );
            let left = height - (ui.cursor().top() - top);
            let look = Look::of(state);
            state.hover = run_charts_ui(ui, &state.run, cache, look, left, &state.notes, actions);
        });
    });
}

fn preset_row(ui: &mut Ui, state: &State, actions: &mut Actions) {
    ui.horizontal(|ui| {
        ui.set_min_height(30.0);
        let label = ui.label(RichText::new("Preset").font(theme::semibold(13.0)));
        ui.label_inputs_by(label.id, |ui| {
            let presets = state.form.presets();
            let chosen = state.form.preset();
            let mine = state.form.settings();
            let saved = &state.memory.presets;
            let named = saved.iter().find(|(_, values)| **values == mine);
            let shown = match (chosen, named) {
                (Some(preset), _) => preset.title,
                (None, Some((name, _))) => name,
                (None, None) => "Own settings",
            };
            let enabled = !state.run.status.is_active();
            ui.add_enabled_ui(enabled, |ui| {
                ComboBox::from_id_salt("preset").width(150.0).selected_text(shown).show_ui(
                    ui,
                    |ui| {
                        for preset in presets {
                            let on = chosen.is_some_and(|chosen| chosen.name == preset.name);
                            if ui
                                .selectable_label(on, preset.title)
                                .on_hover_text(preset.description)
                                .clicked()
                            {
                                actions.push(Action::Preset(preset.name.to_owned()));
                            }
                        }
                        saved_presets(ui, saved.keys(), shown, actions);
                    },
                );
            });
        });
    });
    ui.add_space(2.0);
}

/// Settings that were saved by name, and the way to save these.
fn saved_presets<'a>(
    ui: &mut Ui,
    names: impl Iterator<Item = &'a String>,
    shown: &str,
    actions: &mut Actions,
) {
    ui.separator();
    for name in names {
        ui.horizontal(|ui| {
            if ui.selectable_label(shown == name, name).clicked() {
                actions.push(Action::UseSettings(name.clone()));
            }
            let forget = format!("Forget the settings {name}");
            if widgets::icon_button(ui, widgets::Icon::Cross, &forget).clicked() {
                actions.push(Action::ForgetSettings(name.clone()));
            }
        });
    }
    if ui.selectable_label(false, Command::SaveSettings.entry().label).clicked() {
        actions.push(Action::Run(Command::SaveSettings));
    }
}

/// Before the first run: how to read what will be seen, and the way there.
fn first_words(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let t = ui.tokens();
    let height = ui.available_height();
    ui.vertical_centered(|ui| {
        ui.add_space((height * 0.14).max(12.0));
        reading_guide(ui, t);
        ui.add_space(22.0);
        ui.label(RichText::new("Ready to train").font(theme::semibold(20.0)));
        ui.add_space(4.0);
        for line in [
            "Two LoRA adapters learn side by side from the same batches: yours, and a plain-DPO twin.",
            "Where the chosen answers fall below the reference, the method is unlearning them.",
        ] {
            ui.label(RichText::new(line).color(t.text_muted));
        }
        ui.add_space(16.0);
        let enabled = state.can_start();
        let response = widgets::primary_button(ui, enabled, "Start training");
        let why = state.start_hindrances().join("\n");
        if response.on_disabled_hover_text(why).clicked() {
            actions.push(Action::Run(Command::Start));
        }
        ui.add_space(8.0);
        let text = "Or drop a preference file or a model folder anywhere on this window.";
        ui.label(RichText::new(text).size(12.0).color(t.text_faint));
    });
}

/// A sketch, without figures, of how the main chart is read.
fn reading_guide(ui: &mut Ui, t: &Tokens) {
    let size = vec2(ui.available_width().min(560.0), 210.0);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let painter = ui.painter();
    let at = |x: f32, y: f32| rect.lerp_inside(vec2(x, y));
    let level = 0.24;
    let below = Rect::from_min_max(at(0.0, level), at(1.0, 1.0));
    let tint = t.danger.gamma_multiply(if t.dark { 0.12 } else { 0.09 });
    painter.add(Shape::gradient_rect(below, Direction::TopDown, [tint.gamma_multiply(0.3), tint]));
    let dots = [at(0.0, level), at(1.0, level)];
    painter.extend(Shape::dashed_line(&dots, Stroke::new(1.2, t.reference), 2.0, 3.0));
    let curve = |ends: [Pos2; 4]| {
        let bezier =
            CubicBezierShape::from_points_stroke(ends, false, Color32::TRANSPARENT, Stroke::NONE);
        bezier.flatten(Some(0.2))
    };
    let holds = curve([
        at(0.0, level),
        at(0.4, level + 0.01),
        at(0.6, level + 0.05),
        at(1.0, level + 0.04),
    ]);
    let falls = curve([at(0.0, level), at(0.42, level), at(0.5, 0.82), at(1.0, 0.86)]);
    painter.line(holds, Stroke::new(2.6, t.chosen));
    painter.extend(Shape::dashed_line(&falls, Stroke::new(2.0, t.chosen), 7.0, 4.5));
    let word = |x: f32, y: f32, anchor: Align2, text: &str, color: Color32| {
        painter.text(at(x, y), anchor, text, theme::medium(12.0), color);
    };
    word(
        0.0,
        level - 0.05,
        Align2::LEFT_BOTTOM,
        "chosen answers under the reference model",
        t.text_muted,
    );
    word(1.0, level - 0.05, Align2::RIGHT_BOTTOM, "your adapter: they stay likely", t.chosen);
    word(1.0, 0.98, Align2::RIGHT_BOTTOM, "the twin: they become unlikely", t.chosen);
    word(0.02, 0.98, Align2::LEFT_BOTTOM, "below the reference", t.danger);
}

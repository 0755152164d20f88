//! What lies over the window: the drop zone, questions, the palette, short messages.

use eframe::egui::{
    self, Align, Align2, Area, Button, Frame, Id, Key, Layout, Margin, Modal, Order, RichText,
    ScrollArea, Stroke, StrokeKind, TextEdit, Ui, vec2,
};

use crate::ui::action::{Action, Actions};
use crate::ui::command::{self, Command};
use crate::ui::drop::Dropped;
use crate::ui::state::{Dialog, State, Wanted};
use crate::ui::theme::{self, TokensExt};
use crate::ui::widgets;

/// Over the whole window while files hover: what will happen on release.
pub fn drop_zone(ui: &Ui, hovered: &[Result<Dropped, String>]) {
    let t = ui.tokens();
    let screen = ui.ctx().content_rect();
    let bad = hovered.iter().all(Result::is_err);
    let color = if bad { t.danger } else { t.chosen };
    let painter =
        ui.ctx().layer_painter(egui::LayerId::new(Order::Foreground, Id::unique("drop zone")));
    painter.rect_filled(screen, 0.0, t.window.gamma_multiply(0.93));
    painter.rect_stroke(screen.shrink(14.0), 14.0, Stroke::new(2.5, color), StrokeKind::Inside);
    painter.rect_filled(screen.shrink(14.0), 14.0, color.gamma_multiply(0.07));
    Area::new(Id::unique("drop words"))
        .order(Order::Tooltip)
        .interactable(false)
        .anchor(Align2::CENTER_CENTER, vec2(0.0, 0.0))
        .show(ui.ctx(), |ui| {
            ui.set_width(560.0);
            ui.vertical_centered(|ui| {
                for item in hovered {
                    match item {
                        Ok(dropped) => {
                            let name =
                                dropped.path().file_name().unwrap_or_default().to_string_lossy();
                            ui.label(
                                RichText::new(dropped.promise())
                                    .font(theme::semibold(20.0))
                                    .color(color),
                            );
                            ui.label(RichText::new(name).size(14.0).color(t.text));
                        }
                        Err(message) => {
                            let text =
                                RichText::new(message).font(theme::medium(15.0)).color(color);
                            ui.add(egui::Label::new(text).wrap());
                        }
                    }
                }
            });
        });
}

/// The question or message in front, if there is one.
pub fn dialog_ui(ui: &Ui, state: &mut State, actions: &mut Actions) {
    let Some(dialog) = state.dialog.clone() else { return };
    let frame = Frame::popup(ui.style()).inner_margin(Margin::same(20)).corner_radius(12);
    let modal = Modal::new(Id::unique("dialog")).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(460.0);
        ui.spacing_mut().item_spacing.y = 8.0;
        match dialog {
            Dialog::Message { title, text } => {
                words(ui, &title, &text);
                buttons(ui, actions, &[("Close", false, Action::CloseDialog)]);
            }
            Dialog::ReplaceDuringRun(dropped) => replace(ui, dropped, actions),
            Dialog::CloseDuringRun => {
                let text = "The run can be saved in a checkpoint and go on later from Runs.";
                words(ui, "A run is still training", text);
                buttons(
                    ui,
                    actions,
                    &[
                        ("Save and close", true, Action::SaveAndClose),
                        ("Keep training", false, Action::CloseDialog),
                    ],
                );
            }
            Dialog::DeleteRun(folder) => {
                let text = format!(
                    "{} and all its checkpoints and adapters will be gone.",
                    folder.display()
                );
                words(ui, "Delete this run?", &text);
                buttons(
                    ui,
                    actions,
                    &[
                        ("Delete", true, Action::Delete(folder)),
                        ("Keep it", false, Action::CloseDialog),
                    ],
                );
            }
            Dialog::Messages => messages(ui, state, actions),
            Dialog::NameSettings { text } => name_settings(ui, state, text, actions),
            Dialog::TypePath { wanted, text, error } => {
                type_path(ui, state, wanted, text, error, actions)
            }
        }
    });
    if modal.should_close() {
        actions.push(Action::CloseDialog);
    }
}

fn words(ui: &mut Ui, title: &str, text: &str) {
    ui.label(RichText::new(title).font(theme::semibold(16.0)));
    let color = ui.tokens().text_muted;
    ui.add(egui::Label::new(RichText::new(text).color(color)).wrap());
}

/// From the right: the first is the main one.
fn buttons(ui: &mut Ui, actions: &mut Actions, list: &[(&str, bool, Action)]) {
    ui.add_space(6.0);
    ui.allocate_ui_with_layout(
        vec2(ui.available_width(), 34.0),
        Layout::right_to_left(Align::Center),
        |ui| {
            for (text, main, action) in list {
                let response = if *main {
                    widgets::primary_button(ui, true, text)
                } else {
                    widgets::bar_button(ui, true, text)
                };
                if response.clicked() {
                    actions.push(action.clone());
                }
            }
        },
    );
}

fn replace(ui: &mut Ui, dropped: Dropped, actions: &mut Actions) {
    let name = dropped.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = format!(
        "“{name}” can be chosen for the next run. The run that is on keeps what it began with."
    );
    words(ui, "A run is still training", &text);
    buttons(
        ui,
        actions,
        &[
            ("Use it for the next run", true, Action::TakeAnyway(dropped)),
            ("Change nothing", false, Action::CloseDialog),
        ],
    );
}

/// What was said since the window was opened, newest first.
fn messages(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let t = ui.tokens();
    let none = if state.messages.is_empty() { "Nothing was said yet." } else { "" };
    words(ui, "Messages", none);
    let now = ui.input(|i| i.time);
    ScrollArea::vertical().max_height(320.0).show(ui, |ui| {
        ui.set_width(ui.available_width());
        for notice in state.messages.iter().rev() {
            let ago = crate::report::format::duration(now - notice.since);
            let ink = if notice.bad { t.danger } else { t.text };
            ui.add(egui::Label::new(RichText::new(&notice.text).color(ink)).wrap());
            if !notice.details.is_empty() {
                widgets::hint(ui, &notice.details);
            }
            ui.label(RichText::new(format!("{ago} ago")).size(11.5).color(t.text_muted));
        }
    });
    buttons(ui, actions, &[("Close", false, Action::CloseDialog)]);
}

fn name_settings(ui: &mut Ui, state: &mut State, mut text: String, actions: &mut Actions) {
    let what = "Every setting but files and device, to be chosen under Preset.";
    words(ui, "Save settings as", what);
    let edit = TextEdit::singleline(&mut text).hint_text("Name").desired_width(f32::INFINITY);
    let response =
        ui.add(edit.margin(Margin::symmetric(8, 6))).accessible_name("Name of the settings");
    if response.changed() {
        state.dialog = Some(Dialog::NameSettings { text: text.clone() });
    }
    let enter = response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    if !response.has_focus() && !response.lost_focus() {
        response.request_focus();
    }
    let name = text.trim().to_owned();
    let save = if name.is_empty() { Action::CloseDialog } else { Action::SaveSettings(name) };
    if enter {
        actions.push(save.clone());
    }
    buttons(ui, actions, &[("Save", true, save), ("Cancel", false, Action::CloseDialog)]);
}

fn type_path(
    ui: &mut Ui,
    state: &mut State,
    wanted: Wanted,
    mut text: String,
    error: Option<String>,
    actions: &mut Actions,
) {
    words(ui, wanted.title(), "This desktop offers no file dialog. Type or paste the full path.");
    let edit = TextEdit::singleline(&mut text).hint_text("Full path").desired_width(f32::INFINITY);
    let response = ui.add(edit.margin(Margin::symmetric(8, 6))).accessible_name("Path");
    if response.changed() {
        state.dialog = Some(Dialog::TypePath { wanted, text: text.clone(), error: None });
    } else if let Some(error) = &error {
        widgets::complaint(ui, error);
    }
    if !response.has_focus() && !response.lost_focus() {
        response.request_focus();
    }
    let enter = response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    let open = Action::TakeTyped(wanted, text);
    if enter {
        actions.push(open.clone());
    }
    buttons(ui, actions, &[("Open", true, open), ("Cancel", false, Action::CloseDialog)]);
}

/// Every command by name.
pub fn palette_ui(ui: &Ui, state: &mut State, actions: &mut Actions) {
    let Some(mut query) = state.palette.clone() else { return };
    let mut picked = None;
    let id = Id::unique("palette");
    let area = Modal::default_area(id).anchor(Align2::CENTER_TOP, vec2(0.0, 110.0));
    let frame = Frame::popup(ui.style()).inner_margin(Margin::same(12)).corner_radius(12);
    let modal = Modal::new(id).area(area).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(480.0);
        let edit = TextEdit::singleline(&mut query)
            .hint_text("Find a command")
            .desired_width(f32::INFINITY);
        let response = ui.add(edit.margin(Margin::symmetric(10, 8)).font(theme::regular(15.0)));
        let response = response.accessible_name("Find a command");
        if !response.has_focus() && !response.lost_focus() {
            response.request_focus();
        }
        let entries = command::search(&query);
        if response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter)) {
            picked = entries.iter().find(|e| e.command.enabled(state)).map(|e| e.command);
        }
        ui.add_space(4.0);
        ScrollArea::vertical().max_height(360.0).show(ui, |ui| {
            ui.set_width(ui.available_width());
            for entry in &entries {
                if command_row(ui, entry.command, entry.command.enabled(state)) {
                    picked = Some(entry.command);
                }
            }
            if entries.is_empty() {
                widgets::hint(ui, "No command has these words.");
            }
        });
    });
    state.palette = Some(query);
    if let Some(command) = picked {
        state.palette = None;
        actions.push(Action::Run(command));
    } else if modal.should_close() {
        state.palette = None;
    }
}

/// A command with its shortcut, as in menus; answers whether it was clicked.
pub fn command_row(ui: &mut Ui, command: Command, enabled: bool) -> bool {
    let entry = command.entry();
    let mut button = Button::new(entry.label)
        .min_size(vec2(ui.available_width(), 28.0))
        .frame_when_inactive(false);
    if let Some(shortcut) = entry.shortcut {
        button = button.shortcut_text(ui.ctx().format_shortcut(&shortcut));
    } else {
        button = button.right_text("");
    }
    ui.add_enabled(enabled, button).on_hover_text(entry.tooltip).clicked()
}

/// Seconds a short message stays.
const NOTICE_SECONDS: f64 = 5.0;

/// Short messages in the upper right corner.
pub fn notices_ui(ui: &Ui, state: &mut State) {
    let now = ui.input(|i| i.time);
    state.notices.retain(|notice| now - notice.since < NOTICE_SECONDS);
    if state.notices.is_empty() {
        return;
    }
    ui.ctx().request_repaint_after(std::time::Duration::from_millis(500));
    let t = ui.tokens();
    Area::new(Id::unique("notices"))
        .order(Order::Foreground)
        .interactable(false)
        .anchor(Align2::RIGHT_TOP, vec2(-18.0, 16.0))
        .show(ui.ctx(), |ui| {
            for notice in &state.notices {
                let color = if notice.bad { t.danger } else { t.success };
                Frame::popup(ui.style()).inner_margin(Margin::symmetric(14, 9)).show(ui, |ui| {
                    ui.set_max_width(380.0);
                    ui.horizontal(|ui| {
                        let (dot, _) = ui.allocate_exact_size(vec2(8.0, 8.0), egui::Sense::hover());
                        ui.painter().circle_filled(dot.center(), 4.0, color);
                        ui.vertical(|ui| {
                            ui.add(egui::Label::new(&notice.text).wrap());
                            if !notice.details.is_empty() {
                                widgets::hint(ui, "Details: Menu, Messages");
                            }
                        });
                    });
                });
                ui.add_space(6.0);
            }
        });
}

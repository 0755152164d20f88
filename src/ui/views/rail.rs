//! The left rail: the mark, the four places, light and dark.

use eframe::egui::{
    Align, Frame, Layout, Margin, Panel, Popup, ScrollArea, Sense, Stroke, Theme, Ui, vec2,
};

use crate::ui::action::{Action, Actions};
use crate::ui::command::{Command, TABLE};
use crate::ui::state::{Place, State};
use crate::ui::theme::{RAIL_WIDTH, TokensExt};
use crate::ui::views::overlays::command_row;
use crate::ui::widgets::{Icon, paint_icon, rail_button};

pub fn rail_ui(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let t = ui.tokens();
    let frame = Frame::new().fill(t.chrome).inner_margin(Margin::symmetric(4, 12));
    Panel::left("rail").exact_size(RAIL_WIDTH).resizable(false).frame(frame).show(ui, |ui| {
        ui.vertical_centered(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(34.0, 34.0), Sense::hover());
            paint_icon(ui.painter(), Icon::Logo, rect, t.text, t);
        });
        ui.add_space(14.0);
        ui.spacing_mut().item_spacing.y = 4.0;
        let places = [
            (Place::Train, Icon::Chart, Command::ShowTrain),
            (Place::Data, Icon::Rows, Command::ShowData),
            (Place::Inspect, Icon::Lens, Command::ShowInspect),
            (Place::Runs, Icon::Stack, Command::ShowRuns),
        ];
        for (place, icon, command) in places {
            let tip = tooltip(ui, command);
            if rail_button(ui, icon, place.label(), state.place == place)
                .on_hover_text(tip)
                .clicked()
            {
                actions.push(Action::Run(command));
            }
        }
        ui.with_layout(Layout::bottom_up(Align::Center), |ui| {
            let (icon, label) = match ui.ctx().theme() {
                Theme::Dark => (Icon::Sun, "Light"),
                Theme::Light => (Icon::Moon, "Dark"),
            };
            let tip = tooltip(ui, Command::ToggleTheme);
            if rail_button(ui, icon, label, false).on_hover_text(tip).clicked() {
                actions.push(Action::Run(Command::ToggleTheme));
            }
            let menu = rail_button(ui, Icon::Menu, "Menu", false);
            Popup::menu(&menu).width(290.0).show(|ui| {
                let most = ui.ctx().content_rect().height() - 40.0;
                ScrollArea::vertical().max_height(most).show(ui, |ui| {
                    for entry in TABLE {
                        if command_row(ui, entry.command, entry.command.enabled(state)) {
                            actions.push(Action::Run(entry.command));
                            ui.close();
                        }
                    }
                });
            });
        });
        let line = ui.max_rect().expand2(vec2(4.0, 12.0));
        ui.painter().with_clip_rect(line.expand(1.0)).vline(
            line.right(),
            line.y_range(),
            Stroke::new(1.0, t.card_border),
        );
    });
}

/// The table's tooltip with its shortcut.
pub fn tooltip(ui: &Ui, command: Command) -> String {
    let entry = command.entry();
    match entry.shortcut {
        Some(shortcut) => format!("{} ({})", entry.tooltip, ui.ctx().format_shortcut(&shortcut)),
        None => entry.tooltip.to_owned(),
    }
}

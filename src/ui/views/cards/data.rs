//! Card: the preference file in a few figures, with the way to Data.

use eframe::egui::{Button, RichText, Ui, vec2};

use crate::report::format;
use crate::ui::action::{Action, Actions};
use crate::ui::command::Command;
use crate::ui::drop::Dropped;
use crate::ui::fields::field_row;
use crate::ui::state::{Loaded, State, Wanted};
use crate::ui::summaries::DataReport;
use crate::ui::theme::{self, TokensExt};
use crate::ui::widgets;

pub fn data_card(ui: &mut Ui, state: &mut State, enabled: bool, actions: &mut Actions) {
    let (mut open, mut see_pairs, mut recent) = (false, false, None);
    widgets::card(
        ui,
        "Data",
        |ui| {
            let button = Button::new(RichText::new("Open…").font(theme::medium(12.0)))
                .min_size(vec2(0.0, 24.0));
            let response =
                ui.add_enabled(enabled, button).on_hover_text("Choose a preference file");
            open = response.accessible_name("Open pairs…").clicked();
            recent = widgets::recent_menu(ui, enabled, "Recent pairs", &state.memory.data);
        },
        |ui| {
            match &state.data {
                Loaded::Ready(report) => see_pairs = summary(ui, report),
                Loaded::Loading => {
                    ui.horizontal(|ui| {
                        ui.spinner();
                        widgets::hint(ui, "Reading the pairs");
                    });
                }
                Loaded::Failed(message) => widgets::complaint(ui, message),
                Loaded::Nothing => {
                    widgets::hint(
                        ui,
                        "Drop a .jsonl or .json file of preference pairs on the window, or open one.",
                    );
                }
            }
            field_row(ui, &mut state.form, "data", enabled);
            field_row(ui, &mut state.form, "eval_data", enabled);
            if state.form.get("eval_data").trim().is_empty() {
                field_row(ui, &mut state.form, "eval_fraction", enabled);
            }
        },
    );
    if let Some(path) = recent {
        actions.push(Action::Take(Dropped::Data(path)));
    }
    if open {
        actions.push(Action::Open(Wanted::Data));
    }
    if see_pairs {
        actions.push(Action::Run(Command::ShowData));
    }
}

/// Answers whether the pairs are asked for.
fn summary(ui: &mut Ui, report: &DataReport) -> bool {
    let t = ui.tokens();
    let name =
        report.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    ui.label(RichText::new(name).font(theme::semibold(13.0)))
        .on_hover_text(report.path.display().to_string());
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(5.0, 4.0);
        let pairs = format!("{} pairs", format::count(report.usable as u64));
        widgets::pill(ui, &pairs, if report.usable > 0 { t.success } else { t.danger });
        let skipped = report.rows.saturating_sub(report.usable);
        if skipped > 0 {
            widgets::pill(ui, &format!("{} skipped", format::count(skipped as u64)), t.warning);
        }
    });
    widgets::hint(ui, &report.schema);
    widgets::quiet_button(ui, "See the pairs").clicked()
}

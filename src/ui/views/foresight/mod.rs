//! The forecast before training: how the pairs score under the model, which plain DPO is likely to hurt first, and a
//! new file of those that pass the rules.

mod scores;
mod table;

use eframe::egui::{Align, Rect, RichText, ScrollArea, Ui, vec2};

use crate::data::analysis::Duplicate;
use crate::insight::forecast::{Filter, Forecast};
use crate::report::format;
use crate::ui::action::{Action, Actions};
use crate::ui::command::Command;
use crate::ui::export::Export;
use crate::ui::state::{Loaded, State};
use crate::ui::theme::{GAP, TokensExt};
use crate::ui::views::data::pair_card;
use crate::ui::widgets;

pub fn foresight_ui(ui: &mut Ui, state: &mut State, actions: &mut Actions) {
    match state.foresight.scored.clone() {
        Loaded::Ready(forecast) => {
            ScrollArea::vertical().id_salt("foresight").auto_shrink(false).show(ui, |ui| {
                ui.set_width(ui.available_width() - 12.0);
                scored(ui, state, &forecast, actions);
                ui.add_space(GAP);
            });
        }
        Loaded::Loading => {
            let progress = state.foresight.progress.clone();
            let lines = [progress.as_str()];
            widgets::empty_state(ui, "Putting the pairs through the model", &lines, |ui| {
                ui.spinner();
                if widgets::bar_button(ui, true, "Stop").clicked() {
                    actions.push(Action::StopForecast);
                }
            });
        }
        Loaded::Failed(message) => {
            widgets::empty_state(ui, "The forecast failed", &[message.as_str()], |ui| {
                start_button(ui, state, "Try again", actions);
            });
        }
        Loaded::Nothing => not_yet(ui, state, actions),
    }
}

fn not_yet(ui: &mut Ui, state: &State, actions: &mut Actions) {
    let hindrance = if state.run.status.is_active() {
        "A run is using the device: the forecast can be made when it has ended."
    } else if state.model.ready().is_none() {
        "Choose a model in Train first: the forecast is the model's."
    } else {
        "It takes about as long as one pass of training without its backward half."
    };
    let lines = [
        "Every pair goes through the model once. Then you see which pairs plain DPO is likely to hurt first,",
        "which look swapped, and can keep a part of them as a new file.",
        hindrance,
    ];
    widgets::empty_state(ui, "What would training do to these pairs?", &lines, |ui| {
        start_button(ui, state, "Forecast the pairs", actions);
    });
}

fn start_button(ui: &mut Ui, state: &State, text: &str, actions: &mut Actions) {
    if widgets::primary_button(ui, state.can_forecast(), text).clicked() {
        actions.push(Action::Run(Command::ForecastPairs));
    }
}

fn scored(ui: &mut Ui, state: &mut State, forecast: &Forecast, actions: &mut Actions) {
    let gap = GAP - ui.spacing().item_spacing.y;
    let filter = state.foresight.rules.filter();
    let kept = filter.rows(forecast);
    scores::cards(ui, forecast, &mut state.foresight.rules);
    ui.add_space(gap);
    selection(ui, state, forecast, &filter, kept.clone(), actions);
    ui.add_space(gap);
    let list_height = (ui.ctx().content_rect().height() * 0.34).max(150.0);
    table::pairs_card(ui, &mut state.foresight, forecast, &kept, list_height, actions);
    ui.add_space(gap);
    match &state.foresight.text {
        Loaded::Ready(pair) => {
            let top = ui.cursor().min;
            pair_card(ui, pair);
            // Below the table, which fills a small window.
            if std::mem::take(&mut state.foresight.reveal) {
                let shown = Rect::from_min_max(top, ui.min_rect().max);
                ui.scroll_to_rect(shown, Some(Align::Max));
            }
        }
        Loaded::Failed(message) => widgets::complaint(ui, message),
        Loaded::Loading => {
            ui.spinner();
        }
        Loaded::Nothing => {}
    }
}

/// What is odd about the set, further rules, and the new file.
fn selection(
    ui: &mut Ui,
    state: &mut State,
    forecast: &Forecast,
    filter: &Filter,
    kept: Vec<usize>,
    actions: &mut Actions,
) {
    let t = ui.tokens();
    let (all, left) = (forecast.pairs.len(), kept.len());
    let title = if *filter == Filter::default() {
        format!("{} pairs, no rule set", format::count(all as u64))
    } else {
        format!("{} of {} pairs pass", format::count(left as u64), format::count(all as u64))
    };
    let data = state.form.path("data");
    let button = |ui: &mut Ui| {
        let enabled = left > 0 && left < all && data.is_some();
        let button = ui.add_enabled_ui(enabled, |ui| {
            widgets::corner_button(ui, "Save as a new file…")
                .accessible_name("Save the pairs that pass…")
        });
        let tip = "The rows that pass, byte for byte as they stand in the file";
        if button.inner.on_hover_text(tip).clicked()
            && let Some(data) = data.clone()
        {
            actions.push(Action::Save(Export::Rows { data, rows: kept.clone() }));
        }
    };
    widgets::card(ui, &title, button, |ui| {
        let reversed = forecast.duplicates.iter().filter(|duplicate| duplicate.reversed).count();
        let repeated = forecast.duplicates.len() - reversed;
        let swapped = forecast.swapped_looking.len();
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(14.0, 4.0);
            let rules = &mut state.foresight.rules;
            if swapped > 0 {
                let words = format!("Without the {swapped} that look swapped");
                let tip = "The model finds the rejected answer the likelier one, token by token";
                widgets::small_switch(ui, &mut rules.drop_swapped, &words).on_hover_text(tip);
            }
            if repeated + reversed > 0 {
                let words = format!("Without {repeated} repeated and {reversed} contradicting rows");
                let tip = "Rows whose prompt and answers are those of an earlier one, perhaps the other way round";
                widgets::small_switch(ui, &mut rules.drop_duplicates, &words).on_hover_text(tip);
            }
            if swapped + repeated + reversed == 0 {
                let words = "No pair looks swapped, none repeats or contradicts another.";
                ui.label(RichText::new(words).size(12.0).color(t.text_muted));
            }
        });
        let skipped = state.data.ready().map_or(0, |data| data.rows.saturating_sub(data.usable));
        if skipped > 0 {
            let words = format!(
                "{skipped} rows are left out from the start (identical answers and the like: see on the left)."
            );
            ui.label(RichText::new(words).size(12.0).color(t.text_muted));
        }
        let words = "On the demo surprise told which pairs fall first; the other scores ranked nothing there. Train a few \
                     steps on both halves before you trust one.";
        widgets::hint(ui, words);
    });
}

/// Which earlier row a row repeats.
fn repeated(forecast: &Forecast, row: usize) -> Option<&Duplicate> {
    forecast.duplicates.iter().find(|duplicate| duplicate.row == row)
}

//! Data: the whole report on the preference file, and pairs with the differing words marked.

use eframe::egui::{
    self, Align, CentralPanel, Color32, Frame, Layout, Margin, Panel, RichText, ScrollArea, Ui,
};

use crate::report::format;
use crate::ui::action::{Action, Actions};
use crate::ui::command::Command;
use crate::ui::state::{Loaded, State, Wanted};
use crate::ui::summaries::{DataReport, Piece, PreviewPair};
use crate::ui::theme::{self, GAP, Tokens, TokensExt};
use crate::ui::views::foresight::foresight_ui;
use crate::ui::widgets;

pub fn data_ui(ui: &mut Ui, state: &mut State, actions: &mut Actions) {
    let t = ui.tokens();
    let frame = Frame::new().fill(t.window).inner_margin(Margin::same(12));
    let report = match &state.data {
        Loaded::Ready(report) => report.clone(),
        other => {
            CentralPanel::default().frame(frame).show(ui, |ui| without_report(ui, other, actions));
            return;
        }
    };
    Panel::left("data facts")
        .exact_size(330.0)
        .resizable(false)
        .show_separator_line(false)
        .frame(frame)
        .show(ui, |ui| {
            ScrollArea::vertical().id_salt("data facts").auto_shrink(false).show(ui, |ui| {
                ui.set_width(296.0);
                facts_card(ui, &report, actions);
                ui.add_space(GAP - ui.spacing().item_spacing.y);
                skipped_card(ui, &report);
            });
        });
    CentralPanel::default()
        .frame(frame.inner_margin(Margin { left: 0, right: 4, top: 12, bottom: 0 }))
        .show(ui, |ui| {
            header(ui, &report, &mut state.foresight.shown);
            if state.foresight.shown {
                foresight_ui(ui, state, actions);
                return;
            }
            ScrollArea::vertical().id_salt("pairs").auto_shrink(false).show(ui, |ui| {
                ui.set_width(ui.available_width() - 12.0);
                for pair in &report.preview {
                    pair_card(ui, pair);
                    ui.add_space(GAP - ui.spacing().item_spacing.y);
                }
                ui.add_space(8.0);
            });
        });
}

fn without_report(ui: &mut Ui, data: &Loaded<DataReport>, actions: &mut Actions) {
    let open = |ui: &mut Ui, actions: &mut Actions| {
        if widgets::primary_button(ui, true, "Open pairs…").clicked() {
            actions.push(Action::Open(Wanted::Data));
        }
        if widgets::quiet_button(ui, "Use the demo pairs").clicked() {
            actions.push(Action::Run(Command::UseDemo));
        }
    };
    match data {
        Loaded::Loading => widgets::empty_state(ui, "Reading the pairs", &[], |ui| {
            ui.spinner();
        }),
        Loaded::Failed(message) => {
            widgets::empty_state(ui, "This file cannot be used", &[message.as_str()], |ui| {
                open(ui, actions)
            });
        }
        _ => widgets::empty_state(
            ui,
            "No pairs yet",
            &[
                "Drop a .jsonl or .json preference file on the window.",
                "Each row holds a prompt, the chosen answer and the rejected one.",
            ],
            |ui| open(ui, actions),
        ),
    }
}

fn facts_card(ui: &mut Ui, report: &DataReport, actions: &mut Actions) {
    widgets::card(
        ui,
        "Preference file",
        |ui| {
            if widgets::corner_button(ui, "Open…").accessible_name("Open pairs…").clicked() {
                actions.push(Action::Open(Wanted::Data));
            }
        },
        |ui| {
            let name = report
                .path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            let mut rows = vec![
                ("File".to_owned(), name),
                ("Rows".to_owned(), format::count(report.rows as u64)),
                ("Usable pairs".to_owned(), format::count(report.usable as u64)),
                ("Schema".to_owned(), report.schema.clone()),
                ("Columns".to_owned(), report.columns.join(", ")),
            ];
            rows.extend(report.figures.iter().cloned());
            widgets::facts(ui, &rows);
        },
    );
}

fn skipped_card(ui: &mut Ui, report: &DataReport) {
    let skipped = report.rows.saturating_sub(report.usable);
    let title = match skipped {
        0 => "No skipped rows".to_owned(),
        1 => "1 skipped row".to_owned(),
        n => format!("{} skipped rows", format::count(n as u64)),
    };
    widgets::card(
        ui,
        &title,
        |_| {},
        |ui| {
            let t = ui.tokens();
            if skipped == 0 {
                widgets::hint(ui, "Every row is a usable pair.");
            }
            for rows in &report.skipped {
                let places = RichText::new(&rows.places).font(theme::medium(12.0));
                ui.add(egui::Label::new(places.color(t.warning)).wrap());
                widgets::hint(ui, &rows.reason);
            }
            let listed: usize = report.skipped.iter().map(|rows| rows.count).sum();
            if skipped > listed && listed > 0 {
                widgets::hint(ui, format!("… and {} more", skipped - listed));
            }
        },
    );
}

fn header(ui: &mut Ui, report: &DataReport, foresight: &mut bool) {
    let t = ui.tokens();
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        if let Some(index) =
            widgets::small_segmented(ui, &["Pairs", "Forecast"], usize::from(*foresight))
        {
            *foresight = index == 1;
        }
        if *foresight {
            let words = "before training: what plain DPO would do";
            let words = RichText::new(words).size(12.5).color(t.text_muted);
            ui.add(egui::Label::new(words).truncate());
            return;
        }
        let text =
            format!("first {} of {}", report.preview.len(), format::count(report.usable as u64));
        ui.label(RichText::new(text).size(12.5).color(t.text_muted));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_space(14.0);
            ui.label(RichText::new("differing words are marked").size(12.0).color(t.text_faint));
        });
    });
    ui.add_space(2.0);
}

/// Width of the words before the texts.
const MARGIN: f32 = 58.0;

pub fn pair_card(ui: &mut Ui, pair: &PreviewPair) {
    let t = ui.tokens();
    widgets::card_frame(t).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_top(|ui| {
            let row = RichText::new(format!("Row {}", pair.row))
                .font(theme::medium(11.5))
                .color(t.text_faint);
            widgets::margin_word(ui, MARGIN, row);
            ui.add(
                egui::Label::new(RichText::new(pair.prompt.trim()).size(13.0).color(t.text_muted))
                    .wrap(),
            );
        });
        answer(ui, "chosen", &pair.chosen, t.chosen, t);
        answer(ui, "rejected", &pair.rejected, t.rejected, t);
    });
}

fn answer(ui: &mut Ui, name: &str, pieces: &[Piece], color: Color32, t: &Tokens) {
    ui.horizontal_top(|ui| {
        let label = RichText::new(name).font(theme::semibold(11.5)).color(color);
        widgets::margin_word(ui, MARGIN, label);
        let pieces = pieces.iter().map(|piece| (piece.text.as_str(), piece.differs));
        ui.add(egui::Label::new(widgets::marked(pieces, color, t)).wrap());
    });
}

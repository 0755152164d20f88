//! Between frames: results of background work, the trainer's events, files the form names.

use std::time::Duration;

use eframe::egui::{Context, ViewportCommand};

use crate::report::run_view::{RunView, Status};
use crate::train::event;
use crate::ui::form;
use crate::ui::jobs::Message;
use crate::ui::state::{Dialog, Loaded, Place};

use super::{App, Sources};

/// Seconds without a keystroke before files are read for what was typed.
const TYPING_REST: f64 = 0.5;

/// Lines of the log that the failure card shows.
const SHOWN_LOG_LINES: usize = 30;

impl App {
    /// Work between frames, also while the window is hidden.
    pub fn tick(&mut self, ctx: &Context) {
        while let Ok(message) = self.messages.try_recv() {
            self.receive(ctx, message);
        }
        self.drain_trainer(ctx);
        self.follow_form(ctx);
        self.follow_plan(ctx);
        self.follow_probe();
    }

    pub(super) fn receive(&mut self, ctx: &Context, message: Message) {
        let now = ctx.input(|i| i.time);
        match message {
            Message::Data { ticket, result } if ticket == self.data_ticket => {
                self.state.data = loaded(result);
            }
            Message::Model { ticket, result } if ticket == self.model_ticket => {
                self.state.model = loaded(result);
            }
            Message::Plan { ticket, line } if ticket == self.plan_ticket => {
                self.planning = None;
                self.state.memory_need = line;
            }
            Message::Data { .. } | Message::Model { .. } | Message::Plan { .. } => {}
            Message::Runs(result) => self.state.runs = loaded(result),
            Message::Opened { folder, result } => {
                if self.state.selected_run.as_ref() == Some(&folder) {
                    self.state.opened = match result {
                        Ok(opened) => Loaded::Ready((*opened).into()),
                        Err(message) => Loaded::Failed(message),
                    };
                }
            }
            Message::Compared { folder, result } => {
                let runs = &mut self.state.compare.runs;
                if let Some((_, run)) = runs.iter_mut().find(|(own, _)| *own == folder) {
                    *run = loaded(result.map(|opened| *opened));
                }
            }
            Message::Deleted { folder, result } => {
                self.state.compare.runs.retain(|(own, _)| *own != folder);
                match result {
                    Ok(()) => self.state.notify(now, "Run deleted", false),
                    Err(message) => self.message("This run was not deleted", &message),
                }
                if self.state.selected_run.as_ref() == Some(&folder) {
                    self.state.selected_run = None;
                    self.state.opened = Loaded::Nothing;
                }
                self.list_runs();
            }
            Message::Probe { ticket, result } if ticket == self.probe_ticket => {
                self.state.probe = match result {
                    Ok(Some(view)) => Loaded::Ready((*view).into()),
                    Ok(None) => Loaded::Nothing,
                    Err(message) => Loaded::Failed(message),
                };
            }
            Message::Probe { .. } => {}
            Message::Scoring { ticket, progress } if ticket == self.forecast_ticket => {
                self.state.foresight.progress = progress;
            }
            Message::Scored { ticket, result } if ticket == self.forecast_ticket => {
                self.scored(result.map(|forecast| *forecast));
            }
            Message::Scoring { .. } | Message::Scored { .. } => {}
            Message::Pair { row, result } => {
                if self.state.foresight.row == Some(row) {
                    self.state.foresight.text = loaded(result);
                }
            }
            Message::Asked { ticket, result } if ticket == self.ask_ticket => {
                self.asking = None;
                self.state.inspect.asked = loaded(result);
            }
            Message::Asked { .. } => {}
            Message::SaveTo { export, path: Some(path), .. } => self.save(ctx, &export, path),
            Message::SaveTo { export, path: None, no_dialog: true } => {
                self.save_beside(ctx, &export)
            }
            Message::SaveTo { .. } => {}
            Message::Saved { path, result: Ok(()) } => {
                if path.extension().is_some_and(|extension| extension == "jsonl") {
                    // Pairs that were kept are at hand for the next run.
                    self.state.memory.used_data(&path);
                    self.remember();
                }
                self.state.notify(now, format!("Saved: {}", path.display()), false);
            }
            Message::Saved { result: Err(message), .. } => {
                self.message("It could not be saved", &message);
            }
            Message::Demo(Ok(demo)) => {
                self.state.demo = Some(demo);
                self.fill_with_demo(false);
            }
            Message::Demo(Err(message)) => self.state.notify(now, message, true),
            Message::Picked { wanted, path: Some(path), .. } => self.take_wanted(wanted, path),
            Message::Picked { wanted, path: None, no_dialog: true } => {
                self.state.dialog =
                    Some(Dialog::TypePath { wanted, text: String::new(), error: None });
            }
            Message::Picked { .. } => {}
        }
    }

    pub(super) fn drain_trainer(&mut self, ctx: &Context) {
        let Some(trainer) = &mut self.trainer else { return };
        let events = trainer.try_events();
        let ended = trainer.has_ended();
        self.state.silent_for = trainer.silent_for();
        if matches!(self.state.run.status, Status::Starting(_)) {
            self.state.apply([event::Event::Heartbeat { phase: trainer.phase() }]);
            self.state.silent_for = trainer.silent_for();
        }
        if events.iter().any(|event| matches!(event, event::Event::Failed { .. })) {
            self.state.log_tail = last_lines(trainer.log_tail());
        }
        let now = ctx.input(|i| i.time);
        events.iter().for_each(|event| self.state.hear(now, event));
        if !events.is_empty() {
            self.state.apply(events);
        }
        if ended {
            let log = last_lines(trainer.log_tail());
            self.state.worker_gone(log, "see its log");
            self.trainer = None;
            self.list_runs();
            if self.close_when_ended {
                self.may_close = true;
                ctx.send_viewport_cmd(ViewportCommand::Close);
            }
        } else {
            // Signs of life and times go on without events.
            ctx.request_repaint_after(Duration::from_secs(1));
        }
    }

    /// Reads data and model again when the form names others; while someone types, once they rest.
    pub(super) fn follow_form(&mut self, ctx: &Context) {
        let form = &self.state.form;
        let sources = Sources {
            model: form.path("model"),
            data: form.path("data"),
            max_length: form.get("max_length").trim().parse().unwrap_or(form::USUAL_MAX_LENGTH),
        };
        if sources == self.read {
            return;
        }
        let now = ctx.input(|i| i.time);
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != sources) {
            self.seen = Some((sources.clone(), now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        if ctx.egui_wants_keyboard_input() && now - since < TYPING_REST {
            ctx.request_repaint_after(Duration::from_secs_f64(TYPING_REST));
            return;
        }
        if sources.model != self.read.model {
            self.model_ticket += 1;
            self.state.model = match sources.model.clone() {
                Some(folder) => {
                    self.mailbox.read_model(self.model_ticket, folder);
                    Loaded::Loading
                }
                None => Loaded::Nothing,
            };
        }
        self.forget_failed_start();
        self.forget_forecast();
        self.data_ticket += 1;
        self.state.data = match sources.data.clone() {
            Some(data) => {
                self.mailbox.inspect(
                    self.data_ticket,
                    data,
                    sources.model.clone(),
                    sources.max_length,
                );
                Loaded::Loading
            }
            None => Loaded::Nothing,
        };
        self.read = sources;
    }

    /// A run that failed before its first figure has nothing to show once something else is chosen.
    fn forget_failed_start(&mut self) {
        let run = &self.state.run;
        if matches!(run.status, Status::Failed { .. }) && run.store.is_empty() {
            self.state.run = RunView::default();
            self.state.log_tail.clear();
        }
    }

    /// Forecasts the memory again when model and pairs are read and the settings rest.
    fn follow_plan(&mut self, ctx: &Context) {
        let ready = self.state.model.ready().is_some() && self.state.data.ready().is_some();
        if !ready || !self.state.form.complaints().is_empty() {
            self.state.memory_need = None;
            self.planned = None;
            return;
        }
        let options = self.state.form.args();
        if self.planned.as_ref() == Some(&options) {
            return;
        }
        // A refusal is of the settings that were planned; figures may stay until newer ones come.
        if self.state.memory_need.as_ref().is_some_and(|need| need.refusal.is_some()) {
            self.state.memory_need = None;
        }
        if ctx.egui_wants_keyboard_input() {
            ctx.request_repaint_after(Duration::from_secs_f64(TYPING_REST));
            return;
        }
        self.plan_ticket += 1;
        let (ticket, program) = (self.plan_ticket, &self.folders.program);
        self.planning = Some(self.mailbox.plan(ticket, program, &options));
        self.planned = Some(options);
    }

    /// Reads the probe that Inspect is to show, when it is another than was read last.
    fn follow_probe(&mut self) {
        if self.state.place != Place::Inspect {
            return;
        }
        let run = self.state.shown_run();
        let Some(folder) = run.folder.clone() else {
            self.state.probe = Loaded::Nothing;
            self.probe_read = None;
            return;
        };
        let newest = run.last_probe();
        let wanted = (folder, self.state.inspect.step, newest);
        if self.probe_read.as_ref() == Some(&wanted) {
            return;
        }
        let known = self.state.probe.ready().map(|view| view.source.clone());
        let known = known.filter(|source| source.folder == wanted.0);
        if known.is_none() {
            self.state.probe = Loaded::Loading;
        }
        self.probe_ticket += 1;
        self.mailbox.read_probe(self.probe_ticket, wanted.0.clone(), wanted.1, known);
        self.probe_read = Some(wanted);
    }

    pub(super) fn list_runs(&self) {
        self.mailbox.list_runs(self.folders.runs.clone());
    }
}

fn loaded<T>(result: Result<T, String>) -> Loaded<T> {
    match result {
        Ok(value) => Loaded::Ready(value.into()),
        Err(message) => Loaded::Failed(message),
    }
}

fn last_lines(mut lines: Vec<String>) -> Vec<String> {
    let skip = lines.len().saturating_sub(SHOWN_LOG_LINES);
    lines.split_off(skip)
}

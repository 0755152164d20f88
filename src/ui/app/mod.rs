//! The window's application: `tick` drains what happened elsewhere, `show` draws, `act` does what the views
//! asked for.

mod commands;
mod exporting;
mod forecasting;
mod logic;
mod opening;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use eframe::egui::{self, Context, Key, Ui, ViewportCommand};

use super::action::{Action, Actions};
use super::backend::Folders;
use super::chart_cache::ChartCache;
use super::command::{Entry, TABLE};
use super::drop::Dropped;
use super::errand::Errand;
use super::jobs::{Mailbox, Message};
use super::memory::Memory;
use super::state::{Dialog, Place, State};
use super::trainer::{Launcher, Trainer};
use super::views::{bottom, data, inspect, overlays, rail, runs, tour, train};
use super::{system_fonts, theme};

/// What the reports on model and data are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sources {
    model: Option<PathBuf>,
    data: Option<PathBuf>,
    max_length: usize,
}

/// The window.
pub struct App {
    pub state: State,
    actions: Actions,
    train_charts: ChartCache,
    runs_charts: ChartCache,
    compare_charts: ChartCache,
    trainer: Option<Box<dyn Trainer>>,
    launcher: Launcher,
    folders: Folders,
    mailbox: Mailbox,
    messages: Receiver<Message>,
    /// Number of the newest reading of data and of model; older results are dropped.
    data_ticket: u64,
    model_ticket: u64,
    probe_ticket: u64,
    plan_ticket: u64,
    forecast_ticket: u64,
    /// The forecast before training that is being made.
    scoring: Option<Errand>,
    ask_ticket: u64,
    /// The answers to a person's own prompt that are being written.
    asking: Option<Errand>,
    /// The memory forecast that is being made.
    planning: Option<Errand>,
    /// Options of the newest memory forecast.
    planned: Option<Vec<OsString>>,
    /// Run, step asked for and newest step of the probe that was read.
    probe_read: Option<(PathBuf, Option<usize>, Option<usize>)>,
    /// What the newest reading of model and data began with.
    read: Sources,
    /// What the form named last, and since when (seconds).
    seen: Option<(Sources, f64)>,
    hovered: Vec<(PathBuf, Result<Dropped, String>)>,
    close_when_ended: bool,
    may_close: bool,
    /// Shortest time from an event of the trainer to the frame that shows it.
    pause: Duration,
}

impl App {
    /// `paths` are opened as if dropped; without a model or pairs among them the demo is chosen.
    pub fn new(ctx: &Context, launcher: Launcher, folders: Folders, paths: &[PathBuf]) -> Self {
        theme::install(ctx);
        // The command table has the window's scale, with limits.
        ctx.options_mut(|options| options.zoom_with_keyboard = false);
        system_fonts::install(ctx);
        let (mailbox, messages) = Mailbox::new(ctx.clone());
        let mut app = Self {
            state: State { memory: Memory::read(&folders.memory), ..State::default() },
            actions: Vec::new(),
            train_charts: ChartCache::default(),
            runs_charts: ChartCache::default(),
            compare_charts: ChartCache::default(),
            trainer: None,
            launcher,
            folders,
            mailbox,
            messages,
            data_ticket: 0,
            model_ticket: 0,
            probe_ticket: 0,
            plan_ticket: 0,
            forecast_ticket: 0,
            scoring: None,
            ask_ticket: 0,
            asking: None,
            planning: None,
            planned: None,
            probe_read: None,
            read: Sources::default(),
            seen: None,
            hovered: Vec::new(),
            close_when_ended: false,
            may_close: false,
            pause: Duration::from_millis(60),
        };
        app.mailbox.unpack_demo(app.folders.demo.clone());
        app.list_runs();
        app.take_paths(ctx, paths);
        app.state.tour = (!app.state.memory.toured).then_some(0);
        app
    }

    /// The processor draws: frames are made seldom, so that the trainer has it.
    pub fn spare_the_processor(&mut self) {
        self.pause = Duration::from_millis(900);
    }

    /// One frame.
    pub fn show(&mut self, ui: &mut Ui) {
        let ctx = ui.ctx().clone();
        self.close_requests(&ctx);
        self.drops(&ctx);
        self.shortcuts(&ctx);
        rail::rail_ui(ui, &self.state, &mut self.actions);
        bottom::bottom_ui(ui, &self.state, &mut self.actions);
        match self.state.place {
            Place::Train => {
                train::train_ui(ui, &mut self.state, &mut self.train_charts, &mut self.actions)
            }
            Place::Data => data::data_ui(ui, &mut self.state, &mut self.actions),
            Place::Inspect => inspect::inspect_ui(ui, &mut self.state, &mut self.actions),
            Place::Runs => {
                let caches = (&mut self.runs_charts, &mut self.compare_charts);
                runs::runs_ui(ui, &mut self.state, caches, &mut self.actions)
            }
        }
        tour::tour_ui(ui, &mut self.state, &mut self.actions);
        overlays::dialog_ui(ui, &mut self.state, &mut self.actions);
        overlays::palette_ui(ui, &mut self.state, &mut self.actions);
        overlays::notices_ui(ui, &mut self.state);
        if !self.hovered.is_empty() {
            let hovered: Vec<_> = self.hovered.iter().map(|(_, what)| what.clone()).collect();
            overlays::drop_zone(ui, &hovered);
        }
        for action in std::mem::take(&mut self.actions) {
            self.act(&ctx, action);
            ctx.request_repaint();
        }
    }

    /// Writes down what is to be remembered.
    fn remember(&mut self) {
        if let Err(message) = self.state.memory.write(&self.folders.memory) {
            self.message("The window cannot remember this", &message);
        }
    }

    fn close_requests(&mut self, ctx: &Context) {
        let requested = ctx.input(|i| i.viewport().close_requested());
        if requested && !self.may_close && self.state.run.status.is_active() {
            ctx.send_viewport_cmd(ViewportCommand::CancelClose);
            self.state.dialog = Some(Dialog::CloseDuringRun);
        }
    }

    fn shortcuts(&mut self, ctx: &Context) {
        if self.state.dialog.is_some() || self.state.palette.is_some() {
            return;
        }
        // egui takes Ctrl+Shift+Z for Ctrl+Z as well: the longer ones come first.
        let shift = |entry: &&Entry| entry.shortcut.is_some_and(|s| s.modifiers.shift);
        let (longer, shorter): (Vec<&Entry>, Vec<&Entry>) = TABLE.iter().partition(shift);
        for entry in longer.into_iter().chain(shorter) {
            // In a field, Alt and arrows go from word to word, and what was typed is undone first.
            let in_a_field = ctx.egui_wants_keyboard_input();
            let of_fields = |s: &egui::KeyboardShortcut| s.modifiers.alt || s.logical_key == Key::Z;
            if let Some(shortcut) = entry.shortcut
                && !(in_a_field && of_fields(&shortcut))
                && ctx.input_mut(|i| i.consume_shortcut(&shortcut))
                && entry.command.enabled(&self.state)
            {
                self.actions.push(Action::Run(entry.command));
            }
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        self.tick(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.show(ui);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}

//! What the views asked for, done in one place.

use std::path::PathBuf;

use eframe::egui::{Context, Theme, ViewportCommand};

use crate::report::run_view::Status;
use crate::run::folder;
use crate::train::event;
use crate::ui::action::Action;
use crate::ui::backend;
use crate::ui::chart::whole;
use crate::ui::command::Command;
use crate::ui::drop::Dropped;
use crate::ui::state::{Dialog, Inspection, Loaded, Place, Wanted};
use crate::ui::trainer::Job;
use crate::ui::views::charts::next_reading;

use super::App;

/// By how much the window grows or shrinks at once.
const SCALE_STEP: f32 = 0.1;

/// Scales the window, between 100 and 200 %.
fn scale_window(ctx: &Context, by: f32) {
    ctx.set_zoom_factor(((ctx.zoom_factor() + by) * 10.0).round().clamp(10.0, 20.0) / 10.0);
}

impl App {
    pub(super) fn act(&mut self, ctx: &Context, action: Action) {
        match action {
            Action::Run(command) => self.run_command(ctx, command),
            Action::Open(wanted) => self.open_dialog(wanted),
            Action::Take(dropped) => {
                let disturbs = !matches!(dropped, Dropped::Run(_));
                if disturbs && self.state.run.status.is_active() {
                    self.state.dialog = Some(Dialog::ReplaceDuringRun(dropped));
                } else {
                    self.take(ctx, dropped);
                }
            }
            Action::TakeAnyway(dropped) => {
                self.state.dialog = None;
                self.take(ctx, dropped);
            }
            Action::TakeTyped(wanted, text) => self.take_typed(wanted, &text),
            Action::Preset(name) => self.state.form.apply_preset(&name),
            Action::SelectRun(folder) => self.select_run(folder),
            Action::Compare(folder) => {
                let compare = &mut self.state.compare;
                if compare.holds(&folder) {
                    compare.runs.retain(|(own, _)| *own != folder);
                } else {
                    compare.runs.push((folder.clone(), Loaded::Loading));
                    self.mailbox.compare_run(folder);
                }
                self.compare_charts.reset();
            }
            Action::SaveSettings(name) => {
                self.state.dialog = None;
                self.state.memory.presets.insert(name, self.state.form.settings());
                self.remember();
            }
            Action::UseSettings(name) => {
                if let Some(values) = self.state.memory.presets.get(&name) {
                    self.state.form.use_settings(values);
                }
            }
            Action::ForgetSettings(name) => {
                self.state.memory.presets.remove(&name);
                self.remember();
            }
            Action::EndTour => {
                self.state.tour = None;
                if !self.state.memory.toured {
                    self.state.memory.toured = true;
                    self.remember();
                }
            }
            Action::CompareNothing => self.state.compare = Default::default(),
            Action::Ask { run, prompt } => {
                self.ask_ticket += 1;
                self.state.inspect.asked = Loaded::Loading;
                let (ticket, program) = (self.ask_ticket, &self.folders.program);
                self.asking = Some(self.mailbox.ask(ticket, program, &run, prompt));
            }
            Action::StopAsking => self.stop_asking(),
            Action::Inspect { opened } => {
                // An answer on its way is another run's.
                self.stop_asking();
                let place = self.state.place;
                self.state.inspect =
                    Inspection { opened, sort: self.state.inspect.sort, ..Inspection::default() };
                if place != Place::Inspect {
                    self.run_command(ctx, Command::ShowInspect);
                }
            }
            Action::ResumeRun(folder) => self.resume(ctx, folder),
            Action::AskDelete(folder) => self.state.dialog = Some(Dialog::DeleteRun(folder)),
            Action::Delete(folder) => {
                self.state.dialog = None;
                self.mailbox.delete_run(folder);
            }
            Action::Reveal(folder) => {
                if let Err(error) = open::that_detached(&folder) {
                    let text = format!("{error}. It lies at {}.", folder.display());
                    self.message("The folder could not be shown", &text);
                }
            }
            Action::Save(export) => self.ask_where(export),
            Action::StopForecast => self.forget_forecast(),
            Action::ShowPair(row) => self.show_pair(row),
            Action::DismissCollapse => self.state.dismissed_collapse = true,
            Action::CloseDialog => self.state.dialog = None,
            Action::SaveAndClose => {
                self.state.dialog = None;
                self.close_when_ended = true;
                self.run_command(ctx, Command::Stop);
            }
        }
    }

    pub(super) fn run_command(&mut self, ctx: &Context, command: Command) {
        if !command.enabled(&self.state) {
            return;
        }
        if let Some(place) = command.place() {
            self.state.place = place;
            self.state.hover = None;
            if place == Place::Runs {
                self.list_runs();
            }
        }
        if let Some(scale) = command.scale() {
            self.state.scale = scale;
        }
        if let Some(axis) = command.axis() {
            self.state.axis = axis;
            self.state.hover = None;
            self.reset_charts();
        }
        if let Some(export) = command.export() {
            self.ask_where(export);
        }
        match command {
            Command::Start => self.start(ctx),
            Command::PauseOrResume => {
                let paused = self.state.run.status == Status::Paused;
                self.send(if paused { event::Command::Resume } else { event::Command::Pause });
            }
            Command::Stop => {
                self.state.stopping = true;
                self.send(event::Command::Stop);
            }
            Command::OpenData => self.open_dialog(Wanted::Data),
            Command::OpenModel => self.open_dialog(Wanted::Model),
            Command::OpenModelFile => self.open_dialog(Wanted::ModelFile),
            Command::OpenFolder => self.open_dialog(Wanted::Run),
            Command::OpenAdapter => self.open_dialog(Wanted::Adapter),
            Command::UseDemo => self.fill_with_demo(true),
            Command::ForecastPairs => self.forecast_pairs(),
            Command::ResetCharts => self.reset_charts(),
            Command::Undo => self.state.form.undo(),
            Command::Tour => {
                self.state.place = Place::Train;
                self.state.tour = Some(0);
            }
            Command::Messages => self.state.dialog = Some(Dialog::Messages),
            Command::Redo => self.state.form.redo(),
            Command::SaveSettings => {
                self.state.dialog = Some(Dialog::NameSettings { text: String::new() });
            }
            Command::ToggleSmooth => self.state.smooth = !self.state.smooth,
            Command::ZoomIn
            | Command::ZoomOut
            | Command::MoveBack
            | Command::MoveOn
            | Command::CursorBack
            | Command::CursorOn => self.steer_charts(command),
            Command::Larger => scale_window(ctx, SCALE_STEP),
            Command::Smaller => scale_window(ctx, -SCALE_STEP),
            Command::UsualSize => ctx.set_zoom_factor(1.0),
            Command::ToggleTheme => {
                let other = if ctx.theme() == Theme::Dark { Theme::Light } else { Theme::Dark };
                ctx.set_theme(other);
            }
            Command::Palette => self.state.palette = Some(String::new()),
            Command::OpenRunFolder => {
                if let Some(folder) = self.state.shown_run().folder.clone() {
                    self.act(ctx, Action::Reveal(folder));
                }
            }
            Command::RefreshRuns => self.list_runs(),
            Command::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
            _ => {}
        }
    }

    fn reset_charts(&mut self) {
        self.train_charts.reset();
        self.runs_charts.reset();
        self.compare_charts.reset();
    }

    /// What dragging and wheel do, by keyboard.
    fn steer_charts(&mut self, command: Command) {
        let axis = self.state.axis;
        let run = self.state.shown_run();
        let ruler = run.ruler(axis);
        let runs = [run];
        let whole = whole(&runs, axis);
        let at = self.state.hover.map_or(run.step as f64, |x| ruler.step(x));
        let forward = command == Command::CursorOn;
        let cursor = next_reading(run, at, forward).map(|step| ruler.x(step));
        let charts = match self.state.place {
            Place::Runs => &mut self.runs_charts,
            _ => &mut self.train_charts,
        };
        match command {
            Command::ZoomIn => charts.zoom(2.0, self.state.hover, whole),
            Command::ZoomOut => charts.zoom(0.5, self.state.hover, whole),
            Command::MoveBack => charts.shift_by_part(-0.25, whole),
            Command::MoveOn => charts.shift_by_part(0.25, whole),
            _ => self.state.hover = cursor,
        }
    }

    /// Ends the answers that are being written; their last message comes too late.
    fn stop_asking(&mut self) {
        self.asking = None;
        self.ask_ticket += 1;
        self.state.inspect.asked = Loaded::Nothing;
    }

    pub(super) fn start(&mut self, ctx: &Context) {
        let data = self.state.form.path("data").unwrap_or_default();
        match backend::new_run_folder(&self.folders.runs, &data) {
            Ok(run) => {
                self.state.config = self.state.form.config();
                self.launch(ctx, &Job::start(self.state.form.args(), &run), false);
            }
            Err(message) => self.message("The run could not start", &message),
        }
    }

    pub(super) fn resume(&mut self, ctx: &Context, folder: PathBuf) {
        if self.state.run.status.is_active() {
            return;
        }
        // The curves so far belong to the run that goes on.
        let same = self.state.run.folder.as_ref() == Some(&folder);
        if let (false, Loaded::Ready(opened)) = (same, &self.state.opened)
            && opened.folder == folder
        {
            self.state.run = opened.view.clone();
        }
        self.state.config = folder::read_record(&folder).map(|record| record.config).ok();
        self.launch(ctx, &Job::resume(&folder), true);
        self.state.place = Place::Train;
    }

    pub(super) fn launch(&mut self, ctx: &Context, job: &Job, resumed: bool) {
        let wake = {
            let (ctx, pause) = (ctx.clone(), self.pause);
            Box::new(move || ctx.request_repaint_after(pause))
        };
        match (self.launcher)(job, wake) {
            Ok(trainer) => {
                self.trainer = Some(trainer);
                self.state.begin(resumed);
                self.train_charts.reset();
                self.state.place = Place::Train;
            }
            Err(message) => self.message("The run could not start", &message),
        }
    }

    pub(super) fn send(&mut self, command: event::Command) {
        if let Some(trainer) = &mut self.trainer
            && let Err(message) = trainer.send(command)
        {
            self.state.stopping = false;
            self.message("The trainer did not hear", &message);
        }
    }

    pub(super) fn message(&mut self, title: &str, text: &str) {
        self.state.dialog =
            Some(Dialog::Message { title: title.to_owned(), text: text.to_owned() });
    }
}

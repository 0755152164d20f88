//! Files and folders from outside: dropped, picked, typed, given on the command line, or bundled.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use eframe::egui::Context;

use crate::ui::action::Action;
use crate::ui::chart_cache::ChartCache;
use crate::ui::dialogs;
use crate::ui::drop::{Dropped, classify};
use crate::ui::form;
use crate::ui::state::{Dialog, Loaded, Place, Wanted};

use super::App;

/// Every path once, in order: on X11 each movement of the drag reports the same files again.
fn distinct(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    paths.filter(|path| seen.insert(path.clone())).collect()
}

impl App {
    pub(super) fn drops(&mut self, ctx: &Context) {
        let (hovered, dropped) = ctx.input(|i| {
            let hovered = i.raw.hovered_files.iter().filter_map(|file| file.path.clone());
            let dropped = i.raw.dropped_files.iter().map(|file| file.path().to_owned());
            (distinct(hovered), distinct(dropped))
        });
        if self.hovered.iter().map(|(path, _)| path).ne(hovered.iter()) {
            self.hovered =
                hovered.into_iter().map(|path| (path.clone(), classify(&path))).collect();
        }
        if !dropped.is_empty() {
            self.hovered.clear();
            self.take_paths(ctx, &dropped);
        }
    }

    /// Opens paths together: all of them must mean something, and no two the same thing.
    pub(super) fn take_paths(&mut self, ctx: &Context, paths: &[PathBuf]) {
        let mut taken = Vec::new();
        let mut wrong = Vec::new();
        for path in paths {
            match classify(path) {
                Ok(dropped) => taken.push(dropped),
                Err(message) => wrong.push(message),
            }
        }
        let kinds: HashSet<_> = taken.iter().map(std::mem::discriminant).collect();
        if kinds.len() < taken.len() {
            wrong.push(
                "Of each kind (pairs, model, adapter, run) one at a time can be used.".into(),
            );
        }
        if !wrong.is_empty() {
            self.message("Nothing was changed", &wrong.join("\n"));
            return;
        }
        for dropped in taken {
            self.act(ctx, Action::Take(dropped));
        }
    }

    pub(super) fn open_dialog(&mut self, wanted: Wanted) {
        let field = match wanted {
            Wanted::Data => "data",
            Wanted::EvalData => "eval_data",
            Wanted::Model | Wanted::ModelFile => "model",
            Wanted::Adapter => "init_adapter",
            Wanted::Run => "",
        };
        let near = self.state.form.path(field).and_then(|path| Some(path.parent()?.to_owned()));
        dialogs::pick(wanted, near.filter(|folder| folder.is_dir()), self.mailbox.clone());
    }

    pub(super) fn take_typed(&mut self, wanted: Wanted, text: &str) {
        let path = PathBuf::from(text.trim().trim_matches('"'));
        match fits(wanted, &path) {
            Ok(_) => {
                self.state.dialog = None;
                self.take_wanted(wanted, path);
            }
            Err(message) => {
                let text = text.to_owned();
                self.state.dialog = Some(Dialog::TypePath { wanted, text, error: Some(message) });
            }
        }
    }

    pub(super) fn take_wanted(&mut self, wanted: Wanted, path: PathBuf) {
        match fits(wanted, &path) {
            Ok(_) if wanted == Wanted::EvalData => {
                self.state.form.set("eval_data", path.display().to_string());
            }
            Ok(dropped) => self.actions.push(Action::Take(dropped)),
            Err(message) => self.message("Nothing was changed", &message),
        }
    }

    pub(super) fn take(&mut self, ctx: &Context, dropped: Dropped) {
        let now = ctx.input(|i| i.time);
        let name = dropped.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = dropped.path().display().to_string();
        let notice = format!("{}: {name}", dropped.deed());
        match dropped {
            Dropped::Data(_) => {
                self.leave_demo_behind();
                self.state.memory.used_data(dropped.path());
                self.remember();
                self.state.form.set("data", text);
                if self.state.place != Place::Data {
                    self.state.place = Place::Train;
                }
            }
            Dropped::Model(_) => {
                self.state.form.set("model", text);
                self.state.memory.used_model(dropped.path());
                self.remember();
            }
            Dropped::Adapter(_) => self.state.form.set("init_adapter", text),
            Dropped::Run(folder) => self.select_run(folder),
        }
        self.state.notify(now, notice, false);
    }

    /// The demo's held-out pairs go with the demo's pairs alone.
    pub(super) fn leave_demo_behind(&mut self) {
        let Some(demo) = &self.state.demo else { return };
        if self.state.form.path("eval_data").as_ref() == Some(&demo.eval_data) {
            self.state.form.set("eval_data", "");
        }
    }

    pub(super) fn fill_with_demo(&mut self, replace: bool) {
        let Some(demo) = self.state.demo.clone() else { return };
        let form = &mut self.state.form;
        let untouched = form.get("model").is_empty() && form.get("data").is_empty();
        if replace || untouched {
            form.apply_preset(form::DEMO_PRESET);
        }
        if replace || form.get("data").is_empty() {
            form.set("data", demo.data.display().to_string());
            form.set("eval_data", demo.eval_data.display().to_string());
        }
        if replace || form.get("model").is_empty() {
            form.set("model", demo.model.display().to_string());
        }
        if !replace {
            form.forget_past();
        }
        if replace {
            form.set("init_adapter", "");
            self.state.place = Place::Train;
        }
    }

    pub(super) fn select_run(&mut self, folder: PathBuf) {
        self.state.place = Place::Runs;
        self.state.selected_run = Some(folder.clone());
        self.state.opened = Loaded::Loading;
        self.state.hover = None;
        self.runs_charts = ChartCache::default();
        self.mailbox.open_run(folder);
    }
}

/// What `path` is, if it is what was asked for.
fn fits(wanted: Wanted, path: &Path) -> Result<Dropped, String> {
    let dropped = classify(path)?;
    let right = matches!(
        (wanted, &dropped),
        (Wanted::Data | Wanted::EvalData, Dropped::Data(_))
            | (Wanted::Model | Wanted::ModelFile, Dropped::Model(_))
            | (Wanted::Adapter, Dropped::Adapter(_))
            | (Wanted::Run, Dropped::Run(_))
    );
    if right { Ok(dropped) } else { Err(format!("That is {}.", dropped.what())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reported_again_and_again_is_one_file() {
        let paths = ["a.jsonl", "b", "a.jsonl", "a.jsonl"].map(PathBuf::from);
        assert_eq!(distinct(paths.into_iter()), ["a.jsonl", "b"].map(PathBuf::from));
    }
}

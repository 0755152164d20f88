//! Taking things away: where to, what, and the word that it is done.

use std::path::{Path, PathBuf};

use eframe::egui::Context;

use crate::ui::dialogs;
use crate::ui::export::{self, Export, Subject};
use crate::ui::theme::TokensExt;
use crate::ui::views::charts::Look;

use super::App;

/// `name` in `folder`, or `name-2`, .. where that is taken: nobody was asked whether it may be replaced.
fn unused(folder: &Path, name: &str) -> PathBuf {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) => (stem, format!(".{extension}")),
        None => (name, String::new()),
    };
    let numbered = (2..).map(|number| format!("{stem}-{number}{extension}"));
    let names = std::iter::once(name.to_owned()).chain(numbered);
    let mut paths = names.map(|name| folder.join(name));
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}

impl App {
    pub(super) fn ask_where(&mut self, export: Export) {
        let name = export.file_name(&export::name(self.state.shown_run()));
        let near = self.home_of(&export).filter(|folder| folder.is_dir());
        dialogs::save(export, &name, near, self.mailbox.clone());
    }

    pub(super) fn save(&mut self, ctx: &Context, export: &Export, path: PathBuf) {
        let subject = Subject {
            run: self.state.shown_run(),
            compare: &self.state.compare,
            look: Look::of(&self.state),
            palette: ctx.tokens().palette,
        };
        match export::pack(export, &subject) {
            Ok(parcel) => self.mailbox.write(parcel, path),
            Err(message) => self.message("It could not be saved", &message),
        }
    }

    /// Where no dialog can ask, what it came from is a good place.
    pub(super) fn save_beside(&mut self, ctx: &Context, export: &Export) {
        let name = export.file_name(&export::name(self.state.shown_run()));
        match self.home_of(export) {
            Some(folder) => self.save(ctx, export, unused(&folder, &name)),
            None => self.message("It could not be saved", "This run has no folder."),
        }
    }

    /// The folder of what is exported: the data file's, else the run's.
    fn home_of(&self, export: &Export) -> Option<PathBuf> {
        match export {
            Export::Rows { data, .. } => data.parent().map(PathBuf::from),
            _ => self.state.shown_run().folder.clone(),
        }
    }
}

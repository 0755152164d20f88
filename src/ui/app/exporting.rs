//! Taking things away: where to, what, and the word that it is done.

use std::path::PathBuf;

use eframe::egui::Context;

use crate::ui::dialogs;
use crate::ui::export::{self, Export};
use crate::ui::theme::TokensExt;
use crate::ui::views::charts::Look;

use super::App;

impl App {
    pub(super) fn ask_where(&mut self, export: Export) {
        let name = export.file_name(&export::name(self.state.shown_run()));
        let near = self.home_of(&export).filter(|folder| folder.is_dir());
        dialogs::save(export, &name, near, self.mailbox.clone());
    }

    pub(super) fn save(&mut self, ctx: &Context, export: &Export, path: PathBuf) {
        let look = Look::of(&self.state);
        let palette = ctx.tokens().palette;
        match export::pack(export, self.state.shown_run(), look, palette) {
            Ok(parcel) => self.mailbox.write(parcel, path),
            Err(message) => self.message("It could not be saved", &message),
        }
    }

    /// Where no dialog can ask, what it came from is a good place.
    pub(super) fn save_beside(&mut self, ctx: &Context, export: &Export) {
        let name = export.file_name(&export::name(self.state.shown_run()));
        match self.home_of(export) {
            Some(folder) => self.save(ctx, export, folder.join(name)),
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

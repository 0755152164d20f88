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
        let run = self.state.shown_run();
        let name = export.file_name(&export::name(run));
        let near = run.folder.clone().filter(|folder| folder.is_dir());
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

    /// Where no dialog can ask, the run's own folder is a good place.
    pub(super) fn save_beside(&mut self, ctx: &Context, export: &Export) {
        let run = self.state.shown_run();
        let name = export.file_name(&export::name(run));
        match run.folder.clone() {
            Some(folder) => self.save(ctx, export, folder.join(name)),
            None => self.message("It could not be saved", "This run has no folder."),
        }
    }
}

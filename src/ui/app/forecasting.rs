//! The forecast before training: asked for, followed, forgotten.

use std::ffi::OsString;

use crate::config::field;
use crate::insight::forecast::Forecast;
use crate::ui::state::{Loaded, Place};

use super::App;

/// Fields of the form that a forecast depends on.
const FIELDS: [&str; 5] = ["model", "data", "max_length", "device", "base_precision"];

impl App {
    pub(super) fn forecast_pairs(&mut self) {
        self.state.place = Place::Data;
        self.state.foresight.forget();
        self.state.foresight.shown = true;
        self.state.foresight.scored = Loaded::Loading;
        let mut options: Vec<OsString> = Vec::new();
        for name in FIELDS {
            let value = self.state.form.get(name).trim();
            if !value.is_empty() {
                options.extend([field(name).flag.into(), value.into()]);
            }
        }
        self.forecast_ticket += 1;
        let (ticket, program) = (self.forecast_ticket, &self.folders.program);
        self.scoring = Some(self.mailbox.forecast(ticket, program, &options));
    }

    pub(super) fn scored(&mut self, result: Result<Forecast, String>) {
        self.scoring = None;
        self.state.foresight.scored = match result {
            Ok(forecast) => Loaded::Ready(forecast.into()),
            Err(message) => Loaded::Failed(message),
        };
    }

    /// Ends what is being made and forgets what was: it speaks of another file or model.
    pub(super) fn forget_forecast(&mut self) {
        self.scoring = None;
        // Its last message comes too late.
        self.forecast_ticket += 1;
        self.state.foresight.forget();
    }

    pub(super) fn show_pair(&mut self, row: usize) {
        let Some(data) = self.state.form.path("data") else { return };
        self.state.foresight.row = Some(row);
        self.state.foresight.text = Loaded::Loading;
        self.state.foresight.reveal = true;
        self.mailbox.read_pair(data, self.state.form.path("model"), row);
    }
}

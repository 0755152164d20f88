//! A run as a person reads it: its events folded into series, the charts they are drawn in, and what can be taken
//! away of them (SVG, CSV, one HTML page). Host only; the window and the command line both stand on it.

pub mod charts;
pub mod csv;
pub mod flags;
pub mod format;
pub mod notes;
pub mod page;
pub mod palette;
pub mod picture;
pub mod profile;
mod read;
pub mod reduce;
pub mod ruler;
pub mod run_view;
pub mod samples;
pub mod scene;
pub mod series;
pub mod svg;
pub mod tensorboard;
pub mod trace;

pub use read::{Skip, read};

use crate::config::{FIELDS, Field, RunConfig, RunDraft};

/// A configuration as rows: label and value of every option.
pub fn settings(config: &RunConfig) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(values)) = serde_json::to_value(RunDraft::from(config)) else {
        return Vec::new();
    };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => {
            items.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let row = |field: &Field| Some((field.label.to_owned(), text(values.get(field.name)?)));
    FIELDS.iter().filter_map(row).collect()
}

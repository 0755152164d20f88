//! `dpop-studio presets`.

use super::args::JsonArgs;
use super::output::{CliError, Out};
use crate::config::presets;

pub fn run(args: &JsonArgs) -> Result<(), CliError> {
    let presets = presets();
    let mut out = Out::new();
    if args.json {
        out.json(&presets)?;
        return out.finish();
    }
    for preset in &presets {
        out.line(&format!("{} ({})", preset.name, preset.title))?;
        out.line(&format!("  {}", preset.description))?;
        let draft = serde_json::to_value(&preset.draft).map_err(CliError::failure)?;
        let options: Vec<String> = draft
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("--{} {}", name.replace('_', "-"), plain(value)))
            .collect();
        out.line(&format!("  {}\n", options.join(" ")))?;
    }
    out.finish()
}

/// A value as it is typed on the command line.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

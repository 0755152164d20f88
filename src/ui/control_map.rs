//! The controls on screen and their places, as a file: how a test that drives the real window with a
//! mouse finds what to press.
//!
//! With `DPOP_STUDIO_UI_MAP=FILE` in the environment, `FILE` holds what a screen reader would be told:
//! `{"controls":[{"role":"Button","label":"Start","value":null,"enabled":true,"rect":[x0,y0,x1,y1]}, ..]}`, in
//! physical pixels of the window, rewritten when it changes. Without the variable nothing is installed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use eframe::egui::accesskit::Node;
use eframe::egui::{Context, FullOutput, Plugin};
use serde_json::{Value, json};

/// Environment variable that names the file.
pub const VARIABLE: &str = "DPOP_STUDIO_UI_MAP";

/// Shortest time between two writes.
const INTERVAL: Duration = Duration::from_millis(200);

/// Writes the control map of `ctx` when the environment asks for it.
pub fn install(ctx: &Context) {
    if let Some(path) = std::env::var_os(VARIABLE) {
        ctx.add_plugin(ControlMap { path: path.into(), written: None });
    }
}

struct ControlMap {
    path: PathBuf,
    /// When the file was last written, and with what.
    written: Option<(Instant, String)>,
}

impl Plugin for ControlMap {
    fn debug_name(&self) -> &'static str {
        "control map"
    }

    fn output_hook(&mut self, ctx: &Context, output: &mut FullOutput) {
        // The platform adapter turns the tree off where no screen reader listens.
        ctx.enable_accesskit();
        if self.written.as_ref().is_some_and(|(at, _)| at.elapsed() < INTERVAL) {
            // A window at rest would keep the older map.
            ctx.request_repaint_after(INTERVAL);
            return;
        }
        let Some(text) = describe(ctx, output) else {
            ctx.request_repaint();
            return;
        };
        if self.written.as_ref().is_some_and(|(_, last)| *last == text) {
            return;
        }
        // Renamed into place, so that a reader never sees half a file.
        let draft = self.path.with_extension("tmp");
        let wrote =
            std::fs::write(&draft, &text).and_then(|()| std::fs::rename(&draft, &self.path));
        if let Err(error) = wrote {
            eprintln!("{VARIABLE}: cannot write {}: {error}", self.path.display());
        }
        self.written = Some((Instant::now(), text));
    }
}

/// The labelled nodes of the accessibility tree; `None` while there is no tree.
fn describe(ctx: &Context, output: &FullOutput) -> Option<String> {
    let update = output.platform_output.accesskit_update.as_ref()?;
    let scale = f64::from(ctx.pixels_per_point());
    let nodes: HashMap<_, _> = update.nodes.iter().map(|(id, node)| (*id, node)).collect();
    let own_text = |node: &Node| node.label().or(node.value()).map(str::to_owned);
    let mut controls: Vec<Value> = Vec::new();
    for (_, node) in &update.nodes {
        // A field is named by the label in front of it.
        let named_by = node.labelled_by().first().and_then(|id| nodes.get(id));
        let label = named_by.and_then(|label| own_text(label)).or_else(|| own_text(node));
        let (Some(label), Some(rect)) = (label, node.bounds()) else { continue };
        let rect = [rect.x0, rect.y0, rect.x1, rect.y1].map(|v| (v * scale).round());
        controls.push(json!({
            "role": format!("{:?}", node.role()),
            "label": label,
            "value": node.value(),
            "enabled": !node.is_disabled(),
            "rect": rect,
        }));
    }
    // The tree comes out of a hash map; reading order keeps the file the same while the window is.
    controls.sort_by_key(|c| (c["rect"][1].as_f64().map(f64::to_bits), c.to_string()));
    Some(json!({ "controls": controls }).to_string())
}

//! The desktop window. Structure: `app` (drains, draws, acts), `state` (plain data), `views` (draw and push
//! actions), `command` (one table of everything that can be done), `theme` (every colour and size).

pub mod action;
pub mod app;
pub mod backend;
pub mod chart;
pub mod chart_cache;
pub mod command;
mod control_map;
pub mod demo;
mod dialogs;
pub mod drop;
mod errand;
pub mod export;
mod fields;
pub mod foresight;
pub mod form;
mod jobs;
pub mod memory;
pub mod probe;
pub mod raster;
pub mod state;
pub mod summaries;
mod system_fonts;
pub mod theme;
pub mod trainer;
pub mod views;
mod widgets;

use std::path::PathBuf;

use eframe::egui::{IconData, ViewportBuilder};

/// Identifies the program to the desktop: window class, stored settings, `.desktop` file.
const APP_ID: &str = "dpop-studio";

/// Opens the window and returns when it is closed. `paths` are opened as if dropped on it.
pub fn run(paths: Vec<PathBuf>) -> anyhow::Result<()> {
    let folders = backend::Folders::usual().map_err(anyhow::Error::msg)?;
    let mut viewport = ViewportBuilder::default()
        .with_title("DPOP Studio")
        .with_app_id(APP_ID)
        .with_inner_size([1360.0, 860.0])
        .with_min_inner_size([980.0, 640.0])
        .with_drag_and_drop(true);
    if let Some(icon) = icon() {
        viewport = viewport.with_icon(icon);
    }
    let options = eframe::NativeOptions {
        viewport,
        renderer: eframe::Renderer::Wgpu,
        centered: true,
        event_loop_builder: Some(Box::new(prefer_x11)),
        ..Default::default()
    };
    eframe::run_native(
        APP_ID,
        options,
        Box::new(move |cc| {
            control_map::install(&cc.egui_ctx);
            let mut app = app::App::new(&cc.egui_ctx, Box::new(backend::launch), folders, &paths);
            if draws_in_software(cc) {
                app.spare_the_processor();
            }
            Ok(Box::new(app))
        }),
    )
    .map_err(|error| {
        let reason = without_source_lines(&error.to_string());
        anyhow::anyhow!(
            "the window cannot open ({reason}). It needs X11 or XWayland and a Vulkan, Metal or DX12 driver \
             (mesa-vulkan-drivers draws without a GPU); every command also works without a window, see --help."
        )
    })
}

/// An error of the window system without the line of its source code.
fn without_source_lines(error: &str) -> String {
    let told = error.rsplit_once(".rs:").and_then(|(_, rest)| rest.split_once(": "));
    told.map_or(error, |(_, reason)| reason).trim_end_matches('.').to_owned()
}

/// Whether frames are drawn by the processor (llvmpipe, WARP).
fn draws_in_software(cc: &eframe::CreationContext<'_>) -> bool {
    let kind = cc.wgpu_render_state.as_ref().map(|state| state.adapter.get_info().device_type);
    kind == Some(eframe::wgpu::DeviceType::Cpu)
}

/// The program's mark as the desktop shows it.
fn icon() -> Option<IconData> {
    eframe::icon_data::from_png_bytes(include_bytes!("../../assets/icon-256.png")).ok()
}

/// winit has no file drop on Wayland: take XWayland where there is one.
#[cfg(target_os = "linux")]
fn prefer_x11(builder: &mut eframe::EventLoopBuilder<eframe::UserEvent>) {
    use winit::platform::x11::EventLoopBuilderExtX11;
    if std::env::var_os("DISPLAY").is_some() {
        builder.with_x11();
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_x11(_: &mut eframe::EventLoopBuilder<eframe::UserEvent>) {}

#[cfg(test)]
mod tests {
    use super::without_source_lines;

    #[test]
    fn an_error_is_told_without_the_place_in_somebodys_source() {
        let long = "winit EventLoopError: os error at /somewhere/winit-0.30/src/x11/mod.rs:765: no DISPLAY is set.";
        assert_eq!(without_source_lines(long), "no DISPLAY is set");
        assert_eq!(without_source_lines("no adapter"), "no adapter");
    }
}

//! The main job in a real window: drop a preference file, press Start, watch the chart move, find the adapter.
#![cfg(all(target_os = "linux", feature = "window"))]

mod app;
mod display;
mod drag;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use app::App;
use display::{Area, Display, Point, Result};
use drag::Drag;
use serde_json::Value;

/// Rows of the dropped file: enough to train on, few enough to read at once.
const ROWS: usize = 96;

#[test]
fn a_dropped_file_is_trained_on_in_the_real_window() {
    let display = match Display::start(1400, 900) {
        Ok(Some(display)) => display,
        Ok(None) => {
            eprintln!(
                "SKIPPED: Xvfb is not installed, the window was not opened (./dev setup test installs it)"
            );
            return;
        }
        Err(error) => panic!("no display: {error}"),
    };
    if let Err(error) = drop_train_and_look(&display) {
        panic!("{error}");
    }
}

fn drop_train_and_look(display: &Display) -> Result<()> {
    let home = tempfile::tempdir()?;
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
    let data = write_pairs(home.path())?;
    let mut app = App::start(display, home.path(), &shots)?;

    // The demo is chosen from the start: Start can be pressed at once.
    app.wait("Start is enabled", Duration::from_secs(30), |app| {
        Ok(app.find_button("Start").is_some())
    })?;
    app.press_button("Skip the tour")?;
    app.wait("the tour is over", Duration::from_secs(5), |app| Ok(!app.shows("Skip the tour")))?;
    app.rest_pointer()?;
    let empty = app.shot_at_rest("1-opened")?;

    // The whole window answers while the file hangs over it, and takes the file.
    let mut drag = Drag::start(
        display,
        &[&data],
        Point { x: app.window_area.x1 - 140, y: app.window_area.y1 - 70 },
    )?;
    drag.carry(app.window_area.centre())?;
    let hovering = app.shot_at_rest("2-hovering")?;
    let highlighted = hovering.changed_pixels(&empty, app.window_area);
    assert!(
        highlighted > 2000,
        "the window did not react to the hovering file: {highlighted} pixels changed"
    );
    drag.drop_files()?;
    let pairs = format!("{ROWS} pairs");
    app.wait("the Data card shows the file and its pairs", Duration::from_secs(20), |app| {
        Ok(app.shows("zażółć pairs.jsonl") && app.shows(&pairs))
    })?;
    app.shot_at_rest("3-dropped")?;

    app.fill_field("Steps", "40")?;
    app.press_button("Start")?;
    app.rest_pointer()?;

    // Events arrive and the chart moves with them.
    app.wait("the run folder receives steps", Duration::from_secs(60), |app| Ok(steps(app)? >= 4))?;
    let chart = chart_area(&app)?;
    let (_, early) = app.shot("4-early")?;
    // Training may outrun the drawing: frames are made seldom where the processor draws.
    app.wait("the chart moves", Duration::from_secs(60), |app| {
        Ok(app.shot("5-later")?.1.changed_pixels(&early, chart) > 200)
    })?;
    let (_, later) = app.shot("5-later")?;
    assert!(later.colours(chart, 8) >= 8, "the chart area is blank");

    app.wait("the run finishes", Duration::from_secs(90), |app| has_event(app, "finished"))?;
    let run = run_folder(&app)?.ok_or("the run folder went away")?;
    for file in ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"] {
        assert!(run.join(file).is_file(), "{file} is missing in the finished run folder");
    }
    assert_eq!(steps(&app)?, 40, "events.jsonl holds every step");
    app.wait("the window says that it is done", Duration::from_secs(10), |app| {
        Ok(app.shows("inished"))
    })?;
    app.shot_at_rest("6-finished")?;
    assert_eq!(app.close()?, Some(0), "the program's exit code after its window was closed");
    Ok(())
}

/// The first rows of the demo pairs, under a name with a space and letters beyond ASCII.
fn write_pairs(folder: &Path) -> Result<PathBuf> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/pairs_train.jsonl");
    let text: String =
        fs::read_to_string(demo)?.lines().take(ROWS).map(|line| format!("{line}\n")).collect();
    let path = folder.join("zażółć pairs.jsonl");
    fs::write(&path, text)?;
    Ok(path)
}

/// Below the title of the main chart, to the right edge of the window.
fn chart_area(app: &App) -> Result<Area> {
    const HEIGHT: i16 = 240;
    let title = app
        .find(|c| c.label == "Log-likelihood on held-out pairs")
        .ok_or("no chart on the screen")?
        .area;
    Ok(Area { x0: title.x0, y0: title.y1, x1: app.window_area.x1 - 24, y1: title.y1 + HEIGHT })
}

fn run_folder(app: &App) -> Result<Option<PathBuf>> {
    let Ok(mut entries) = fs::read_dir(&app.runs) else { return Ok(None) };
    Ok(entries.next().transpose()?.map(|entry| entry.path()))
}

fn events(app: &App) -> Result<Vec<Value>> {
    let Some(run) = run_folder(app)? else { return Ok(Vec::new()) };
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    // A last line that is still being written does not parse: it counts at the next look.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn has_event(app: &App, name: &str) -> Result<bool> {
    Ok(events(app)?.iter().any(|event| event["event"] == name))
}

fn steps(app: &App) -> Result<usize> {
    Ok(events(app)?.iter().filter(|event| event["event"] == "step").count())
}

//! What a frame of the charts costs in a very long run, and how long a long run takes to open.
//!
//! `cargo bench --profile dev --bench chart` prints medians in milliseconds: ten series of 1,000,000 steps at rest,
//! while they grow, and while the stretch in sight moves (layout, reduction and tessellation; the GPU is not
//! asked); then the reading of a log of 100,000 steps.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use dpop_studio::report::charts::{Chart, Curve, Unit};
use dpop_studio::report::palette::Ink;
use dpop_studio::report::ruler::Axis;
use dpop_studio::report::run_view::RunView;
use dpop_studio::report::series::{Key, Source};
use dpop_studio::report::trace::Trace;
use dpop_studio::report::{Skip, read};
use dpop_studio::ui::backend::open_run;
use dpop_studio::ui::chart::{Place, chart_ui, whole};
use dpop_studio::ui::chart_cache::ChartCache;
use dpop_studio::ui::theme;
use eframe::egui;

const STEPS: usize = 1_000_000;
const SERIES: usize = 10;
const FRAMES: usize = 60;
const OPENED_STEPS: usize = 100_000;

fn main() -> anyhow::Result<()> {
    let mut run = RunView::default();
    run.steps = STEPS;
    for step in 1..=STEPS {
        grow(&mut run, step);
    }
    let chart = chart();
    let ctx = egui::Context::default();
    theme::install(&ctx);
    let mut cache = ChartCache::default();
    let mut shown = 0;
    for axis in [Axis::Step, Axis::Time] {
        cache.reset();
        let mut frame = |cache: &mut ChartCache, run: &RunView| {
            let begun = Instant::now();
            shown = one_frame(&ctx, cache, &chart, run, axis);
            begun.elapsed().as_secs_f64() * 1e3
        };
        frame(&mut cache, &run);
        let rest = median((0..FRAMES).map(|_| frame(&mut cache, &run)));
        let all = whole(&[&run], axis);
        cache.zoom(2.0, None, all);
        let moving = median((0..FRAMES).map(|_| {
            cache.shift_by_part(0.01, all);
            frame(&mut cache, &run)
        }));
        cache.reset();
        let from = run.clock.len();
        let growing = median((1..=FRAMES).map(|step| {
            grow(&mut run, from + step);
            frame(&mut cache, &run)
        }));
        println!(
            "{SERIES} series of {STEPS} steps, {:5} axis: at rest {rest:.2} ms, moving {moving:.2} ms, growing {growing:.2} ms a frame",
            axis.label()
        );
    }
    println!("points given to the plot: {shown}");
    let folder = std::env::temp_dir().join("dpop-studio-chart-bench");
    let bytes = write_log(&folder)?;
    let seconds = median((0..5).map(|_| {
        let begun = Instant::now();
        let view = read(&folder, Skip::Nothing).map(|view| view.clock.len());
        assert_eq!(view.ok(), Some(OPENED_STEPS));
        begun.elapsed().as_secs_f64()
    }));
    let opened = median((0..5).map(|_| {
        let begun = Instant::now();
        let opened = open_run(&folder).map(|opened| opened.notes.len());
        assert!(opened.is_ok_and(|notes| notes > 0));
        begun.elapsed().as_secs_f64()
    }));
    let final_figures = median((0..5).map(|_| {
        let begun = Instant::now();
        drop(read(&folder, Skip::Steps));
        begun.elapsed().as_secs_f64()
    }));
    println!(
        "a log of {OPENED_STEPS} steps ({} MB): read in {seconds:.2} s, opened in the window in {opened:.2} s, its final figures in {final_figures:.2} s",
        bytes / 1_000_000
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn grow(run: &mut RunView, step: usize) {
    for number in 0..SERIES {
        let wave = (step as f64 * 0.37 + number as f64).sin();
        let value = number as f64 + wave * (1.0 + (step as f64 * 1e-5).cos());
        run.store.push(Source::Step, &format!("arm{number}"), "loss", step, value);
    }
    run.clock.push(step, step as f64 * 0.1);
    run.step = step;
}

fn chart() -> Chart {
    let curve = |number: usize| Curve {
        label: format!("arm{number}"),
        trace: Trace { ink: Ink::Number(number), dashed: number % 2 == 1, kept: number == 0 },
        run: 0,
        key: Key { source: Source::Step, arm: format!("arm{number}"), metric: "loss".into() },
        smooth: None,
        band: None,
    };
    Chart {
        id: "loss",
        title: "Loss",
        help: "",
        unit: Unit::Plain,
        measure: "",
        curves: (0..SERIES).map(curve).collect(),
        reference: None,
        shade: false,
        include: vec![0.0],
        ceiling: None,
        marks: Vec::new(),
    }
}

/// Draws into shapes and triangles; answers how many points the plot was given.
fn one_frame(
    ctx: &egui::Context,
    cache: &mut ChartCache,
    chart: &Chart,
    run: &RunView,
    axis: Axis,
) -> usize {
    let screen = egui::Rect::from_min_size(egui::Pos2::ZERO, egui::vec2(1360.0, 860.0));
    let input = egui::RawInput { screen_rect: Some(screen), ..Default::default() };
    let output = ctx.run_ui(input, |ui| {
        let runs = [run];
        let place = Place {
            runs: &runs,
            axis,
            height: 400.0,
            name_marks: false,
            x_labels: true,
            hover: None,
        };
        chart_ui(ui, cache, chart, &place);
    });
    let triangles = ctx.tessellate(output.shapes, output.pixels_per_point);
    assert!(!triangles.is_empty());
    let kind = dpop_studio::ui::chart_cache::Kind::Raw;
    chart.curves.iter().map(|curve| cache.line(curve, kind).len()).sum()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A log as a run of two arms with the usual settings writes it: a probe of 32 pairs and two forecasts every ten steps.
fn write_log(folder: &Path) -> anyhow::Result<usize> {
    let recorded = include_str!("../tests/fixtures/recorded_run/events.jsonl");
    let find = |begin: &str| {
        let line = recorded.lines().rev().find(|line| line.starts_with(begin));
        line.ok_or_else(|| anyhow::anyhow!("the recorded run has no line {begin}"))
    };
    // The last probe alone has all of its pairs.
    let lines = [
        find(r#"{"event":"step","step":200,"#)?,
        find(r#"{"event":"probe","step":200,"#)?,
        find(r#"{"event":"forecast","step":200,"arm":"dpop""#)?,
        find(r#"{"event":"forecast","step":200,"arm":"dpo""#)?,
    ];
    let (before, rest) = lines[0].split_once(r#""elapsed":"#).unwrap_or((lines[0], ""));
    let after = rest.split_once(',').map_or("", |(_, after)| after);
    let started = recorded.lines().next().unwrap_or_default();
    let mut text = format!("{started}\n");
    for step in 1..=OPENED_STEPS {
        let own = format!(r#""step":{step},"#);
        let before = before.replacen(r#""step":200,"#, &own, 1);
        writeln!(text, r#"{before}"elapsed":{step}.25,{after}"#)?;
        let probed = if step.is_multiple_of(10) { &lines[1..] } else { &[] };
        for line in probed {
            writeln!(text, "{}", line.replacen(r#""step":200,"#, &own, 1))?;
        }
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("events.jsonl"), &text)?;
    Ok(text.len())
}

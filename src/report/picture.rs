//! Charts as a scene: the same lines as in the window, for files.

use super::charts::{Chart, Curve, band_shows, y_range};
use super::flags::{FlagRows, rows_for};
use super::format;
use super::palette::Palette;
use super::reduce::{self, Sight};
use super::ruler::Axis;
use super::run_view::RunView;
use super::scene::{Anchor, Paint, Scene, Shape, Words};
use super::trace::Trace;

/// How charts are drawn into a file.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    pub palette: &'a Palette,
    pub axis: Axis,
    pub width: f64,
    /// Height of each chart's frame.
    pub height: f64,
    /// Write the marks' texts and, under the title, their sentences.
    pub name_marks: bool,
}

/// Room for the labels of the y axis, and right of the frame.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const MARGIN: f64 = 14.0;
const FLAG_HEIGHT: f64 = 24.0;

/// Draws `charts` one below the other on one x axis, under `title` if it is not empty.
pub fn picture(runs: &[&RunView], charts: &[Chart], title: &str, style: &Style<'_>) -> Scene {
    let palette = style.palette;
    let mut scene = Scene { width: style.width, ..Scene::default() };
    let mut y = MARGIN;
    if !title.is_empty() {
        let at = (MARGIN, y + 14.0);
        scene.text(at, Anchor::Start, &Words::bold(title, 15.0), Paint::solid(palette.text));
        y += 24.0;
    }
    let first = charts.first().filter(|_| style.name_marks);
    for mark in first.map(|chart| chart.marks.as_slice()).unwrap_or_default() {
        for line in wrapped(&mark.sentence, style.width - 2.0 * MARGIN, 12.0) {
            let at = (MARGIN, y + 12.0);
            scene.text(at, Anchor::Start, &Words::plain(&line, 12.0), Paint::solid(palette.danger));
            y += 17.0;
        }
        y += 6.0;
    }
    for (number, chart) in charts.iter().enumerate() {
        let last = number + 1 == charts.len();
        y = draw_chart(&mut scene, runs, chart, style, y, (number == 0, last));
    }
    scene.height = y + MARGIN - 6.0;
    let ground = Shape::Rect {
        min: (0.0, 0.0),
        size: (scene.width, scene.height),
        radius: 0.0,
        paint: Paint::solid(palette.card),
    };
    scene.shapes.insert(0, ground);
    scene
}

/// The frame of one chart and what lies within.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x_of(x), self.y_of(y))
    }

    fn x_of(&self, x: f64) -> f64 {
        self.left + self.width * (x - self.x.0) / (self.x.1 - self.x.0)
    }

    /// Kept within the frame: bands may be wider than it.
    fn y_of(&self, y: f64) -> f64 {
        let share = (self.y.1 - y) / (self.y.1 - self.y.0);
        self.top + self.height * share.clamp(0.0, 1.0)
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

/// What of a curve is drawn.
struct Drawn<'a> {
    curve: &'a Curve,
    raw: Vec<(f64, f64)>,
    main: Vec<(f64, f64)>,
    band: Vec<reduce::BandPoint>,
}

fn draw_chart(
    scene: &mut Scene,
    runs: &[&RunView],
    chart: &Chart,
    style: &Style<'_>,
    top: f64,
    (first, last): (bool, bool),
) -> f64 {
    let palette = style.palette;
    let header = header(scene, runs, chart, style, top);
    let width = style.width - LEFT - RIGHT;
    let end = |run: &&RunView| run.ruler(style.axis).x(run.steps.max(run.step).max(1) as f64);
    let end = runs.iter().map(end).fold(1e-6, f64::max);
    let x = (-0.012 * end, 1.012 * end);
    let drawn = reduced(runs, chart, style.axis, x, width as usize);
    let named = style.name_marks && first;
    let flags = if named { rows_for(chart.marks.len()) as f64 * FLAG_HEIGHT + 6.0 } else { 0.0 };
    let lines = drawn.iter().flat_map(|d| d.main.iter().chain(&d.raw)).map(|p| p.1);
    let bands: Vec<&[reduce::BandPoint]> = drawn.iter().map(|d| d.band.as_slice()).collect();
    let y = y_range(chart, lines, &bands, (flags / style.height).max(0.08));
    let frame = Frame { left: LEFT, top: top + header, width, height: style.height, x, y };
    for curve in drawn.iter().rev() {
        draw_band(scene, &frame, curve, palette);
    }
    grid(scene, chart, &frame, palette);
    if let Some(level) = chart.reference {
        reference(scene, chart, &frame, level, palette);
    }
    for curve in drawn.iter().rev() {
        draw_curve(scene, &frame, curve, palette);
    }
    let mut rows = FlagRows::default();
    for mark in &chart.marks {
        let Some(run) = runs.get(mark.run) else { continue };
        let x = frame.x_of(run.ruler(style.axis).x(mark.step));
        let line = vec![(x, frame.top), (x, frame.bottom())];
        scene.dashed(line, Paint::faint(palette.danger, 0.8), 1.2, [4.0, 3.0]);
        if named {
            flag(scene, &frame, x, &mut rows, &mark.text, palette);
        }
    }
    if last { x_labels(scene, &frame, style) } else { frame.bottom() + 12.0 }
}

fn reduced<'a>(
    runs: &[&RunView],
    chart: &'a Chart,
    axis: Axis,
    x: (f64, f64),
    pixels: usize,
) -> Vec<Drawn<'a>> {
    let drawn = |curve: &'a Curve| {
        let run = runs.get(curve.run)?;
        let series = run.store.series(&curve.key)?;
        let sight = Sight::new(run.ruler(axis), x, pixels);
        let raw = reduce::extremes(series, &sight);
        let band = curve.band.as_ref().and_then(|[low, high]| {
            Some(reduce::band(run.store.series(low)?, run.store.series(high)?, &sight))
        });
        let band = band.unwrap_or_default();
        Some(match curve.smooth {
            Some(window) => {
                Drawn { curve, raw, main: reduce::smoothed(series, &sight, window), band }
            }
            None => Drawn { curve, raw: Vec::new(), main: raw, band },
        })
    };
    chart.curves.iter().filter_map(drawn).collect()
}

/// Room of a line of the header.
const HEADER_LINE: f64 = 18.0;

/// An entry of the legend: the sample of a line and what it is.
struct Entry {
    text: String,
    ink: u32,
    paint: Paint,
    dash: Option<[f64; 2]>,
    width: f64,
}

impl Entry {
    /// With the sample before the words and the gap behind them.
    fn room(&self) -> f64 {
        Words::plain(&self.text, 11.5).width() + 6.0 + 18.0 + 12.0
    }
}

/// Title on the left, line samples with the newest values on the right, below the title where they need more room.
/// Answers how high it is.
fn header(scene: &mut Scene, runs: &[&RunView], chart: &Chart, style: &Style<'_>, top: f64) -> f64 {
    let palette = style.palette;
    let base = top + 14.0;
    let ink = match chart.id {
        "chosen" => palette.chosen,
        "rejected" => palette.rejected,
        _ => palette.text,
    };
    let title = Words::bold(chart.title, 13.0);
    scene.text((MARGIN, base), Anchor::Start, &title, Paint::solid(ink));
    let mut left = MARGIN + title.width() + 10.0;
    if !chart.measure.is_empty() {
        let measure = Words::plain(chart.measure, 11.0);
        scene.text((left, base), Anchor::Start, &measure, Paint::solid(palette.faint));
        left += measure.width() + 10.0;
    }
    let entries = legend(runs, chart, palette);
    let needed: f64 = entries.iter().map(Entry::room).sum();
    let right = style.width - RIGHT;
    let own_lines = left + needed > right;
    let (mut x, mut y) =
        if own_lines { (MARGIN, base + HEADER_LINE) } else { (right - needed + 12.0, base) };
    let mut bottom = base;
    for entry in &entries {
        if own_lines && x > MARGIN && x + entry.room() > right {
            (x, y) = (MARGIN, y + HEADER_LINE);
        }
        let line = vec![(x, y - 4.0), (x + 18.0, y - 4.0)];
        match entry.dash {
            Some(dash) => scene.dashed(line, entry.paint, entry.width, dash),
            None => scene.line(line, entry.paint, entry.width),
        }
        let words = Words::plain(&entry.text, 11.5);
        scene.text((x + 24.0, y), Anchor::Start, &words, Paint::solid(entry.ink));
        x += entry.room();
        bottom = y;
    }
    bottom - top + 10.0
}

fn legend(runs: &[&RunView], chart: &Chart, palette: &Palette) -> Vec<Entry> {
    let entry = |curve: &Curve| {
        let (_, value) = curve.series(runs)?.last()?;
        Some(Entry {
            text: format!("{} {}", curve.label, chart.unit.value(value)),
            ink: palette.text,
            paint: Paint::solid(palette.ink(curve.trace.ink)),
            dash: curve.trace.dashed.then_some([5.0, 3.0]),
            width: if curve.trace.kept { 2.6 } else { 2.0 },
        })
    };
    let reference = chart.reference.map(|level| Entry {
        text: format!("reference {}", chart.unit.value(level)),
        ink: palette.muted,
        paint: Paint::solid(palette.reference),
        dash: Some([2.0, 3.0]),
        width: 1.4,
    });
    chart.curves.iter().filter_map(entry).chain(reference).collect()
}

fn grid(scene: &mut Scene, chart: &Chart, frame: &Frame, palette: &Palette) {
    let (low, high) = frame.y;
    let step = format::round_step((high - low) / frame.height * 30.0);
    if step <= 0.0 || (high - low) / step > 200.0 {
        return;
    }
    for k in (low / step).ceil() as i64..=(high / step).floor() as i64 {
        let value = k as f64 * step;
        if chart.ceiling.is_some_and(|top| value > top) {
            continue;
        }
        let y = frame.y_of(value);
        let line = vec![(frame.left, y), (frame.left + frame.width, y)];
        scene.line(line, Paint::solid(palette.grid), 1.0);
        let label = chart.unit.tick(value, step);
        let at = (frame.left - 8.0, y + 3.8);
        scene.text(at, Anchor::End, &Words::plain(&label, 11.0), Paint::solid(palette.faint));
    }
}

fn reference(scene: &mut Scene, chart: &Chart, frame: &Frame, level: f64, palette: &Palette) {
    let y = frame.y_of(level);
    if chart.shade {
        let (min, size) = ((frame.left, y), (frame.width, frame.bottom() - y));
        let paint = Paint::faint(palette.danger, 0.07);
        scene.shapes.push(Shape::Rect { min, size, radius: 0.0, paint });
    }
    let line = vec![(frame.left, y), (frame.left + frame.width, y)];
    scene.dashed(line, Paint::solid(palette.reference), 1.3, [2.0, 3.0]);
}

fn draw_band(scene: &mut Scene, frame: &Frame, drawn: &Drawn<'_>, palette: &Palette) {
    if !band_shows(&drawn.band, frame.y) {
        return;
    }
    let upper = drawn.band.iter().map(|p| frame.at((p.0, p.2)));
    let lower = drawn.band.iter().rev().map(|p| frame.at((p.0, p.1)));
    let alpha = if drawn.curve.trace.kept { 0.13 } else { 0.07 };
    let paint = Paint::faint(palette.ink(drawn.curve.trace.ink), alpha);
    scene.shapes.push(Shape::Area { points: upper.chain(lower).collect(), paint });
}

fn draw_curve(scene: &mut Scene, frame: &Frame, drawn: &Drawn<'_>, palette: &Palette) {
    let Trace { ink, dashed, kept } = drawn.curve.trace;
    let rgb = palette.ink(ink);
    let placed = |points: &[(f64, f64)]| points.iter().map(|p| frame.at(*p)).collect::<Vec<_>>();
    if !drawn.raw.is_empty() {
        scene.line(placed(&drawn.raw), Paint::faint(rgb, 0.28), 1.0);
    }
    let main = placed(&drawn.main);
    let width = if kept { 2.4 } else { 1.8 };
    if dashed {
        scene.dashed(main, Paint::solid(rgb), width, [7.0, 4.5]);
    } else {
        scene.line(main, Paint::solid(rgb), width);
    }
    if let (Some(end), None) = (drawn.main.last(), drawn.curve.smooth) {
        let paint = Paint::solid(rgb);
        scene.shapes.push(Shape::Dot { at: frame.at(*end), radius: 3.2, paint });
    }
}

fn flag(
    scene: &mut Scene,
    frame: &Frame,
    x: f64,
    rows: &mut FlagRows,
    text: &str,
    palette: &Palette,
) {
    let words = Words::bold(text, 11.5);
    let size = (words.width() + 14.0, 20.0);
    let fits = x + size.0 <= frame.left + frame.width;
    let left = if fits { x } else { x - size.0 };
    let Some(row) = rows.place(left, left + size.0) else { return };
    let y = frame.top + 2.0 + row as f64 * FLAG_HEIGHT;
    let paint = Paint::solid(palette.danger);
    scene.shapes.push(Shape::Rect { min: (left, y), size, radius: 4.0, paint });
    let at = (left + size.0 / 2.0, y + 14.0);
    scene.text(at, Anchor::Middle, &words, Paint::solid(palette.card));
}

/// The x axis' labels; answers where the next thing may stand.
fn x_labels(scene: &mut Scene, frame: &Frame, style: &Style<'_>) -> f64 {
    let palette = style.palette;
    let (lo, hi) = frame.x;
    let least = (hi - lo) / frame.width * 64.0;
    let base = frame.bottom() + 16.0;
    let bottom = vec![(frame.left, frame.bottom()), (frame.left + frame.width, frame.bottom())];
    scene.line(bottom, Paint::solid(palette.grid), 1.0);
    for (x, label) in style.axis.ticks(lo, hi, least) {
        let at = (frame.x_of(x), base);
        scene.text(at, Anchor::Middle, &Words::plain(&label, 11.0), Paint::solid(palette.faint));
    }
    let name = style.axis.label().to_lowercase();
    scene.text(
        (MARGIN, base),
        Anchor::Start,
        &Words::plain(&name, 11.0),
        Paint::solid(palette.faint),
    );
    base + 8.0
}

/// A sentence cut into lines of about this width.
fn wrapped(text: &str, width: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if Words::plain(&format!("{line} {word}"), size).width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

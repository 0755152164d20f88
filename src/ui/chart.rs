//! One chart: egui_plot does the axes, lines and zoom; reference, shade, marks, cursor and readings are
//! painted here. All charts of a run share the x axis, the cursor and the left margin.

use std::ops::RangeInclusive;

use eframe::egui::{
    self, Align2, Color32, Id, Pos2, Rangef, Rect, Shape, Stroke, Ui, epaint::Mesh, pos2, vec2,
};
use egui_plot::{
    AxisHints, GridInput, GridMark, Line, LineStyle, Plot, PlotBounds, PlotGeometry, PlotItem,
    PlotItemBase, PlotPoint, PlotPoints, PlotTransform,
};

use super::format;
use super::series::{Key, ReducedCache, Store};
use super::theme::{self, Tokens, TokensExt};

/// How values of a chart are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nats, losses, norms.
    Plain,
    /// Shares in 0..1, written in per cent.
    Share,
    /// Learning rates.
    Scientific,
}

impl Unit {
    pub fn value(self, v: f64) -> String {
        match self {
            Unit::Plain => format::number(v),
            Unit::Share => format::percent(v),
            Unit::Scientific => format::scientific(v),
        }
    }

    fn tick(self, v: f64, step: f64) -> String {
        match self {
            Unit::Plain => format::tick(v, step),
            Unit::Share => format!("{}%", format::tick(v * 100.0, step * 100.0)),
            Unit::Scientific => format::scientific(v),
        }
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Curve {
    pub label: String,
    pub color: Color32,
    pub dashed: bool,
    pub key: Key,
    /// Draw the moving average, with the raw values faint behind it.
    pub smooth: bool,
}

/// A vertical mark where something happened.
#[derive(Clone, Debug)]
pub struct Mark {
    pub step: f64,
    pub text: String,
}

/// What one chart shows.
pub struct ChartSpec<'a> {
    pub id: &'a str,
    pub height: f32,
    pub unit: Unit,
    pub curves: &'a [Curve],
    /// Level of the reference model.
    pub reference: Option<f64>,
    /// Tint the region below the reference.
    pub shade: bool,
    /// Values the y axis always holds.
    pub include: &'a [f64],
    /// No value lies above; the axis names none there.
    pub ceiling: Option<f64>,
    pub marks: &'a [Mark],
    /// Write the marks' texts.
    pub name_marks: bool,
    pub x_labels: bool,
    /// Last step of the run.
    pub last_step: f64,
}

/// Cached reductions and the x range all charts of one run share.
#[derive(Debug)]
pub struct ChartCache {
    /// Charts of one name are linked.
    group: &'static str,
    pub reduced: ReducedCache,
    range: Option<(f64, f64)>,
    /// Show the whole run again at the next frame.
    pub reset: bool,
    drawn: bool,
}

impl ChartCache {
    pub fn named(group: &'static str) -> Self {
        Self { group, reduced: ReducedCache::default(), range: None, reset: false, drawn: false }
    }

    /// Brings the lines of one chart up to date for the visible steps.
    fn reduce(&mut self, store: &Store, curves: &[Curve], range: (f64, f64), width: f32) {
        for curve in curves {
            self.reduced.update(store, &curve.key, curve.smooth, range, width);
            if curve.smooth {
                self.reduced.update(store, &curve.key, false, range, width);
            }
        }
    }

    /// A reset is done once all charts were drawn with it.
    pub fn after_frame(&mut self) {
        if self.drawn {
            self.reset = false;
        }
        self.drawn = false;
    }
}

/// What the pointer did in a chart.
pub struct ChartResponse {
    /// Step under the pointer.
    pub hovered: Option<f64>,
    pub pointer: Option<Pos2>,
}

/// Width kept for the labels of the y axis, equal in all charts so that their x axes line up.
const AXIS_WIDTH: f32 = 54.0;

/// Height of a mark's flag with its distance to the next.
const FLAG_HEIGHT: f64 = 27.0;

/// Draws the chart. `hover` is the step all charts mark.
pub fn chart_ui(
    ui: &mut Ui,
    store: &Store,
    cache: &mut ChartCache,
    spec: &ChartSpec<'_>,
    hover: Option<f64>,
) -> ChartResponse {
    let range = cache.range.unwrap_or((0.0, spec.last_step.max(1.0)));
    let width = ui.available_width();
    cache.reduce(store, spec.curves, range, width);
    let t = ui.tokens();
    cache.drawn = true;
    let plot = plot(spec, t, cache.group, cache.reset);
    let (low, high) = y_range(spec, &cache.reduced);
    let reduced = &cache.reduced;
    let response = plot.show(ui, |plot_ui| {
        plot_ui.set_plot_bounds_y(low..=high);
        if let Some(level) = spec.reference {
            plot_ui.add(Level::new(level, spec.shade, t));
        }
        for curve in spec.curves {
            if curve.smooth {
                let raw = PlotPoints::Borrowed(reduced.points(&curve.key, false));
                let name = format!("{} raw", curve.label);
                plot_ui.line(
                    Line::new(name, raw)
                        .color(curve.color.gamma_multiply(0.28))
                        .width(1.0)
                        .allow_band(false)
                        .allow_hover(false),
                );
            }
        }
        // The kept arm is drawn last, over its twin.
        for curve in spec.curves.iter().rev() {
            let points = PlotPoints::Borrowed(reduced.points(&curve.key, curve.smooth));
            let style =
                if curve.dashed { LineStyle::Dashed { length: 7.0 } } else { LineStyle::Solid };
            plot_ui.line(
                Line::new(curve.label.clone(), points)
                    .color(curve.color)
                    .width(if curve.dashed { 1.8 } else { 2.4 })
                    .style(style)
                    .allow_band(false)
                    .allow_hover(false),
            );
        }
    });
    let transform = response.transform;
    let [lo, hi] = [transform.bounds().min()[0], transform.bounds().max()[0]];
    cache.range = Some((lo, hi));
    overlay(ui, store, spec, &transform, hover, t);
    let pointer = response.response.hover_pos();
    let hovered = pointer.map(|p| transform.value_from_position(p).x);
    ChartResponse { hovered, pointer }
}

fn plot<'a>(spec: &ChartSpec<'_>, t: &'static Tokens, group: &str, reset: bool) -> Plot<'a> {
    let unit = spec.unit;
    let (x_labels, ceiling) = (spec.x_labels, spec.ceiling);
    let y_axis = AxisHints::new_y()
        .min_thickness(AXIS_WIDTH)
        .tick_label_color(t.text_faint)
        .tick_label_font(theme::regular(11.0))
        .label_spacing(Rangef::new(14.0, 15.0))
        .formatter(move |mark: GridMark, _: &RangeInclusive<f64>| {
            unit.tick(mark.value, mark.step_size)
        });
    let x_axis = AxisHints::new_x()
        .min_thickness(if x_labels { 16.0 } else { 2.0 })
        .tick_label_color(t.text_faint)
        .tick_label_font(theme::regular(11.0))
        .label_spacing(Rangef::new(30.0, 31.0))
        .formatter(move |mark: GridMark, _: &RangeInclusive<f64>| {
            if x_labels && mark.value >= 0.0 { format!("{:.0}", mark.value) } else { String::new() }
        });
    let plot = Plot::new(spec.id)
        .height(spec.height)
        .show_background(false)
        .show_x(false)
        .show_y(false)
        .show_crosshair(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_axis_zoom_drag(false)
        .allow_drag([true, false])
        .allow_zoom([true, false])
        .link_axis(Id::unique(group), [true, false])
        .include_x(0.0)
        .include_x(spec.last_step.max(1.0))
        .set_margin_fraction(vec2(0.012, 0.09))
        .show_grid([false, true])
        .grid_color(t.grid)
        .grid_fade(0.0)
        .grid_spacing(Rangef::new(1.0, 2.0))
        .x_grid_spacer(|input| marks_at(input, 64.0, 1.0))
        .y_grid_spacer(move |input| {
            let mut marks = marks_at(input, 28.0, 0.0);
            marks.retain(|mark| ceiling.is_none_or(|top| mark.value <= top));
            marks
        })
        .custom_x_axes(vec![x_axis])
        .custom_y_axes(vec![y_axis]);
    if reset { plot.reset() } else { plot }
}

/// The range of the y axis: all that is drawn, what is always held, and room for the marks' flags.
fn y_range(spec: &ChartSpec<'_>, reduced: &ReducedCache) -> (f64, f64) {
    let drawn = spec.curves.iter().flat_map(|curve| {
        let raw: &[PlotPoint] = if curve.smooth { reduced.points(&curve.key, false) } else { &[] };
        reduced.points(&curve.key, curve.smooth).iter().chain(raw).map(|point| point.y)
    });
    let held = spec.include.iter().chain(spec.reference.iter()).copied();
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for y in drawn.chain(held) {
        low = low.min(y);
        high = high.max(y);
    }
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    if high - low < 1e-12 {
        let room = if high == 0.0 { 1.0 } else { high.abs() * 0.5 };
        (low, high) = (low - room, high + room);
    }
    let span = high - low;
    let flags = if spec.name_marks { spec.marks.len() as f64 * FLAG_HEIGHT } else { 0.0 };
    let height = f64::from(spec.height);
    let above = if flags > 0.0 {
        span * (flags + 8.0) / (height - flags - 8.0).max(40.0)
    } else {
        span * 0.09
    };
    (low - span * 0.08, high + above)
}

/// Marks at a round step of about `spacing` points, never finer than `least`.
fn marks_at(input: GridInput, spacing: f64, least: f64) -> Vec<GridMark> {
    let (lo, hi) = input.bounds;
    // `base_step_size` is the width of one point: grid_spacing.min is 1.
    let step = format::round_step(input.base_step_size * spacing).max(least);
    if step.is_nan() || step <= 0.0 || !(hi - lo).is_finite() || (hi - lo) / step > 200.0 {
        return Vec::new();
    }
    let first = (lo / step).ceil() as i64;
    let last = (hi / step).floor() as i64;
    (first..=last).map(|k| GridMark { value: k as f64 * step, step_size: step }).collect()
}

/// Everything over the lines: marks, cursor, readings and end points.
fn overlay(
    ui: &Ui,
    store: &Store,
    spec: &ChartSpec<'_>,
    transform: &PlotTransform,
    hover: Option<f64>,
    t: &Tokens,
) {
    let frame = *transform.frame();
    let painter = ui.painter_at(frame.expand(1.0).intersect(ui.clip_rect()));
    painter.hline(frame.x_range(), frame.bottom(), Stroke::new(1.0, t.grid));
    let x_of = |step: f64| transform.position_from_point_x(step);
    for (index, mark) in spec.marks.iter().enumerate() {
        let x = x_of(mark.step);
        if !frame.x_range().contains(x) {
            continue;
        }
        let line = [pos2(x, frame.top()), pos2(x, frame.bottom())];
        let color = t.danger.gamma_multiply(if spec.name_marks { 0.9 } else { 0.55 });
        painter.extend(Shape::dashed_line(&line, Stroke::new(1.2, color), 4.0, 3.0));
        if spec.name_marks {
            mark_flag(&painter, frame, x, index, &mark.text, t);
        }
    }
    if let Some(step) = hover {
        let x = x_of(step);
        if frame.x_range().contains(x) {
            painter.vline(x, frame.y_range(), Stroke::new(1.0, t.text_faint.gamma_multiply(0.8)));
        }
    }
    for curve in spec.curves.iter().rev() {
        let Some(series) = store.get(curve.key.source, &curve.key.arm, &curve.key.metric) else {
            continue;
        };
        let point = match hover {
            Some(step) => series.nearest(step),
            None if curve.smooth => None,
            None => series.last(),
        };
        if let Some((x, y)) = point {
            let at = pos2(x_of(x), transform.position_from_point_y(y));
            if frame.expand(4.0).contains(at) {
                painter.circle(at, 3.6, curve.color, Stroke::new(1.8, t.card));
            }
        }
    }
}

/// The text of a mark, on a flag beside its line, inside the frame.
fn mark_flag(painter: &egui::Painter, frame: Rect, x: f32, index: usize, text: &str, t: &Tokens) {
    let ink = if t.dark { t.window } else { t.on_accent };
    let galley = painter.layout_no_wrap(text.to_owned(), theme::semibold(12.0), ink);
    let size = galley.size() + vec2(16.0, 7.0);
    let y = frame.top() + 3.0 + index as f32 * FLAG_HEIGHT as f32;
    let right = x + size.x + 3.0 <= frame.right();
    let left = if right { x } else { x - size.x };
    let rect = Rect::from_min_size(pos2(left, y), size);
    painter.rect_filled(rect, 4.0, t.danger);
    painter.galley(
        Align2::CENTER_CENTER.anchor_size(rect.center(), galley.size()).min,
        galley,
        ink,
    );
}

/// The reference level: a dotted line, and the tint below it.
struct Level {
    base: PlotItemBase,
    level: f64,
    tint: Option<Color32>,
    line: Color32,
}

impl Level {
    fn new(level: f64, shade: bool, t: &Tokens) -> Self {
        let tint = shade.then(|| t.danger.gamma_multiply(if t.dark { 0.15 } else { 0.11 }));
        Self { base: PlotItemBase::new("reference".into()), level, tint, line: t.reference }
    }
}

impl PlotItem for Level {
    fn shapes(&self, _ui: &Ui, transform: &PlotTransform, shapes: &mut Vec<Shape>) {
        let frame = *transform.frame();
        let y = transform.position_from_point_y(self.level);
        if let Some(tint) = self.tint
            && y < frame.bottom()
        {
            let top = y.max(frame.top());
            let mut mesh = Mesh::default();
            let (faint, full) = (tint.gamma_multiply(0.25), tint);
            for (x, y, color) in [
                (frame.left(), top, faint),
                (frame.right(), top, faint),
                (frame.right(), frame.bottom(), full),
                (frame.left(), frame.bottom(), full),
            ] {
                mesh.colored_vertex(pos2(x, y), color);
            }
            mesh.add_triangle(0, 1, 2);
            mesh.add_triangle(0, 2, 3);
            shapes.push(Shape::mesh(mesh));
        }
        let line = [pos2(frame.left(), y), pos2(frame.right(), y)];
        shapes.extend(Shape::dashed_line(&line, Stroke::new(1.2, self.line), 2.0, 3.0));
    }

    fn initialize(&mut self, _x_range: RangeInclusive<f64>) {}

    fn color(&self) -> Color32 {
        self.line
    }

    fn geometry(&self) -> PlotGeometry<'_> {
        PlotGeometry::None
    }

    fn bounds(&self) -> PlotBounds {
        PlotBounds::NOTHING
    }

    fn base(&self) -> &PlotItemBase {
        &self.base
    }

    fn base_mut(&mut self) -> &mut PlotItemBase {
        &mut self.base
    }
}

//! One chart: egui_plot draws axes and lines; reference, shade, bands, marks and cursor are painted here. All charts
//! of one view share the stretch of the x axis in sight, the cursor and the left margin.

use std::ops::RangeInclusive;

use eframe::egui::{
    self, Align2, Color32, Pos2, Rangef, Rect, Response, Sense, Shape, Stroke, Ui, WidgetInfo,
    epaint::Mesh, pos2, vec2,
};
use egui_plot::{
    AxisHints, FilledArea, GridInput, GridMark, Line, LineStyle, Plot, PlotBounds, PlotGeometry,
    PlotItem, PlotItemBase, PlotPoint, PlotPoints, PlotTransform, PlotUi,
};

use crate::report::charts::{Chart, Unit, band_shows, y_range};
use crate::report::flags::{FlagRows, rows_for};
use crate::report::format;
use crate::report::reduce::{BandPoint, Sight};
use crate::report::ruler::Axis;
use crate::report::run_view::RunView;
use crate::report::trace::Trace;

use super::chart_cache::{ChartCache, Kind};
use super::theme::{self, Tokens, TokensExt};

/// How a chart is placed.
pub struct Place<'a> {
    /// The runs its curves are taken from.
    pub runs: &'a [&'a RunView],
    pub axis: Axis,
    pub height: f32,
    /// Write the marks' texts.
    pub name_marks: bool,
    pub x_labels: bool,
    /// Where on the x axis all charts show their values.
    pub hover: Option<f64>,
}

/// Width kept for the labels of the y axis, equal in all charts so that their x axes line up.
const AXIS_WIDTH: f32 = 54.0;

/// Height of a mark's flag with its distance to the next.
const FLAG_HEIGHT: f32 = 27.0;

/// More points than this in a dashed line would only be a thicket of dashes.
const MOST_DASHED: usize = 600;

/// Draws the chart; the response's `hover_pos` is within its frame.
pub fn chart_ui(
    ui: &mut Ui,
    cache: &mut ChartCache,
    chart: &Chart,
    place: &Place<'_>,
) -> ChartResponse {
    let t = ui.tokens();
    let whole = whole(place.runs, place.axis);
    let (lo, hi) = cache.sight(whole);
    let room = (hi - lo) * 0.012;
    let (lo, hi) = (lo - room, hi + room);
    let pixels = (ui.available_width() - AXIS_WIDTH).max(16.0) as usize;
    reduce(cache, chart, place, (lo, hi), pixels);
    let (low, high) = range_of_values(cache, chart, place);
    let shown = &*cache;
    let response = plot(chart, place, t).show(ui, |plot_ui| {
        plot_ui.set_plot_bounds_x(lo..=hi);
        plot_ui.set_plot_bounds_y(low..=high);
        for curve in chart.curves.iter().rev() {
            let points = shown.band(curve);
            let part = |of: fn(&BandPoint) -> f64| points.iter().map(of).collect::<Vec<_>>();
            if band_shows(points, (low, high)) {
                let (xs, low, high) = (part(|p| p.0), part(|p| p.1), part(|p| p.2));
                let share = if curve.trace.kept { 0.13 } else { 0.07 };
                let tint = color(curve.trace.ink, t).gamma_multiply(share);
                plot_ui.add(FilledArea::new("band", &xs, &low, &high).fill_color(tint));
            }
        }
        if let Some(level) = chart.reference {
            plot_ui.add(Level::new(level, chart.shade, t));
        }
        for curve in chart.curves.iter().filter(|curve| curve.smooth.is_some()) {
            let faint = color(curve.trace.ink, t).gamma_multiply(0.28);
            draw_line(plot_ui, shown.line(curve, Kind::Raw), faint, 1.0, false);
        }
        // The kept arm is drawn last, over its twin.
        for curve in chart.curves.iter().rev() {
            let Trace { ink, dashed, kept } = curve.trace;
            let width = if kept { 2.4 } else { 1.8 };
            let points = shown.line(curve, Kind::of(curve));
            draw_line(plot_ui, points, color(ink, t), width, dashed);
        }
    });
    let (transform, response) = (response.transform, response.response);
    overlay(ui, chart, place, &transform, t);
    steer(ui, &response, cache, &transform, whole);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Figure, true, spoken(chart, place)));
    let pointer = response.hover_pos().filter(|_| !response.dragged());
    ChartResponse { hovered: pointer.map(|at| (transform.value_from_position(at).x, at)), response }
}

/// A line; where every pixel has its lowest and its highest value, what it covers.
fn draw_line<'a>(
    plot_ui: &mut PlotUi<'a>,
    points: &'a [PlotPoint],
    color: Color32,
    width: f32,
    dashed: bool,
) {
    let pixels = plot_ui.transform().frame().width();
    if points.len() as f32 > 1.5 * pixels {
        plot_ui.add(Cover { base: PlotItemBase::new("cover".into()), points, color });
        return;
    }
    let dashed = dashed && points.len() <= MOST_DASHED;
    let style = if dashed { LineStyle::Dashed { length: 7.0 } } else { LineStyle::Solid };
    let line = Line::new("line", PlotPoints::Borrowed(points)).color(color).width(width);
    plot_ui.line(line.style(style).allow_band(false).allow_hover(false));
}

/// What the pointer did in a chart.
pub struct ChartResponse {
    /// The place on the x axis under the pointer, and the pointer.
    pub hovered: Option<(f64, Pos2)>,
    pub response: Response,
}

/// The whole x axis: from the start to the planned end of the longest run.
pub fn whole(runs: &[&RunView], axis: Axis) -> (f64, f64) {
    let end = |run: &&RunView| run.ruler(axis).x(run.steps.max(run.step).max(1) as f64);
    (0.0, runs.iter().map(end).fold(1e-6, f64::max))
}

pub fn color(ink: crate::report::palette::Ink, t: &Tokens) -> Color32 {
    theme::rgb(t.palette.ink(ink))
}

/// Brings the lines of the chart up to date for what is in sight.
fn reduce(
    cache: &mut ChartCache,
    chart: &Chart,
    place: &Place<'_>,
    range: (f64, f64),
    pixels: usize,
) {
    for (number, run) in place.runs.iter().enumerate() {
        let sight = Sight::new(run.ruler(place.axis), range, pixels);
        for curve in chart.curves.iter().filter(|curve| curve.run == number) {
            cache.update(&run.store, curve, &sight);
        }
    }
}

fn range_of_values(cache: &ChartCache, chart: &Chart, place: &Place<'_>) -> (f64, f64) {
    let lines = chart.curves.iter().flat_map(|curve| {
        let raw = curve.smooth.map_or(&[][..], |_| cache.line(curve, Kind::Raw));
        cache.line(curve, Kind::of(curve)).iter().chain(raw).map(|point| point.y)
    });
    let bands: Vec<&[BandPoint]> = chart.curves.iter().map(|curve| cache.band(curve)).collect();
    let flags = if place.name_marks { rows_for(chart.marks.len()) as f32 } else { 0.0 };
    let head = if flags > 0.0 { (flags * FLAG_HEIGHT + 8.0) / place.height } else { 0.08 };
    y_range(chart, lines, &bands, f64::from(head))
}

fn plot<'a>(chart: &Chart, place: &Place<'_>, t: &'static Tokens) -> Plot<'a> {
    let (unit, axis) = (chart.unit, place.axis);
    let (x_labels, ceiling) = (place.x_labels, chart.ceiling);
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
        .formatter(move |mark: GridMark, range: &RangeInclusive<f64>| {
            if !x_labels {
                return String::new();
            }
            let least = mark.step_size * 0.999;
            let ticks = axis.ticks(range.start().max(0.0), *range.end(), least);
            let near = |tick: &(f64, String)| (tick.0 - mark.value).abs() < mark.step_size * 0.01;
            ticks.into_iter().find(near).map(|(_, label)| label).unwrap_or_default()
        });
    Plot::new(chart.id)
        .height(place.height)
        .sense(Sense::click_and_drag())
        .show_background(false)
        .show_x(false)
        .show_y(false)
        .show_crosshair(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_axis_zoom_drag(false)
        .allow_double_click_reset(false)
        .allow_drag(false)
        .allow_zoom(false)
        .set_margin_fraction(vec2(0.0, 0.0))
        .show_grid([false, true])
        .grid_color(t.grid)
        .grid_fade(0.0)
        .grid_spacing(Rangef::new(1.0, 2.0))
        .x_grid_spacer(move |input| {
            let ticks = axis.ticks(input.bounds.0, input.bounds.1, input.base_step_size * 64.0);
            let step = ticks.get(1).map_or(1.0, |second| second.0 - ticks[0].0);
            ticks.iter().map(|tick| GridMark { value: tick.0, step_size: step }).collect()
        })
        .y_grid_spacer(move |input| {
            let mut marks = marks_at(input, 28.0);
            marks.retain(|mark| ceiling.is_none_or(|top| mark.value <= top));
            marks
        })
        .custom_x_axes(vec![x_axis])
        .custom_y_axes(vec![y_axis])
}

/// Marks at a round step of about `spacing` points.
fn marks_at(input: GridInput, spacing: f64) -> Vec<GridMark> {
    let (lo, hi) = input.bounds;
    // `base_step_size` is the width of one point: grid_spacing.min is 1.
    let step = format::round_step(input.base_step_size * spacing);
    if step.is_nan() || step <= 0.0 || !(hi - lo).is_finite() || (hi - lo) / step > 200.0 {
        return Vec::new();
    }
    let first = (lo / step).ceil() as i64;
    let last = (hi / step).floor() as i64;
    (first..=last).map(|k| GridMark { value: k as f64 * step, step_size: step }).collect()
}

/// Dragging and wheel over a chart move all of them.
fn steer(
    ui: &Ui,
    response: &Response,
    cache: &mut ChartCache,
    transform: &PlotTransform,
    whole: (f64, f64),
) {
    let per_point = transform.dvalue_dpos()[0];
    if response.double_clicked() {
        cache.reset();
    } else if response.dragged() {
        cache.shift(-f64::from(response.drag_delta().x) * per_point, whole);
    }
    let Some(pointer) = response.hover_pos() else { return };
    let (zoom, scroll) = ui.input(|i| (f64::from(i.zoom_delta()), i.smooth_scroll_delta()));
    if zoom != 1.0 {
        cache.zoom(zoom, Some(transform.value_from_position(pointer).x), whole);
    } else if scroll.x != 0.0 {
        cache.shift(-f64::from(scroll.x) * per_point, whole);
    }
}

/// Everything over the lines: marks, cursor, readings and end points.
fn overlay(ui: &Ui, chart: &Chart, place: &Place<'_>, transform: &PlotTransform, t: &Tokens) {
    let frame = *transform.frame();
    let painter = ui.painter_at(frame.expand(1.0).intersect(ui.clip_rect()));
    painter.hline(frame.x_range(), frame.bottom(), Stroke::new(1.0, t.grid));
    let mut rows = FlagRows::default();
    for (index, mark) in chart.marks.iter().enumerate() {
        let Some(run) = place.runs.get(mark.run) else { continue };
        let x = transform.position_from_point_x(run.ruler(place.axis).x(mark.step));
        if !frame.x_range().contains(x) {
            continue;
        }
        let line = [pos2(x, frame.top()), pos2(x, frame.bottom())];
        let color = t.danger.gamma_multiply(if place.name_marks { 0.9 } else { 0.55 });
        painter.extend(Shape::dashed_line(&line, Stroke::new(1.2, color), 4.0, 3.0));
        if place.name_marks
            && let Some(flag) = mark_flag(&painter, frame, x, &mut rows, &mark.text, t)
        {
            let over = ui.input(|i| i.pointer.hover_pos()).is_some_and(|at| flag.contains(at));
            if over {
                let at = egui::PopupAnchor::Position(flag.left_bottom() + vec2(0.0, 6.0));
                let id = ui.scope_id().with(("mark", index));
                egui::Tooltip::always_open(ui.ctx().clone(), ui.layer_id(), id, at)
                    .show(|ui| ui.label(&mark.sentence));
            }
        }
    }
    if let Some(x) = place.hover.map(|x| transform.position_from_point_x(x))
        && frame.x_range().contains(x)
    {
        painter.vline(x, frame.y_range(), Stroke::new(1.0, t.text_faint.gamma_multiply(0.8)));
    }
    for curve in chart.curves.iter().rev() {
        let (Some(series), Some(run)) = (curve.series(place.runs), place.runs.get(curve.run))
        else {
            continue;
        };
        let ruler = run.ruler(place.axis);
        let point = match place.hover {
            Some(x) => series.nearest(ruler.step(x)),
            None if curve.smooth.is_some() => None,
            None => series.last(),
        };
        if let Some((step, y)) = point {
            let x = transform.position_from_point_x(ruler.x(step));
            let at = pos2(x, transform.position_from_point_y(y));
            if frame.expand(4.0).contains(at) {
                painter.circle(at, 3.6, color(curve.trace.ink, t), Stroke::new(1.8, t.card));
            }
        }
    }
}

/// The text of a mark, on a flag beside its line, inside the frame; `None` where other flags have taken the place.
fn mark_flag(
    painter: &egui::Painter,
    frame: Rect,
    x: f32,
    rows: &mut FlagRows,
    text: &str,
    t: &Tokens,
) -> Option<Rect> {
    let ink = if t.dark { t.window } else { t.on_accent };
    let galley = painter.layout_no_wrap(text.to_owned(), theme::semibold(12.0), ink);
    let size = galley.size() + vec2(16.0, 7.0);
    let right = x + size.x + 3.0 <= frame.right();
    let left = if right { x } else { x - size.x };
    let row = rows.place(f64::from(left), f64::from(left + size.x))?;
    let y = frame.top() + 3.0 + row as f32 * FLAG_HEIGHT;
    let rect = Rect::from_min_size(pos2(left, y), size);
    painter.rect_filled(rect, 4.0, t.danger);
    painter.galley(
        Align2::CENTER_CENTER.anchor_size(rect.center(), galley.size()).min,
        galley,
        ink,
    );
    Some(rect)
}

/// What a screen reader says of a chart: its newest values.
fn spoken(chart: &Chart, place: &Place<'_>) -> String {
    let mut words = chart.title.to_owned();
    if !chart.measure.is_empty() {
        words.push_str(&format!(", {}", chart.measure));
    }
    for curve in &chart.curves {
        if let Some((step, value)) = curve.series(place.runs).and_then(|series| series.last()) {
            let value = chart.unit.value(value);
            words.push_str(&format!(", {} {value} at step {step:.0}", curve.label));
        }
    }
    if let Some(level) = chart.reference {
        words.push_str(&format!(", reference {}", Unit::Plain.value(level)));
    }
    words
}

/// What egui_plot asks of an item that is only painted; `$color` is its field for the colour.
macro_rules! painted {
    ($color:ident) => {
        fn initialize(&mut self, _x_range: RangeInclusive<f64>) {}

        fn color(&self) -> Color32 {
            self.$color
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
    };
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

    painted!(line);
}

/// A line so dense that it is an area: from each point to the next, at least a pixel high. As a mesh it costs a tenth
/// of a line.
struct Cover<'a> {
    base: PlotItemBase,
    points: &'a [PlotPoint],
    color: Color32,
}

impl PlotItem for Cover<'_> {
    fn shapes(&self, ui: &Ui, transform: &PlotTransform, shapes: &mut Vec<Shape>) {
        let least = 1.0 / ui.pixels_per_point();
        let mut mesh = Mesh::default();
        for pair in self.points.windows(2) {
            let [from, to] = [0, 1].map(|end: usize| transform.position_from_point(&pair[end]));
            let right = to.x.max(from.x + least);
            let (top, bottom) = (from.y.min(to.y), from.y.max(to.y).max(from.y.min(to.y) + least));
            mesh.add_colored_rect(Rect::from_x_y_ranges(from.x..=right, top..=bottom), self.color);
        }
        shapes.push(Shape::mesh(mesh));
    }

    painted!(color);
}

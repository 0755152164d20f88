//! House widgets: cards, field rows, switches, chips, and the icons painted by hand (fonts lack them).

use eframe::egui::{
    self, Align, Align2, Button, Color32, Frame, Layout, Margin, Painter, Rect, Response, RichText,
    Sense, Shape, Stroke, StrokeKind, TextFormat, Ui, pos2, text::LayoutJob, vec2,
};

use crate::report::trace::Trace;

use super::theme::{self, CARD_RADIUS, Tokens, TokensExt};

/// A rounded panel.
pub fn card_frame(t: &Tokens) -> Frame {
    Frame::new()
        .fill(t.card)
        .stroke(Stroke::new(1.0, t.card_border))
        .corner_radius(CARD_RADIUS)
        .inner_margin(Margin::symmetric(14, 12))
}

/// A card with a title; `action` draws at the right end of the title's line.
pub fn card(ui: &mut Ui, title: &str, action: impl FnOnce(&mut Ui), body: impl FnOnce(&mut Ui)) {
    let t = ui.tokens();
    card_frame(t).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            ui.set_min_height(24.0);
            ui.label(RichText::new(title).font(theme::semibold(14.0)));
            ui.with_layout(Layout::right_to_left(Align::Center), action);
        });
        ui.add_space(2.0);
        body(ui);
    });
}

/// Small muted text that wraps.
pub fn hint(ui: &mut Ui, text: impl Into<String>) -> Response {
    let color = ui.tokens().text_muted;
    ui.add(egui::Label::new(RichText::new(text).size(12.0).color(color)).wrap())
}

/// A complaint beside its field.
pub fn complaint(ui: &mut Ui, text: &str) {
    let color = ui.tokens().danger;
    ui.add(egui::Label::new(RichText::new(text).size(11.5).color(color)).wrap());
}

/// The one button that matters most.
pub fn primary_button(ui: &mut Ui, enabled: bool, text: &str) -> Response {
    let t = ui.tokens();
    let ink = if enabled { t.on_accent } else { t.text_faint };
    let fill = if enabled { t.accent } else { t.button };
    let button = Button::new(RichText::new(text).font(theme::semibold(13.5)).color(ink))
        .fill(fill)
        .stroke(Stroke::NONE)
        .min_size(vec2(108.0, 34.0));
    ui.add_enabled(enabled, button)
}

/// A plain button of the bottom bar's height.
pub fn bar_button(ui: &mut Ui, enabled: bool, text: &str) -> Response {
    ui.add_enabled(enabled, Button::new(text).min_size(vec2(84.0, 34.0)))
}

/// A small button for the corner of a card.
pub fn corner_button(ui: &mut Ui, text: &str) -> Response {
    ui.add(Button::new(RichText::new(text).font(theme::medium(12.0))).min_size(vec2(0.0, 24.0)))
}

/// A small menu of files used before; answers the one that was chosen.
pub fn recent_menu(
    ui: &mut Ui,
    enabled: bool,
    name: &str,
    paths: &[std::path::PathBuf],
) -> Option<std::path::PathBuf> {
    if paths.is_empty() {
        return None;
    }
    let text = RichText::new("Recent").font(theme::medium(12.0));
    let button = ui.add_enabled(enabled, Button::new(text).min_size(vec2(0.0, 24.0)));
    let button = button.accessible_name(name);
    let mut chosen = None;
    egui::Popup::menu(&button).width(260.0).show(|ui| {
        for path in paths {
            let shown = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            let row = Button::new(shown.into_owned()).frame_when_inactive(false).truncate();
            let row = ui.add(row.min_size(vec2(ui.available_width(), 26.0)));
            if row.on_hover_text(path.display().to_string()).clicked() {
                chosen = Some(path.clone());
                ui.close();
            }
        }
    });
    chosen
}

/// A button that looks like a link.
pub fn quiet_button(ui: &mut Ui, text: &str) -> Response {
    let color = ui.tokens().chosen;
    ui.add(Button::new(RichText::new(text).font(theme::medium(12.0)).color(color)).frame(false))
}

/// One of several, side by side, for a layout from right to left; answers the newly chosen index.
pub fn segmented(ui: &mut Ui, labels: &[&str], selected: usize) -> Option<usize> {
    let t = ui.tokens();
    let mut picked = None;
    Frame::new().fill(t.button).corner_radius(7).inner_margin(Margin::same(2)).show(ui, |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        for (index, label) in labels.iter().enumerate().rev() {
            let on = index == selected;
            let ink = if on { t.text } else { t.text_muted };
            let fill = if on { t.card } else { Color32::TRANSPARENT };
            let text = RichText::new(*label).font(theme::medium(12.0)).color(ink);
            let button = Button::selectable(on, text)
                .fill(fill)
                .stroke(Stroke::NONE)
                .min_size(vec2(0.0, 24.0));
            if ui.add(button).clicked() && !on {
                picked = Some(index);
            }
        }
    });
    picked
}

/// [`segmented`], smaller and from left to right.
pub fn small_segmented(ui: &mut Ui, labels: &[&str], selected: usize) -> Option<usize> {
    let t = ui.tokens();
    let mut picked = None;
    Frame::new().fill(t.button).corner_radius(6).inner_margin(Margin::same(2)).show(ui, |ui| {
        ui.spacing_mut().item_spacing.x = 1.0;
        ui.spacing_mut().button_padding = vec2(8.0, 2.0);
        for (index, label) in labels.iter().enumerate() {
            let on = index == selected;
            let ink = if on { t.text } else { t.text_muted };
            let fill = if on { t.card } else { Color32::TRANSPARENT };
            let text = RichText::new(*label).font(theme::medium(11.5)).color(ink);
            let button = Button::selectable(on, text).fill(fill).stroke(Stroke::NONE);
            if ui.add(button.min_size(vec2(0.0, 20.0))).clicked() && !on {
                picked = Some(index);
            }
        }
    });
    picked
}

/// A small checkbox.
pub fn small_switch(ui: &mut Ui, on: &mut bool, text: &str) -> Response {
    let color = ui.tokens().text_muted;
    ui.spacing_mut().icon_width = 14.0;
    ui.spacing_mut().icon_width_inner = 8.0;
    ui.checkbox(on, RichText::new(text).font(theme::medium(11.5)).color(color))
}

/// A rounded label in a tint of `color`.
pub fn pill(ui: &mut Ui, text: &str, color: Color32) -> Response {
    Frame::new()
        .fill(color.gamma_multiply(0.16))
        .corner_radius(9)
        .inner_margin(Margin::symmetric(8, 2))
        .show(ui, |ui| ui.label(RichText::new(text).font(theme::medium(11.5)).color(color)))
        .response
}

/// A short stretch of a chart's line, for legends.
pub fn line_sample(ui: &mut Ui, color: Color32, trace: Trace) {
    let (rect, _) = ui.allocate_exact_size(vec2(20.0, 14.0), Sense::hover());
    let line = [rect.left_center(), rect.right_center()];
    let painter = ui.painter();
    if trace.dashed {
        painter.extend(Shape::dashed_line(&line, Stroke::new(2.0, color), 5.0, 3.0));
    } else {
        let width = if trace.kept { 2.6 } else { 1.8 };
        painter.line_segment(line, Stroke::new(width, color));
    }
}

/// A dotted stretch for the reference.
pub fn level_sample(ui: &mut Ui, color: Color32) {
    let (rect, _) = ui.allocate_exact_size(vec2(20.0, 14.0), Sense::hover());
    let line = [rect.left_center(), rect.right_center()];
    ui.painter().extend(Shape::dashed_line(&line, Stroke::new(1.4, color), 2.0, 3.0));
}

/// Two columns of facts: names muted, values plain.
pub fn facts(ui: &mut Ui, rows: &[(String, String)]) {
    let t = ui.tokens();
    const NAMES: f32 = 112.0;
    ui.spacing_mut().item_spacing.y = 5.0;
    ui.spacing_mut().interact_size.y = 16.0;
    for (name, value) in rows {
        ui.horizontal_top(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(NAMES, 16.0), Sense::hover());
            let at = rect.left_center();
            ui.painter().text(at, Align2::LEFT_CENTER, name, theme::regular(12.0), t.text_muted);
            ui.add(egui::Label::new(RichText::new(value).size(12.5)).wrap());
        });
    }
}

/// A word in a narrow left column, so that what follows lines up.
pub fn margin_word(ui: &mut Ui, width: f32, text: RichText) {
    let size = vec2(width, 18.0);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_size(size);
        ui.label(text);
    });
}

/// The middle of an empty place: what it is for and what to do next.
pub fn empty_state(ui: &mut Ui, title: &str, lines: &[&str], actions: impl FnOnce(&mut Ui)) {
    let t = ui.tokens();
    let height = ui.available_height();
    ui.vertical_centered(|ui| {
        ui.add_space((height * 0.28).max(24.0));
        ui.label(RichText::new(title).font(theme::semibold(18.0)));
        ui.add_space(6.0);
        for line in lines {
            ui.label(RichText::new(*line).size(13.0).color(t.text_muted));
        }
        ui.add_space(14.0);
        actions(ui);
    });
}

/// Pictures of the rail and the corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    Chart,
    Rows,
    Lens,
    Stack,
    Menu,
    Sun,
    Moon,
    Cross,
    Plus,
    Minus,
    /// The whole run in sight.
    Whole,
    Logo,
}

/// Paints an icon into a square.
pub fn paint_icon(painter: &Painter, icon: Icon, rect: Rect, color: Color32, t: &Tokens) {
    let stroke = Stroke::new((rect.width() / 11.0).max(1.4), color);
    let at = |x: f32, y: f32| pos2(rect.left() + x * rect.width(), rect.top() + y * rect.height());
    let size = rect.width();
    match icon {
        Icon::Chart => {
            painter.line(vec![at(0.08, 0.06), at(0.08, 0.92), at(0.96, 0.92)], stroke);
            painter
                .line(vec![at(0.22, 0.66), at(0.42, 0.40), at(0.62, 0.55), at(0.92, 0.16)], stroke);
        }
        Icon::Rows => {
            for y in [0.2, 0.5, 0.8] {
                painter.circle_filled(at(0.12, y), size * 0.075, color);
                painter.line_segment([at(0.32, y), at(0.96, y)], stroke);
            }
        }
        Icon::Lens => {
            painter.circle_stroke(at(0.42, 0.42), size * 0.31, stroke);
            painter.line_segment([at(0.65, 0.65), at(0.94, 0.94)], stroke);
        }
        Icon::Stack => {
            for (index, y) in [0.08, 0.39, 0.70].into_iter().enumerate() {
                let bar = Rect::from_min_max(at(0.06, y), at(0.94, y + 0.21));
                if index == 0 {
                    painter.rect_filled(bar, 2.0, color);
                } else {
                    painter.rect_stroke(bar, 2.0, stroke, StrokeKind::Inside);
                }
            }
        }
        Icon::Menu => {
            for y in [0.2, 0.5, 0.8] {
                painter.line_segment([at(0.06, y), at(0.94, y)], stroke);
            }
        }
        Icon::Sun => {
            painter.circle_stroke(rect.center(), size * 0.21, stroke);
            for k in 0..8 {
                let (sin, cos) = (k as f32 * std::f32::consts::FRAC_PI_4).sin_cos();
                let ray = |r: f32| rect.center() + vec2(cos, sin) * size * r;
                painter.line_segment([ray(0.34), ray(0.47)], stroke);
            }
        }
        Icon::Moon => {
            painter.circle_filled(at(0.48, 0.52), size * 0.38, color);
            painter.circle_filled(at(0.66, 0.36), size * 0.34, t.chrome);
        }
        Icon::Cross => {
            painter.line_segment([at(0.2, 0.2), at(0.8, 0.8)], stroke);
            painter.line_segment([at(0.8, 0.2), at(0.2, 0.8)], stroke);
        }
        Icon::Plus | Icon::Minus => {
            painter.line_segment([at(0.1, 0.5), at(0.9, 0.5)], stroke);
            if icon == Icon::Plus {
                painter.line_segment([at(0.5, 0.1), at(0.5, 0.9)], stroke);
            }
        }
        Icon::Whole => {
            painter.line_segment([at(0.0, 0.5), at(1.0, 0.5)], stroke);
            for (tip, back) in [(0.0, 0.3), (1.0, 0.7)] {
                painter.line(vec![at(back, 0.2), at(tip, 0.5), at(back, 0.8)], stroke);
            }
        }
        Icon::Logo => paint_logo(painter, rect, t),
    }
}

/// The mark of the program: two curves part from one level; one holds, one falls.
fn paint_logo(painter: &Painter, rect: Rect, t: &Tokens) {
    let at = |x: f32, y: f32| pos2(rect.left() + x * rect.width(), rect.top() + y * rect.height());
    painter.rect_filled(rect, rect.width() * 0.24, t.accent);
    let width = rect.width() / 11.0;
    let white = Color32::WHITE;
    let curve = |ends: [egui::Pos2; 4], stroke: Stroke| {
        egui::epaint::CubicBezierShape::from_points_stroke(
            ends,
            false,
            Color32::TRANSPARENT,
            stroke,
        )
    };
    painter.add(curve(
        [at(0.18, 0.36), at(0.45, 0.36), at(0.55, 0.30), at(0.84, 0.27)],
        Stroke::new(width, white),
    ));
    painter.add(curve(
        [at(0.18, 0.36), at(0.48, 0.38), at(0.46, 0.74), at(0.84, 0.78)],
        Stroke::new(width, Color32::from_rgb(0xFF, 0xC2, 0x8A)),
    ));
}

/// A button that is a painted icon with a word below it.
pub fn rail_button(ui: &mut Ui, icon: Icon, label: &str, selected: bool) -> Response {
    let t = ui.tokens();
    let size = vec2(ui.available_width(), 56.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let enabled = ui.is_enabled();
    response
        .widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, enabled, selected, label));
    let inner = rect.shrink2(vec2(4.0, 1.0));
    if selected {
        ui.painter().rect_filled(
            inner,
            9.0,
            t.accent.gamma_multiply(if t.dark { 0.24 } else { 0.13 }),
        );
    } else if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(inner, 9.0, t.button);
    }
    let color = match (selected, response.hovered()) {
        (true, _) if t.dark => t.text,
        (true, _) => t.accent,
        (false, true) => t.text,
        (false, false) => t.text_muted,
    };
    let square = Rect::from_center_size(pos2(rect.center().x, rect.top() + 20.0), vec2(19.0, 19.0));
    paint_icon(ui.painter(), icon, square, color, t);
    let below = pos2(rect.center().x, rect.top() + 43.0);
    ui.painter().text(below, Align2::CENTER_CENTER, label, theme::medium(11.0), color);
    response
}

/// A small square button with an icon, named for screen readers.
pub fn icon_button(ui: &mut Ui, icon: Icon, name: &str) -> Response {
    let t = ui.tokens();
    let (rect, response) = ui.allocate_exact_size(vec2(24.0, 24.0), Sense::click());
    let enabled = ui.is_enabled();
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled, name));
    if enabled && (response.hovered() || response.has_focus()) {
        ui.painter().rect_filled(rect, 6.0, t.button_hover);
    }
    let color = match (enabled, response.hovered()) {
        (false, _) => t.text_faint.gamma_multiply(0.6),
        (true, true) => t.text,
        (true, false) => t.text_muted,
    };
    paint_icon(ui.painter(), icon, rect.shrink(7.0), color, t);
    response.on_hover_text(name)
}

/// A text in pieces, those that differ on a tint of `color`.
pub fn marked<'a>(
    pieces: impl ExactSizeIterator<Item = (&'a str, bool)>,
    color: Color32,
    t: &Tokens,
) -> LayoutJob {
    let mut job = LayoutJob::default();
    let last = pieces.len().saturating_sub(1);
    for (index, (mut text, differs)) in pieces.enumerate() {
        if index == 0 {
            text = text.trim_start();
        }
        if index == last {
            text = text.trim_end();
        }
        let mut format = TextFormat::simple(theme::regular(13.0), t.text);
        if differs {
            format.font_id = theme::semibold(13.0);
            format.color = color;
            format.background = color.gamma_multiply(0.18);
        }
        job.append(text, 0.0, format);
    }
    job
}

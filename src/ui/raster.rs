//! A scene as PNG: painted by the processor, with the window's own font, at twice the size for sharp print.

use skrifa::instance::{LocationRef, NormalizedCoord, Size};
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::{FontRef, MetadataProvider};
use vello_cpu::color::{AlphaColor, Srgb};
use vello_cpu::kurbo::{Affine, BezPath, Circle, Rect, RoundedRect, Shape as _, Stroke};
use vello_cpu::{Pixmap, RenderContext, Resources};

use crate::report::scene::{Anchor, Paint, Scene, Shape};

use super::theme::INTER;

/// Pixels for each unit of a scene.
const SCALE: f64 = 2.0;

/// The picture as the bytes of a PNG file. The error is a sentence.
pub fn png(scene: &Scene) -> Result<Vec<u8>, String> {
    let side = |length: f64| (length * SCALE).ceil().clamp(1.0, f64::from(u16::MAX)) as u16;
    let (width, height) = (side(scene.width), side(scene.height));
    let font = Font::new()?;
    let mut context = RenderContext::new(width, height);
    context.set_transform(Affine::scale(SCALE));
    for shape in &scene.shapes {
        draw(&mut context, shape, &font);
    }
    context.flush();
    let mut pixels = Pixmap::new(width, height);
    context.render(&mut pixels, &mut Resources::new());
    encode(&pixels, width, height)
        .map_err(|error| format!("The picture could not be packed: {error}."))
}

fn encode(pixels: &Pixmap, width: u16, height: u16) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    // Premultiplied is straight here: the ground of a picture is opaque.
    writer.write_image_data(pixels.data_as_u8_slice())?;
    writer.finish()?;
    Ok(bytes)
}

fn draw(context: &mut RenderContext, shape: &Shape, font: &Font<'_>) {
    match shape {
        Shape::Line { points, paint, width, dash } => {
            let mut stroke = Stroke::new(*width);
            if let Some([on, off]) = dash {
                stroke = stroke.with_dashes(0.0, [*on, *off]);
            }
            context.set_paint(colour(*paint));
            context.set_stroke(stroke);
            context.stroke_path(&path(points, false));
        }
        Shape::Area { points, paint } => fill(context, &path(points, true), *paint),
        Shape::Rect { min, size, radius, paint } => {
            let rect = Rect::new(min.0, min.1, min.0 + size.0, min.1 + size.1);
            fill(context, &RoundedRect::from_rect(rect, *radius).to_path(0.05), *paint);
        }
        Shape::Dot { at, radius, paint } => {
            fill(context, &Circle::new(*at, *radius).to_path(0.05), *paint);
        }
        Shape::Text { at, text, size, bold, anchor, paint } => {
            let (mut letters, width) = font.path(text, *size, *bold);
            let shift = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => width / 2.0,
                Anchor::End => width,
            };
            letters.apply_affine(Affine::translate((at.0 - shift, at.1)));
            fill(context, &letters, *paint);
        }
    }
}

fn fill(context: &mut RenderContext, path: &BezPath, paint: Paint) {
    context.set_paint(colour(paint));
    context.fill_path(path);
}

fn colour(paint: Paint) -> AlphaColor<Srgb> {
    let [_, r, g, b] = paint.rgb.to_be_bytes();
    AlphaColor::from_rgba8(r, g, b, (paint.alpha * 255.0).round() as u8)
}

fn path(points: &[(f64, f64)], closed: bool) -> BezPath {
    let mut path = BezPath::new();
    for (index, point) in points.iter().enumerate() {
        if index == 0 {
            path.move_to(*point);
        } else {
            path.line_to(*point);
        }
    }
    if closed {
        path.close_path();
    }
    path
}

/// The window's font in two weights.
struct Font<'a> {
    font: FontRef<'a>,
    regular: Vec<NormalizedCoord>,
    bold: Vec<NormalizedCoord>,
}

impl Font<'_> {
    fn new() -> Result<Self, String> {
        let font =
            FontRef::new(INTER).map_err(|error| format!("The font cannot be read: {error}."))?;
        let weight = |weight: f32| font.axes().location([("wght", weight)]).coords().to_vec();
        let (regular, bold) = (weight(430.0), weight(620.0));
        Ok(Self { font, regular, bold })
    }

    /// The outlines of a text that begins at the origin, and its width.
    fn path(&self, text: &str, size: f64, bold: bool) -> (BezPath, f64) {
        let location = LocationRef::new(if bold { &self.bold } else { &self.regular });
        let size = Size::new(size as f32);
        let (characters, glyphs) = (self.font.charmap(), self.font.outline_glyphs());
        let metrics = self.font.glyph_metrics(size, location);
        let mut pen = Pen::default();
        for c in text.chars() {
            let glyph = characters.map(c).unwrap_or_default();
            if let Some(outline) = glyphs.get(glyph) {
                // A glyph that cannot be drawn leaves its place empty.
                let _ = outline.draw(DrawSettings::unhinted(size, location), &mut pen);
            }
            pen.x += f64::from(metrics.advance_width(glyph).unwrap_or_default());
        }
        (pen.path, pen.x)
    }
}

/// Gathers outlines from left to right; y points down.
#[derive(Default)]
struct Pen {
    path: BezPath,
    x: f64,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f64, f64) {
        (f64::from(x) + self.x, -f64::from(y))
    }
}

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.at(x, y));
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.at(x, y));
    }

    fn quad_to(&mut self, cx0: f32, cy0: f32, x: f32, y: f32) {
        self.path.quad_to(self.at(cx0, cy0), self.at(x, y));
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        self.path.curve_to(self.at(cx0, cy0), self.at(cx1, cy1), self.at(x, y));
    }

    fn close(&mut self) {
        self.path.close_path();
    }
}

//! A drawing as a list of shapes: what is written as SVG and painted as PNG.

/// A colour with an alpha from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paint {
    pub rgb: u32,
    pub alpha: f64,
}

impl Paint {
    pub fn solid(rgb: u32) -> Self {
        Self { rgb, alpha: 1.0 }
    }

    pub fn faint(rgb: u32, alpha: f64) -> Self {
        Self { rgb, alpha }
    }
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Line {
        points: Vec<(f64, f64)>,
        paint: Paint,
        width: f64,
        /// Lengths of dashes and of the gaps between them.
        dash: Option<[f64; 2]>,
    },
    /// A closed area.
    Area {
        points: Vec<(f64, f64)>,
        paint: Paint,
    },
    Rect {
        min: (f64, f64),
        size: (f64, f64),
        radius: f64,
        paint: Paint,
    },
    Dot {
        at: (f64, f64),
        radius: f64,
        paint: Paint,
    },
    Text {
        /// On the base line.
        at: (f64, f64),
        text: String,
        size: f64,
        bold: bool,
        anchor: Anchor,
        paint: Paint,
    },
}

/// Shapes from back to front, y downwards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

impl Scene {
    pub fn line(&mut self, points: Vec<(f64, f64)>, paint: Paint, width: f64) {
        self.shapes.push(Shape::Line { points, paint, width, dash: None });
    }

    pub fn dashed(&mut self, points: Vec<(f64, f64)>, paint: Paint, width: f64, dash: [f64; 2]) {
        self.shapes.push(Shape::Line { points, paint, width, dash: Some(dash) });
    }

    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, words: &Words<'_>, paint: Paint) {
        let Words { text, size, bold } = *words;
        self.shapes.push(Shape::Text { at, text: text.to_owned(), size, bold, anchor, paint });
    }
}

/// A text and how large it is.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    pub text: &'a str,
    pub size: f64,
    pub bold: bool,
}

impl<'a> Words<'a> {
    pub fn plain(text: &'a str, size: f64) -> Self {
        Self { text, size, bold: false }
    }

    pub fn bold(text: &'a str, size: f64) -> Self {
        Self { text, size, bold: true }
    }

    /// About how wide it is at most: the reader's font is not known here.
    pub fn width(&self) -> f64 {
        self.text.chars().count() as f64 * self.size * if self.bold { 0.66 } else { 0.61 }
    }
}

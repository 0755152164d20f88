//! A scene as SVG 1.1: self-contained, without scripts, styles or references.

use std::fmt::Write;

use super::scene::{Anchor, Paint, Scene, Shape};

const FONT: &str = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

/// The scene as an `<svg>` element; `title` is for screen readers.
pub fn svg(scene: &Scene, title: &str) -> String {
    let (width, height) = (number(scene.width), number(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FONT}\">\n<title>{}</title>\n",
        escaped(title)
    );
    for shape in &scene.shapes {
        // Writing into a string does not fail.
        let _ = write_shape(&mut out, shape);
    }
    out.push_str("</svg>\n");
    out
}

fn write_shape(out: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Line { points, paint, width, dash } => {
            write!(out, "<polyline fill=\"none\" points=\"{}\"", coordinates(points))?;
            write!(out, " {} stroke-width=\"{}\"", colour("stroke", *paint), number(*width))?;
            if let Some([on, off]) = dash {
                write!(out, " stroke-dasharray=\"{} {}\"", number(*on), number(*off))?;
            }
            writeln!(out, " stroke-linejoin=\"round\"/>")
        }
        Shape::Area { points, paint } => {
            let points = coordinates(points);
            writeln!(out, "<polygon points=\"{points}\" {}/>", colour("fill", *paint))
        }
        Shape::Rect { min, size, radius, paint } => writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\" {}/>",
            number(min.0),
            number(min.1),
            number(size.0),
            number(size.1),
            number(*radius),
            colour("fill", *paint)
        ),
        Shape::Dot { at, radius, paint } => writeln!(
            out,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {}/>",
            number(at.0),
            number(at.1),
            number(*radius),
            colour("fill", *paint)
        ),
        Shape::Text { at, text, size, bold, anchor, paint } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let weight = if *bold { " font-weight=\"600\"" } else { "" };
            writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{weight} text-anchor=\"{anchor}\" {}>{}</text>",
                number(at.0),
                number(at.1),
                number(*size),
                colour("fill", *paint),
                escaped(text)
            )
        }
    }
}

fn colour(attribute: &str, paint: Paint) -> String {
    let solid = format!("{attribute}=\"#{:06x}\"", paint.rgb);
    if paint.alpha >= 1.0 {
        solid
    } else {
        format!("{solid} {attribute}-opacity=\"{}\"", number(paint.alpha))
    }
}

fn coordinates(points: &[(f64, f64)]) -> String {
    let pair = |(x, y): &(f64, f64)| format!("{},{}", number(*x), number(*y));
    points.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Two decimals at most: a hundredth of a pixel.
fn number(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text between tags or in an attribute. Characters that XML cannot hold are left out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_words_are_safe() {
        assert_eq!(
            (number(1.0), number(-0.126), number(10.5)),
            ("1".into(), "-0.13".into(), "10.5".into())
        );
        assert_eq!(escaped("a<b> & \"c\"\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;");
    }
}

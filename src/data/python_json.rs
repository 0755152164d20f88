//! The `tojson` filter of chat templates: Python's `json.dumps` as transformers calls it.
//!
//! Separators `", "` and `": "`, insertion order, no HTML escapes, `indent` in spaces; with an
//! indent, the item separator has no trailing space.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, Serde, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use serde_json::Value as Json;

/// Deeper values are refused rather than followed.
const MAX_DEPTH: usize = 128;

struct Style {
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(crate) fn tojson(state: &State, value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
    };
    let (mut item, mut key) =
        (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    if let Some(separators) = kwargs.get::<Option<Value>>("separators")?.filter(|s| !s.is_none()) {
        item = separators.get_item_by_index(0)?.to_string();
        key = separators.get_item_by_index(1)?.to_string();
    }
    let style = Style {
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item,
        key,
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write(state, &style, &value, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

fn write(
    state: &State,
    style: &Style,
    value: &Value,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    state.consume_fuel(1)?;
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "value too deep for tojson"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
        ValueKind::Number => out.push_str(&python_float(f64::try_from(value.clone())?)),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            state.consume_fuel(text.len() as u64 / 64)?;
            quote(text, style.ensure_ascii, out);
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            block(style, depth, ['[', ']'], items.len(), out, |i, out| {
                items.get(i).map_or(Ok(()), |item| write(state, style, item, depth + 1, out))
            })?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            block(style, depth, ['{', '}'], keys.len(), out, |i, out| {
                let Some(key) = keys.get(i) else { return Ok(()) };
                write_key(style, key, out)?;
                out.push_str(&style.key);
                write(state, style, &value.get_item(key)?, depth + 1, out)
            })?;
        }
        other => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("{other} is not JSON serializable"),
            ));
        }
    }
    Ok(())
}

/// JSON's keys are text; Python turns numbers, booleans and none into it.
fn write_key(style: &Style, key: &Value, out: &mut String) -> Result<(), Error> {
    let text = match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number if key.is_integer() => key.to_string(),
        ValueKind::Number => python_float(f64::try_from(key.clone())?),
        other => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("{other} cannot be a JSON key"),
            ));
        }
    };
    quote(&text, style.ensure_ascii, out);
    Ok(())
}

/// Brackets, separators and line breaks around `count` items.
fn block(
    style: &Style,
    depth: usize,
    [open, close]: [char; 2],
    count: usize,
    out: &mut String,
    mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |depth: usize, out: &mut String| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    for i in 0..count {
        if i > 0 {
            out.push_str(&style.item);
        }
        new_line(depth + 1, out);
        item(i, out)?;
    }
    if count > 0 {
        new_line(depth, out);
    }
    out.push(close);
    Ok(())
}

fn quote(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ensure_ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c if c == '\u{7f}' && ensure_ascii => out.push_str("\\u007f"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Python's `repr` of a float: an exponent below 1e-4 and from 1e16, with at least two digits.
fn python_float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = x.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::{python_float, quote};

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (x, expected) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1e100, "1e+100"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(python_float(x), expected);
        }
    }

    #[test]
    fn text_is_escaped_as_python_escapes_it() {
        let mut out = String::new();
        quote("a\"\\\n\t\u{1}\u{7f}<é😀>", false, &mut out);
        assert_eq!(out, "\"a\\\"\\\\\\n\\t\\u0001\u{7f}<é😀>\"");
        out.clear();
        quote("é😀", true, &mut out);
        assert_eq!(out, "\"\\u00e9\\ud83d\\ude00\"");
    }
}

/// A JSON object that keeps its keys in the file's order, as Python's dict does. (minijinja's own way, its
/// `preserve_order` feature, would build half the dependencies a second time through indexmap's features.)
#[derive(Debug)]
struct Ordered(Vec<(Value, Value)>);

impl Object for Ordered {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(key, _)| key.clone()).collect())
    }
}

/// JSON as a template sees it.
pub(crate) fn to_value(json: &Json) -> Value {
    match json {
        Json::Array(items) => items.iter().map(to_value).collect(),
        Json::Object(object) => {
            let pairs = object.iter().map(|(k, v)| (Value::from(k.as_str()), to_value(v)));
            Value::from_object(Ordered(pairs.collect()))
        }
        scalar => Value::from(Serde(scalar)),
    }
}

//! Rows of a preference file as they were written, to make a smaller file of some of them.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::layout::{Layout, ROW_LISTS, layout};
use super::source::{DataError, HEAD, unwrap_viewer_row};

/// Writes `rows` (positions counted from 0, as everywhere) of the file at `path` to `out`, one a line, in the file's
/// order; answers how many. Rows of JSON lines keep every byte; rows of a JSON document are written compactly, on one
/// line, with their fields in the order they had.
///
/// # Errors
/// When the file cannot be read, or `out` not be written.
pub fn write_rows(
    path: &Path,
    rows: &[usize],
    out: &mut dyn Write,
) -> Result<usize, WriteRowsError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(read)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let wanted: HashSet<usize> = rows.iter().copied().collect();
    let mut written = 0;
    let mut write = |row: usize, bytes: &[u8]| {
        if !wanted.contains(&row) {
            return Ok(());
        }
        written += 1;
        out.write_all(bytes)?;
        // The last line of a file may lack its end.
        if bytes.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") }
    };
    // As much as reading looks at, so that both see the same layout.
    match layout(&text[..text.len().min(HEAD)], json) {
        Layout::Lines => {
            let lines = text.split_inclusive(|byte| *byte == b'\n');
            for (row, line) in lines.filter(|line| !line.trim_ascii().is_empty()).enumerate() {
                write(row, line)?;
            }
        }
        Layout::Document => {
            for (row, value) in document_rows(path, text)?.into_iter().enumerate() {
                write(row, value.to_string().as_bytes())?;
            }
        }
    }
    Ok(written)
}

#[derive(Debug, thiserror::Error)]
pub enum WriteRowsError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("cannot write the rows: {0}")]
    Write(#[from] std::io::Error),
}

/// The rows of a list, or of an object that holds one; a lone object is a row.
fn document_rows(path: &Path, text: &[u8]) -> Result<Vec<Value>, DataError> {
    let document: Value = serde_json::from_slice(text).map_err(|error| DataError::NotJson {
        path: path.to_owned(),
        line: error.line(),
        reason: error.to_string(),
    })?;
    let rows = match document {
        Value::Array(rows) => rows,
        // The list that comes first in the file, as reading takes it.
        Value::Object(mut object) => {
            let name = object.keys().find(|name| ROW_LISTS.contains(&name.as_str())).cloned();
            match name.and_then(|name| object.remove(&name)) {
                Some(Value::Array(rows)) => rows,
                _ => vec![Value::Object(object)],
            }
        }
        _ => return Err(DataError::NoRowList { path: path.to_owned() }),
    };
    Ok(rows.into_iter().map(unwrap_viewer_row).collect())
}

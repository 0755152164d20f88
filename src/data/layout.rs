//! What kind of file this is, from its first bytes.

use std::path::Path;

use serde_json::Value;

use super::source::DataError;

/// Names the formats that are often handed over in place of JSON.
pub(crate) fn refuse_other_formats(path: &Path, head: &[u8]) -> Result<(), DataError> {
    const SIGNATURES: [(&[u8], &str, &str); 12] = [
        (
            b"PAR1",
            "a Parquet file",
            "convert it with `datasets`: load_dataset(\"parquet\", data_files=..).to_json(\"pairs.jsonl\")",
        ),
        (
            b"ARROW1",
            "an Arrow file",
            "convert it with `datasets`: Dataset.from_file(..).to_json(\"pairs.jsonl\")",
        ),
        (
            b"\xff\xff\xff\xff",
            "an Arrow stream",
            "convert it with `datasets`: Dataset.from_file(..).to_json(\"pairs.jsonl\")",
        ),
        (b"\x1f\x8b", "gzip-compressed", "unpack it first (gunzip)"),
        (b"PK\x03\x04", "a zip archive", "unpack it first"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed", "unpack it first (unzstd)"),
        (b"BZh", "bzip2-compressed", "unpack it first (bunzip2)"),
        (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
        (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
        (
            b"version https://git-lfs",
            "a Git LFS pointer, not the data",
            "run `git lfs pull` in its folder",
        ),
        (
            b"<!DOCTYPE",
            "a web page",
            "download the file itself (on Hugging Face: the download link, not the page)",
        ),
        (
            b"<html",
            "a web page",
            "download the file itself (on Hugging Face: the download link, not the page)",
        ),
    ];
    if head.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    for (signature, what, remedy) in SIGNATURES {
        if head.len() >= signature.len() && head[..signature.len()].eq_ignore_ascii_case(signature)
        {
            return Err(DataError::Format { path: path.to_owned(), what, remedy });
        }
    }
    Ok(())
}

/// How the rows lie in a file.
pub(crate) enum Layout {
    /// One object a line, whatever the file is called.
    Lines,
    /// A list, or an object that holds one.
    Document,
}

/// `json`: the file's name ends in `.json`.
pub(crate) fn layout(head: &[u8], json: bool) -> Layout {
    let Some(start) = head.iter().position(|b| !b.is_ascii_whitespace()) else {
        return Layout::Lines;
    };
    let head = &head[start..];
    match head.first() {
        Some(b'[') => Layout::Document,
        Some(b'{') => {
            let end = head.iter().position(|b| *b == b'\n').unwrap_or(head.len());
            // An object spread over lines is a document; a whole object on the first line is a row,
            // unless it is the only line and holds the list.
            match serde_json::from_slice::<Value>(&head[..end]) {
                Ok(Value::Object(object))
                    if ROW_LISTS
                        .iter()
                        .any(|name| object.get(*name).is_some_and(Value::is_array)) =>
                {
                    Layout::Document
                }
                Ok(_) => Layout::Lines,
                // An object that goes on: one document in a .json file, a torn row elsewhere.
                Err(e) if e.is_eof() && (json || starts_row_list(head)) => Layout::Document,
                Err(_) => Layout::Lines,
            }
        }
        _ => Layout::Lines,
    }
}

/// `{"data": [` and the like.
fn starts_row_list(head: &[u8]) -> bool {
    let rest = head[1..].trim_ascii_start();
    ROW_LISTS.iter().any(|name| {
        rest.strip_prefix(format!("\"{name}\"").as_bytes())
            .and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"))
            .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"["))
    })
}

/// Fields in which a document keeps its rows, in order of preference.
pub(crate) const ROW_LISTS: [&str; 5] = ["data", "train", "rows", "examples", "instances"];

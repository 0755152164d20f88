//! Preference files: JSON lines and JSON, in the schemas people publish.
//!
//! A bad row is skipped and reported; a file without one usable row is an error that quotes the
//! first reasons. JSON lines are read line by line.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::{Layout, ROW_LISTS, layout, refuse_other_formats};
use super::pair::{PreferencePair, Skipped};
use super::row::{Fault, FaultKind, clip, pair_from_row};

/// How a row spells its prompt and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// `prompt`, `chosen`, `rejected` as text.
    Plain,
    /// The prompt, the answers or both as message lists.
    Conversational,
    /// `chosen` and `rejected` as text that begins alike; that beginning is the prompt.
    ImpliedPlain,
    /// `chosen` and `rejected` as conversations that begin alike.
    ImpliedConversational,
    /// Anthropic HH-RLHF: whole dialogues with `Human:` and `Assistant:` turns as text.
    HhRlhf,
    /// `instruction`, `input`, `chosen`, `rejected`.
    Alpaca,
    /// `conversations` with `from` and `value`, as LLaMA-Factory writes them.
    ShareGpt,
    /// `prompt_input_ids`, `chosen_input_ids`, `rejected_input_ids`.
    PreTokenised,
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Schema::Plain => "prompt, chosen and rejected as text",
            Schema::Conversational => "prompt, chosen and rejected as messages",
            Schema::ImpliedPlain => {
                "chosen and rejected as text, prompt implied by their common beginning"
            }
            Schema::ImpliedConversational => {
                "chosen and rejected as conversations, prompt implied by their common beginning"
            }
            Schema::HhRlhf => "HH-RLHF dialogues (Human: / Assistant:)",
            Schema::Alpaca => "Alpaca (instruction, input, chosen, rejected)",
            Schema::ShareGpt => "ShareGPT conversations with chosen and rejected",
            Schema::PreTokenised => {
                "token ids (prompt_input_ids, chosen_input_ids, rejected_input_ids)"
            }
        })
    }
}

/// What a preference file holds.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub path: PathBuf,
    /// The schema of most rows.
    pub schema: Schema,
    /// Every column name, in the order of first appearance.
    pub columns: Vec<String>,
    /// Rows in the file, bad ones included; blank lines are no rows.
    pub rows: usize,
    pub pairs: Vec<PreferencePair>,
    pub skipped: Vec<Skipped>,
}

/// Why a file gave no data at all.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is a folder; give the .jsonl or .json file itself{}", path.display(), list_candidates(candidates))]
    Directory { path: PathBuf, candidates: Vec<String> },
    #[error("{} is empty; give a file with one JSON object a line", path.display())]
    Empty { path: PathBuf },
    #[error("{} is {what}; {remedy}", path.display())]
    Format { path: PathBuf, what: &'static str, remedy: &'static str },
    #[error(
        "{} is not valid JSON at line {line}, column {column}: {reason}; after {rows_before} whole rows. \
         The file may be cut off: fetch it again, or repair that line", path.display()
    )]
    Syntax { path: PathBuf, line: usize, column: usize, rows_before: usize, reason: String },
    #[error(
        "{} is not JSON (line {line}: {reason}); give JSON lines (one object a line) or a JSON list of objects",
        path.display()
    )]
    NotJson { path: PathBuf, line: usize, reason: String },
    #[error(
        "{} is one JSON object without a list of rows; put the rows into a list, or into its `data` or `train` field",
        path.display()
    )]
    NoRowList { path: PathBuf },
    #[error(
        "{} is an unpaired (KTO) file: each of its {rows} rows has one answer with a label, and DPO and DPOP need a \
         chosen and a rejected answer to the same prompt. Pair the liked and the disliked answers of each prompt into \
         `chosen` and `rejected`, or use a preference file", path.display()
    )]
    Unpaired { path: PathBuf, rows: usize },
    #[error(
        "{} holds single answers, not preferences: none of its {rows} rows has `chosen` and `rejected`. Add a worse \
         answer to each row as `rejected` and name the good one `chosen`, or use a preference file", path.display()
    )]
    SingleAnswers { path: PathBuf, rows: usize },
    #[error("none of the {rows} rows of {} can be used. First reasons:\n{reasons}\nRepair the rows or choose another file", path.display())]
    NoUsableRows { path: PathBuf, rows: usize, reasons: String },
}

fn list_candidates(candidates: &[String]) -> String {
    if candidates.is_empty() {
        String::new()
    } else {
        format!(", such as {}", candidates.join(" or "))
    }
}

/// Bytes from which the layout is recognised.
pub(super) const HEAD: usize = 1 << 20;

/// Reads a preference file. Rows that cannot be used are in `Dataset::skipped`.
pub fn load(path: &Path) -> Result<Dataset, DataError> {
    let read = |source| DataError::Read { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(DataError::Directory { path: path.to_owned(), candidates: candidates(path) });
    }
    let file = File::open(path).map_err(read)?;
    let mut reader = BufReader::with_capacity(HEAD, file);
    let head = reader.fill_buf().map_err(read)?;
    refuse_other_formats(path, head)?;
    let bom = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let json = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("json"));
    let layout = layout(head.get(bom..).unwrap_or_default(), json);
    reader.consume(bom);
    let mut rows = Rows::default();
    match layout {
        Layout::Lines => read_lines(&mut reader, &mut rows).map_err(read)?,
        Layout::Document => {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map_err(read)?;
            read_document(path, &bytes, &mut rows)?;
        }
    }
    rows.finish(path)
}

/// Preference files in a folder, to name them in the complaint.
fn candidates(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".jsonl") || name.ends_with(".json"))
        .collect();
    names.sort();
    names.truncate(3);
    names
}

/// Rows as they come in.
#[derive(Default)]
struct Rows {
    count: usize,
    columns: Vec<String>,
    seen: HashSet<String>,
    schemas: BTreeMap<Schema, usize>,
    pairs: Vec<PreferencePair>,
    skipped: Vec<Skipped>,
    /// Skipped rows by kind of fault.
    unpaired: usize,
    single: usize,
    syntax: usize,
}

impl Rows {
    fn push(&mut self, line: Option<usize>, value: Result<Value, Fault>) {
        let row = self.count;
        self.count += 1;
        let result = value.and_then(|value| {
            if let Value::Object(object) = &value {
                for name in object.keys() {
                    if !self.seen.contains(name) {
                        self.seen.insert(name.clone());
                        self.columns.push(name.clone());
                    }
                }
            }
            pair_from_row(row, &value)
        });
        match result {
            Ok((schema, pair)) => {
                *self.schemas.entry(schema).or_default() += 1;
                self.pairs.push(pair);
            }
            Err(Fault { field, reason, kind }) => {
                match kind {
                    FaultKind::Unpaired => self.unpaired += 1,
                    FaultKind::SingleAnswer => self.single += 1,
                    FaultKind::Syntax => self.syntax += 1,
                    FaultKind::Row => {}
                }
                self.skipped.push(Skipped { row, line, field, reason });
            }
        }
    }

    fn finish(self, path: &Path) -> Result<Dataset, DataError> {
        let path = path.to_owned();
        let Some((schema, _)) = self.schemas.iter().max_by_key(|(_, count)| **count) else {
            return Err(self.no_usable_rows(path));
        };
        Ok(Dataset {
            path,
            schema: *schema,
            columns: self.columns,
            rows: self.count,
            pairs: self.pairs,
            skipped: self.skipped,
        })
    }

    fn no_usable_rows(self, path: PathBuf) -> DataError {
        let rows = self.count;
        let Some(first) = self.skipped.first() else {
            return DataError::Empty { path };
        };
        if self.syntax * 2 > rows {
            return DataError::NotJson {
                path,
                line: first.line.unwrap_or(1),
                reason: first.reason.clone(),
            };
        }
        if self.unpaired * 2 > rows {
            return DataError::Unpaired { path, rows };
        }
        if self.single * 2 > rows {
            return DataError::SingleAnswers { path, rows };
        }
        let reasons: Vec<String> = self.skipped.iter().take(3).map(|s| format!("  {s}")).collect();
        DataError::NoUsableRows { path, rows, reasons: reasons.join("\n") }
    }
}

fn read_lines(reader: &mut impl BufRead, rows: &mut Rows) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut line = 0;
    loop {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer)? == 0 {
            return Ok(());
        }
        line += 1;
        let text = buffer.trim_ascii();
        if !text.is_empty() {
            let whole = buffer.ends_with(b"\n");
            rows.push(Some(line), parse_line(text, whole));
        }
    }
}

fn parse_line(text: &[u8], whole: bool) -> Result<Value, Fault> {
    let text = std::str::from_utf8(text).map_err(|e| {
        Fault::whole(
            FaultKind::Syntax,
            format!("is not UTF-8 text at byte {}; save the file as UTF-8", e.valid_up_to() + 1),
        )
    })?;
    serde_json::from_str(text).map_err(|e| {
        let reason = if e.is_eof() {
            let end = if whole { "" } else { ", the last of the file" };
            format!(
                "this line{end} is cut off after {} characters; complete or remove it",
                text.chars().count()
            )
        } else {
            format!(
                "is not JSON at column {} ({}): {}; repair or remove the line",
                e.column(),
                message_of(&e),
                clip(text, 40)
            )
        };
        Fault::whole(FaultKind::Syntax, reason)
    })
}

/// serde_json's message without its position, which is given separately.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn read_document(path: &Path, bytes: &[u8], rows: &mut Rows) -> Result<(), DataError> {
    let path = path.to_owned();
    if let Err(e) = std::str::from_utf8(bytes) {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        return Err(DataError::NotJson {
            path,
            line,
            reason: "is not UTF-8 text; save the file as UTF-8".into(),
        });
    }
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    let list = bytes.get(start) == Some(&b'[');
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let result = if list {
        json.deserialize_seq(RowList(rows)).map(|()| true)
    } else {
        json.deserialize_map(Container(rows))
    };
    let found = match result.and_then(|found| json.end().map(|()| found)) {
        Ok(found) => found,
        // The list of rows is no list.
        Err(e) if e.is_data() => false,
        Err(e) => {
            let (line, column, reason) = (e.line(), e.column(), message_of(&e));
            if rows.count == 0 && !e.is_eof() {
                return Err(DataError::NotJson { path, line, reason });
            }
            return Err(DataError::Syntax { path, line, column, rows_before: rows.count, reason });
        }
    };
    match (found, rows.count) {
        (false, _) => Err(DataError::NoRowList { path }),
        (true, 0) => Err(DataError::Empty { path }),
        (true, _) => Ok(()),
    }
}

/// Turns the elements of a list into rows one by one, without a copy of the whole document.
struct RowList<'a>(&'a mut Rows);

impl<'de> Visitor<'de> for RowList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            self.0.push(None, Ok(unwrap_viewer_row(value)));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for RowList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

/// The dataset viewer's API wraps each row: `{"row_idx": 0, "row": {..}}`.
pub(super) fn unwrap_viewer_row(value: Value) -> Value {
    match value {
        Value::Object(mut object) if object.contains_key("row_idx") => match object.remove("row") {
            Some(row) => row,
            None => Value::Object(object),
        },
        other => other,
    }
}

/// An object with the rows in one of `ROW_LISTS`; true when there was one.
struct Container<'a>(&'a mut Rows);

impl<'de> Visitor<'de> for Container<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        let mut row = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if !found && ROW_LISTS.contains(&key.as_str()) {
                map.next_value_seed(RowList(self.0))?;
                found = true;
            } else if found {
                map.next_value::<IgnoredAny>()?;
            } else {
                row.insert(key, map.next_value()?);
            }
        }
        // One row written over several lines.
        if !found && row.contains_key("chosen") {
            self.0.push(None, Ok(Value::Object(row)));
            found = true;
        }
        Ok(found)
    }
}

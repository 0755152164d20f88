//! `events.jsonl`: everything a run reported, one JSON object a line, append-only. Charts are a view of it.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::durable::FileError;
use crate::train::event::Event;

pub const FILE: &str = "events.jsonl";

/// How much of the file's end holds its last line for sure: a probe with pairs is some 10 KB.
const TAIL_BYTES: u64 = 1 << 20;

/// The log of one run, open for appending.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
}

impl EventLog {
    /// Starts the log of a new run.
    pub fn create(run: &Path) -> Result<EventLog, FileError> {
        let path = run.join(FILE);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| FileError::new("make", &path, error))?;
        Ok(EventLog { file, path })
    }

    /// Opens the log of a run that goes on after `step` updates: a torn end is cut, and so is everything
    /// from the first event of a later step on, so that the charts do not fork. A run that goes on before its
    /// first update measures again, so its log begins anew. A missing file is made.
    pub fn resume(run: &Path, step: usize) -> Result<EventLog, FileError> {
        let path = run.join(FILE);
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let keep = if step == 0 { 0 } else { length_up_to(&mut file, step)? };
            if keep < file.metadata()?.len() {
                file.set_len(keep)?;
                file.sync_all()?;
            }
            Ok(file)
        };
        let file = open().map_err(|error| FileError::new("open", &path, error))?;
        Ok(EventLog { file, path })
    }

    /// Appends one event with a single write. Heartbeats are not history and are left out.
    pub fn append(&mut self, event: &Event) -> Result<(), FileError> {
        if matches!(event, Event::Heartbeat { .. }) {
            return Ok(());
        }
        self.file
            .write_all(line(event).as_bytes())
            .map_err(|error| FileError::new("write", &self.path, error))
    }

    /// Makes what was appended durable; called at checkpoints.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(|error| FileError::new("sync", &self.path, error))
    }
}

/// One event as a line of JSON, newline included.
///
/// JSON knows no NaN and no infinity, and readers expect numbers: a metric that is not finite is left out.
pub fn line(event: &Event) -> String {
    let mut text = match serde_json::to_string(finite(event).as_ref()) {
        Ok(text) => text,
        // Only a path that is not Unicode can get here; the message carries it in readable form.
        Err(error) => serde_json::json!({
            "event": "warning",
            "message": format!("an event could not be written ({error}): {event:?}"),
        })
        .to_string(),
    };
    text.push('\n');
    text
}

fn finite(event: &Event) -> Cow<'_, Event> {
    let mut event = Cow::Borrowed(event);
    let (Event::Step { arms, .. } | Event::Probe { arms, .. }) = event.as_ref() else {
        return event;
    };
    let broken = arms.values().flat_map(|metrics| metrics.values()).any(|value| !value.is_finite());
    if broken && let Event::Step { arms, .. } | Event::Probe { arms, .. } = event.to_mut() {
        arms.values_mut().for_each(|metrics| metrics.retain(|_, value| value.is_finite()));
    }
    let is_finite = |pair: &crate::train::event::ProbePair| {
        [pair.chosen, pair.rejected, pair.ref_chosen, pair.ref_rejected]
            .iter()
            .all(|sum| sum.is_finite())
    };
    let broken = matches!(event.as_ref(), Event::Probe { pairs, .. } if !pairs.values().flatten().all(is_finite));
    if broken && let Event::Probe { pairs, .. } = event.to_mut() {
        pairs.values_mut().for_each(|pairs| pairs.retain(is_finite));
    }
    event
}

/// All events of a run folder's log, in order. Lines of unknown kinds (a newer version's) and torn lines are
/// passed over; a run without a log has no events.
pub fn read(run: &Path) -> Result<Vec<Event>, FileError> {
    let path = run.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("read", &path, error)),
    };
    let mut reader = BufReader::new(file);
    let mut events = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = reader
            .read_until(b'\n', &mut bytes)
            .map_err(|error| FileError::new("read", &path, error))?;
        if read == 0 {
            return Ok(events);
        }
        events.extend(parse(&bytes));
    }
}

/// One line as an event; `None` if it is torn or of an unknown kind.
pub fn parse(line: &[u8]) -> Option<Event> {
    serde_json::from_slice(line).ok()
}

/// The last event of a kind this version knows, read from the end of the file alone.
pub fn last(run: &Path) -> Option<Event> {
    let mut file = File::open(run.join(FILE)).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    tail.split(|byte| *byte == b'\n').rev().find_map(parse)
}

/// The update an event belongs to, for events that belong to one.
fn step_of(event: &Value) -> Option<u64> {
    event.get("step").and_then(Value::as_u64)
}

/// Bytes up to the end of the last whole line before the first event of a later step. A damaged line in the
/// middle stays (readers pass it over); a torn end goes.
fn length_up_to(file: &mut File, step: usize) -> std::io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let mut position = 0;
    let mut keep = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes)?;
        position += read as u64;
        if read == 0 || bytes.last() != Some(&b'\n') {
            return Ok(keep);
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(event) if step_of(&event).is_none_or(|at| at <= step as u64) => keep = position,
            Ok(_) => return Ok(keep),
            Err(_) => {}
        }
    }
}

/// Size of the log in bytes; 0 when there is none.
pub fn size(run: &Path) -> u64 {
    fs::metadata(run.join(FILE)).map_or(0, |metadata| metadata.len())
}

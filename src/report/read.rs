//! Reads a run's events straight into series. A log of 100,000 steps holds over 100 MB; making an `Event` of every
//! line would take most of the time, so lines of steps are read without one.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::run_view::{Pace, RunView};
use super::series::{Source, Store};
use crate::run::durable::FileError;
use crate::run::events;

/// What of a log is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    Nothing,
    /// Lines of single steps: what is left says how the run ended.
    Steps,
}

/// How a step's line begins, as `run::events` writes it.
const STEP_LINE: &[u8] = br#"{"event":"step","#;

/// The run in `folder` as its log tells it. Lines of unknown kinds and torn lines are passed over; a run without a log
/// has no events.
pub fn read(folder: &Path, skip: Skip) -> Result<RunView, FileError> {
    let path = folder.join(events::FILE);
    let failed = |error| FileError::new("read", &path, error);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(RunView::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut steps = StepReader::default();
    let mut view = RunView::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            view.ended();
            return Ok(view);
        }
        let of_a_step = line.starts_with(STEP_LINE) && line.ends_with(b"}\n");
        if of_a_step && (skip == Skip::Steps || steps.read(&line, &mut view)) {
            continue;
        }
        if let Some(event) = events::parse(&line) {
            view.apply(event);
        }
    }
}

/// A key, borrowed from its line.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads lines of steps. One line has the metrics of the last in the same order, so each finds its series at the place
/// where the last line's metric found it.
#[derive(Default)]
struct StepReader {
    /// For each arm its name and the columns of its metrics, in the order of the line.
    arms: Vec<(String, Vec<usize>)>,
}

impl StepReader {
    /// Whether the line could be read.
    fn read(&mut self, line: &[u8], view: &mut RunView) -> bool {
        let mut json = serde_json::Deserializer::from_slice(line);
        let seed = StepSeed { reader: self, store: &mut view.store };
        let Ok(Some((step, pace))) = seed.deserialize(&mut json) else { return false };
        view.stepped(step, pace);
        for (arm, _) in &self.arms {
            view.derive(Source::Step, arm, step);
        }
        true
    }
}

struct StepSeed<'a> {
    reader: &'a mut StepReader,
    store: &'a mut Store,
}

impl<'de> DeserializeSeed<'de> for StepSeed<'_> {
    type Value = Option<(usize, Pace)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for StepSeed<'_> {
    type Value = Option<(usize, Pace)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut step = None;
        let mut pace = Pace::default();
        while let Some(key) = map.next_key::<Name<'de>>()? {
            match key.0.as_ref() {
                "step" => step = Some(map.next_value()?),
                "epoch" => pace.epoch = map.next_value()?,
                "elapsed" => pace.elapsed = map.next_value()?,
                "tokens_per_second" => pace.tokens_per_second = map.next_value()?,
                "memory_bytes" => pace.memory_bytes = map.next_value()?,
                "arms" => {
                    // Metrics in front of their step: left to the slow way.
                    let Some(step) = step else { return Ok(None) };
                    let arms = &mut self.reader.arms;
                    map.next_value_seed(ArmsSeed { arms, store: &mut *self.store, step })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(step.map(|step| (step, pace)))
    }
}

struct ArmsSeed<'a> {
    arms: &'a mut Vec<(String, Vec<usize>)>,
    store: &'a mut Store,
    step: usize,
}

impl<'de> DeserializeSeed<'de> for ArmsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ArmsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics by arm")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(arm) = map.next_key::<Name<'de>>()? {
            if self.arms.get(place).is_none_or(|(known, _)| known != arm.0.as_ref()) {
                self.arms.truncate(place);
                self.arms.push((arm.0.into_owned(), Vec::new()));
            }
            let (arm, columns) = &mut self.arms[place];
            map.next_value_seed(MetricsSeed { arm, columns, store: self.store, step: self.step })?;
            place += 1;
        }
        Ok(())
    }
}

struct MetricsSeed<'a> {
    arm: &'a str,
    columns: &'a mut Vec<usize>,
    store: &'a mut Store,
    step: usize,
}

impl<'de> DeserializeSeed<'de> for MetricsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MetricsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by metric")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(metric) = map.next_key::<Name<'de>>()? {
            let value: f64 = map.next_value()?;
            let known = self.columns.get(place).copied();
            let column = match known.filter(|&column| self.store.metric(column) == metric.0) {
                Some(column) => column,
                None => {
                    let column = self.store.column(Source::Step, self.arm, &metric.0);
                    self.columns.truncate(place);
                    self.columns.push(column);
                    column
                }
            };
            self.store.push_at(column, self.step, value);
            place += 1;
        }
        Ok(())
    }
}

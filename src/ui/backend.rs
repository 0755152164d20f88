//! Everything the window takes from the layers below, in the window's own shapes and with errors as sentences.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::WeightPlace;
use crate::data::analysis::DiffKind;
use crate::data::inspect::{self as inspection, InspectReport, TokenReport};
use crate::data::pair::Skipped;
use crate::insight::forecast::Forecast;
use crate::model::checkpoint::ModelSummary as Summary;
use crate::model::generate::Finish;
use crate::report::{self, Skip};
use crate::run::folder::{self, RunStatus, RunSummary};
use crate::train::event::{Command, Event, REFERENCE, SampleText};
use crate::worker::client::WorkerHandle;
use crate::worker::plan::{Plan, bytes_text};
use crate::worker::writer::{Texts, Written};

use super::drop::is_model;
use super::form::in_labels;
use super::state::{Asked, Opened, labelled_notes};
use super::summaries::{
    DataReport, MemoryLine, ModelSummary, Piece, PreviewPair, RunRow, SkippedRows,
};
use super::trainer::{Job, Trainer};
use crate::report::format;
use crate::report::series::Source;

/// Where the window finds and keeps things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The unpacked demo.
    pub demo: PathBuf,
    /// New runs, and those that Runs lists.
    pub runs: PathBuf,
    /// What the window remembers.
    pub memory: PathBuf,
    /// This program, for work in processes of its own.
    pub program: PathBuf,
}

impl Folders {
    /// In the platform's folder for application data; the program is the one that runs.
    pub fn usual() -> Result<Self, String> {
        let runs = folder::default_root().map_err(|error| error.to_string())?;
        let data = directories::ProjectDirs::from("", "", "dpop-studio")
            .map(|dirs| dirs.data_dir().to_owned());
        let data = data.or_else(|| Some(runs.parent()?.to_owned())).unwrap_or_default();
        let program = std::env::current_exe()
            .map_err(|error| format!("the program cannot find itself: {error}."))?;
        Ok(Self { demo: data.join("demo"), memory: data.join("window.json"), runs, program })
    }
}

/// Reads a preference file; with a usable model also its lengths in tokens.
pub fn inspect(data: &Path, model: Option<&Path>, max_length: usize) -> Result<DataReport, String> {
    let model = model.filter(|path| is_model(path));
    let report = match inspection::inspect(data, model, max_length) {
        Ok(report) => report,
        // A model without a readable tokenizer is the Model card's complaint; the pairs can still be shown.
        Err(inspection::InspectError::Tokenizer(_)) => {
            inspection::inspect(data, None, max_length).map_err(|error| error.to_string())?
        }
        Err(error) => return Err(error.to_string()),
    };
    Ok(data_report(&report))
}

/// Reasons that the view lists, and places that it names for each.
const LISTED_REASONS: usize = 40;
const NAMED_PLACES: usize = 6;

/// Skipped rows by their reason, in the order of the file.
fn skipped_rows(report: &InspectReport) -> Vec<SkippedRows> {
    let mut groups: Vec<(&Skipped, Vec<usize>)> = Vec::new();
    for skipped in &report.skipped {
        let place = skipped.line.unwrap_or(skipped.row);
        let same = |(first, _): &(&Skipped, Vec<usize>)| {
            (&first.reason, &first.field) == (&skipped.reason, &skipped.field)
        };
        match groups.iter().position(same) {
            Some(group) => groups[group].1.push(place),
            None if groups.len() < LISTED_REASONS => groups.push((skipped, vec![place])),
            None => {}
        }
    }
    let words = |(first, places): (&Skipped, Vec<usize>)| {
        let kind = if first.line.is_some() { "Line" } else { "Row" };
        let plural = if places.len() > 1 { "s" } else { "" };
        let named: Vec<String> = places.iter().take(NAMED_PLACES).map(usize::to_string).collect();
        let more = match places.len().saturating_sub(NAMED_PLACES) {
            0 => String::new(),
            more => format!(" and {} more", format::count(more as u64)),
        };
        let field = first.field.as_ref().map(|field| format!(", field {field}"));
        SkippedRows {
            count: places.len(),
            places: format!(
                "{kind}{plural} {}{more}{}",
                named.join(", "),
                field.unwrap_or_default()
            ),
            reason: in_labels(&first.reason),
        }
    };
    groups.into_iter().map(words).collect()
}

fn data_report(report: &InspectReport) -> DataReport {
    DataReport {
        path: report.file.clone(),
        rows: report.rows,
        usable: report.usable,
        schema: report.schema_text.clone(),
        columns: report.columns.clone(),
        skipped: skipped_rows(report),
        preview: report.preview.iter().map(preview).collect(),
        figures: figures(report),
    }
}

fn preview(pair: &inspection::PreviewPair) -> PreviewPair {
    let pieces = |side| {
        let answer = pair.answer(side);
        answer.map(|(differs, text)| Piece { text: text.to_owned(), differs }).collect()
    };
    PreviewPair {
        row: pair.row,
        prompt: pair.prompt.clone(),
        chosen: pieces(DiffKind::Chosen),
        rejected: pieces(DiffKind::Rejected),
    }
}

/// The text of one row of a preference file.
pub fn pair(data: &Path, model: Option<&Path>, row: usize) -> Result<PreviewPair, String> {
    let found = inspection::preview_row(data, model, row).map_err(|error| error.to_string())?;
    found.as_ref().map(preview).ok_or_else(|| format!("Row {row} is no usable pair any more."))
}

fn figures(report: &InspectReport) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    if let Some(TokenReport { lengths, normalised_edit_distance, truncated, tokens, .. }) =
        &report.tokens
    {
        let span = |s: &crate::data::analysis::Summary| {
            format!("{:.0} to {:.0}, median {:.0}", s.min, s.max, s.median)
        };
        row("Prompt tokens", span(&lengths.prompt));
        row("Chosen tokens", span(&lengths.chosen));
        row("Rejected tokens", span(&lengths.rejected));
        row(
            "Answers differ",
            format!("{} (median)", format::percent(normalised_edit_distance.median)),
        );
        row("Tokens an epoch", format::count(*tokens as u64));
        if *truncated > 0 {
            row("Cut answers", format::count(*truncated as u64));
        }
    }
    let reversed = report.duplicates.iter().filter(|d| d.reversed).count();
    let repeated = report.duplicates.len() - reversed;
    if repeated > 0 {
        row("Repeated rows", format::count(repeated as u64));
    }
    if reversed > 0 {
        row("Contradictions", format!("{reversed} rows prefer what another rejects"));
    }
    rows
}

/// A model folder in a few words; every fault that training would find is found.
pub fn model_summary(folder: &Path) -> Result<ModelSummary, String> {
    let summary = Summary::read(folder).map_err(|error| error.to_string())?;
    let name = folder
        .file_name()
        .map_or_else(|| summary.architecture.clone(), |n| n.to_string_lossy().into_owned());
    let weights = match summary.dtype.as_str() {
        "F32" | "F16" | "BF16" => format::bytes(summary.bytes),
        packed => format!("{} ({packed})", format::bytes(summary.bytes)),
    };
    let facts = [
        ("Architecture", summary.architecture),
        ("Parameters", format!("{} parameters", format::parameters(summary.parameters))),
        ("Layers", format!("{} layers", summary.layers)),
        ("Weights", weights),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(ModelSummary { path: folder.to_owned(), name, facts })
}

/// Runs under `root`, newest first.
pub fn list_runs(root: &Path) -> Result<Vec<RunRow>, String> {
    let runs = folder::list(root).map_err(|error| error.to_string())?;
    Ok(runs.iter().map(run_row).collect())
}

fn run_row(run: &RunSummary) -> RunRow {
    let mut row = RunRow {
        folder: run.path.clone(),
        name: run.name.clone(),
        title: title(&run.name).to_owned(),
        date: date_of_name(&run.name),
        status: status_word(run.status).to_owned(),
        step: run.step.unwrap_or(0),
        can_resume: !run.checkpoints.is_empty()
            && !matches!(run.status, RunStatus::Running | RunStatus::Finished),
        ..RunRow::default()
    };
    match &run.record {
        Ok(record) => {
            let config = &record.config;
            row.date = date(&record.created);
            row.data = file_name(&config.data);
            row.model = file_name(&config.model);
            let own = match &config.sweep {
                Some(sweep) => format!("{}, {sweep}", config.objective.label()),
                None => config.objective.label().to_owned(),
            };
            row.objective = match config.twin {
                Some(twin) => format!("{own} beside {}", twin.label()),
                None => own,
            };
        }
        Err(_) => row.status = "Damaged".to_owned(),
    }
    add_final_figures(&mut row);
    row
}

/// The last probe's figures of the kept arm, and who collapsed.
fn add_final_figures(row: &mut RunRow) {
    let Ok(view) = report::read(&row.folder, Skip::Steps) else { return };
    row.steps = view.steps;
    if let Some(kept) = view.kept() {
        row.margin = view.last(Source::Probe, &kept.name, "rewards/margins");
        row.chosen_change = view.last(Source::Probe, &kept.name, "change/chosen");
    }
    row.collapsed = view.collapses.iter().map(|c| (c.arm.clone(), c.step)).collect();
}

fn status_word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "Running",
        RunStatus::Finished => "Finished",
        RunStatus::Stopped => "Stopped",
        RunStatus::Failed => "Failed",
        RunStatus::Interrupted => "Interrupted",
    }
}

/// `2026-11-23T10:15:00+01:00` as `2026-11-23 10:15`.
fn date(rfc3339: &str) -> String {
    rfc3339.chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// `2026-11-23T10-15-00-pairs` without its time.
fn title(name: &str) -> &str {
    match time_of_name(name) {
        Some(time) => name.get(time.len() + 1..).filter(|rest| !rest.is_empty()).unwrap_or(name),
        None => name,
    }
}

/// The leading `2026-11-23T10-15-00` of a folder's name.
fn time_of_name(name: &str) -> Option<&str> {
    let time = name.get(..19)?;
    let pattern = |(index, c): (usize, char)| match index {
        4 | 7 | 13 | 16 => c == '-',
        10 => c == 'T',
        _ => c.is_ascii_digit(),
    };
    time.char_indices().all(pattern).then_some(time)
}

fn date_of_name(name: &str) -> String {
    let Some(time) = time_of_name(name) else { return String::new() };
    let (day, clock) = time.split_at(10);
    format!("{day} {}", clock.get(1..6).unwrap_or_default().replace('-', ":"))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A run as its folder tells it.
pub fn open_run(path: &Path) -> Result<Opened, String> {
    let record = folder::read_record(path);
    let mut view = report::read(path, Skip::Nothing).map_err(|error| error.to_string())?;
    if view.arms.is_empty() && view.store.is_empty() {
        // Without events only the record could be shown; if that is damaged too, its error is the message.
        record.as_ref().map_err(ToString::to_string)?;
    }
    view.folder = Some(path.to_owned());
    if folder::in_use(path) {
        view.status = crate::report::run_view::Status::Running;
    }
    let config = record.map(|record| record.config).ok();
    let settings = config.as_ref().map(report::settings).unwrap_or_default();
    let notes = labelled_notes(&view, config.as_ref());
    Ok(Opened { folder: path.to_owned(), view, settings, notes })
}

/// Removes a run folder. Only what looks like a run is removed, and never one that trains.
pub fn delete_run(path: &Path) -> Result<(), String> {
    if !folder::is_run(path) {
        return Err(format!("{} does not look like a run, so it was left alone.", path.display()));
    }
    if folder::in_use(path) {
        return Err("It is still training. Stop it first.".to_owned());
    }
    fs::remove_dir_all(path)
        .map_err(|error| format!("{} could not be removed: {error}.", path.display()))
}

/// An empty folder for a new run under `root`.
pub fn new_run_folder(root: &Path, data: &Path) -> Result<PathBuf, String> {
    folder::new_run_path(root, data).map_err(|error| error.to_string())
}

/// The forecast that `inspect --forecast --json` printed.
pub fn forecast(said: &[u8]) -> Result<Forecast, String> {
    #[derive(Deserialize)]
    struct Printed {
        forecast: Forecast,
    }
    let printed: Result<Printed, _> = serde_json::from_slice(said);
    printed
        .map(|printed| printed.forecast)
        .map_err(|error| format!("The forecast cannot be read: {error}."))
}

/// What `plan --json` printed, in a line.
pub fn memory_line(said: &[u8]) -> Option<MemoryLine> {
    let plan: Plan = serde_json::from_slice(said).ok()?;
    let parts = plan.forecast;
    let rows = [
        ("weights", parts.weights),
        ("adapters", parts.adapters),
        ("optimizer", parts.optimizer),
        ("activations", parts.activations),
        ("logits", parts.logits),
        ("workspace", parts.workspace),
    ];
    let rows = rows.map(|(name, bytes)| format!("{name}: {}", bytes_text(bytes)));
    let limit = plan.limit.as_ref().map(|limit| format!(" of {}", bytes_text(limit.bytes)));
    let streamed = if plan.weights == WeightPlace::Stream { ", base streamed" } else { "" };
    let recompute = if plan.recompute { ", blocks recomputed" } else { "" };
    Some(MemoryLine {
        text: format!(
            "Needs about {}{}{streamed}{recompute}",
            bytes_text(plan.total),
            limit.unwrap_or_default()
        ),
        parts: rows.join("\n"),
        refusal: plan.refusal().as_deref().map(in_labels),
    })
}

/// What `generate --json` printed in answer to a person's own prompt.
pub fn answers(said: &[u8], prompt: String) -> Result<Asked, String> {
    let told: Texts = serde_json::from_slice(said)
        .map_err(|error| format!("The answer cannot be read: {error}."))?;
    let text = |written: Written| {
        let ended = written.finish == Finish::End;
        (written.arm, SampleText { text: written.text, ended })
    };
    let mut arms: BTreeMap<String, SampleText> = told.texts.into_iter().map(text).collect();
    Ok(Asked {
        prompt,
        step: told.step.unwrap_or_default(),
        reference: arms.remove(REFERENCE),
        arms,
    })
}

/// Starts this program again as a worker.
pub fn launch(job: &Job, wake: Box<dyn Fn() + Send + Sync>) -> Result<Box<dyn Trainer>, String> {
    let exe = std::env::current_exe()
        .map_err(|error| format!("the program cannot find itself: {error}."))?;
    let handle =
        WorkerHandle::spawn(&exe, &job.args, &job.run, wake).map_err(|error| error.to_string())?;
    Ok(Box::new(handle))
}

impl Trainer for WorkerHandle {
    fn try_events(&mut self) -> Vec<Event> {
        WorkerHandle::try_events(self)
    }

    fn send(&mut self, command: Command) -> Result<(), String> {
        WorkerHandle::send(self, command).map_err(|error| error.to_string())
    }

    fn log_tail(&self) -> Vec<String> {
        WorkerHandle::log_tail(self)
    }

    fn silent_for(&self) -> f64 {
        self.heartbeat_age().as_secs_f64()
    }

    fn phase(&self) -> String {
        WorkerHandle::phase(self)
    }

    fn has_ended(&self) -> bool {
        WorkerHandle::has_ended(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_runs_split_into_time_and_title() {
        assert_eq!(title("2026-11-23T10-15-00-my-pairs"), "my-pairs");
        assert_eq!(date_of_name("2026-11-23T10-15-00-my-pairs"), "2026-11-23 10:15");
        assert_eq!((title("żółw"), date_of_name("żółw")), ("żółw", String::new()));
        assert_eq!(title("2026-11-23T10-15-00"), "2026-11-23T10-15-00");
    }
}

//! All that the window shows, as plain data: no egui, no threads, no files.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{RunConfig, arm_title};
use crate::report::charts::Scale;
use crate::report::notes::{Note, notes};
use crate::report::ruler::Axis;
use crate::report::run_view::{RunView, Status};
use crate::train::event::{Event, SampleText};

use super::demo::Demo;
use super::drop::Dropped;
use super::foresight::Foresight;
use super::form::{Form, in_labels};
use super::memory::Memory;
use super::probe::ProbeView;
use super::summaries::{DataReport, MemoryLine, ModelSummary, RunRow};

/// The four places of the left rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Place {
    #[default]
    Train,
    Data,
    Inspect,
    Runs,
}

impl Place {
    pub const ALL: [Place; 4] = [Place::Train, Place::Data, Place::Inspect, Place::Runs];

    pub fn label(self) -> &'static str {
        match self {
            Place::Train => "Train",
            Place::Data => "Data",
            Place::Inspect => "Inspect",
            Place::Runs => "Runs",
        }
    }
}

/// Something read in the background.
#[derive(Clone, Debug, Default)]
pub enum Loaded<T> {
    #[default]
    Nothing,
    Loading,
    Ready(Arc<T>),
    Failed(String),
}

impl<T> Loaded<T> {
    pub fn ready(&self) -> Option<&Arc<T>> {
        match self {
            Loaded::Ready(value) => Some(value),
            _ => None,
        }
    }
}

/// What a file dialog, or the path field in its stead, is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Data,
    EvalData,
    Model,
    /// A model that is one file.
    ModelFile,
    Adapter,
    Run,
}

impl Wanted {
    pub fn title(self) -> &'static str {
        match self {
            Wanted::Data => "Open a preference file",
            Wanted::EvalData => "Open a held-out preference file",
            Wanted::Model => "Open a model folder",
            Wanted::ModelFile => "Open a GGUF model file",
            Wanted::Adapter => "Open an adapter folder",
            Wanted::Run => "Open a run folder",
        }
    }

    /// What the files are called, and how their names end; `None` for a folder.
    pub fn files(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Wanted::Data | Wanted::EvalData => {
                Some(("Preference pairs", &["jsonl", "json", "ndjson"]))
            }
            Wanted::ModelFile => Some(("GGUF models", &["gguf"])),
            Wanted::Model | Wanted::Adapter | Wanted::Run => None,
        }
    }
}

/// A question or message in front of the window.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialog {
    /// A file arrived while a run is on.
    ReplaceDuringRun(Dropped),
    CloseDuringRun,
    DeleteRun(PathBuf),
    /// All short messages.
    Messages,
    /// Settings are to be saved: under which name?
    NameSettings {
        text: String,
    },
    /// No file dialog on this machine: type the path.
    TypePath {
        wanted: Wanted,
        text: String,
        error: Option<String>,
    },
    Message {
        title: String,
        text: String,
    },
}

/// A short message in the corner.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub text: String,
    /// What stands behind it, for the list of messages; often nothing.
    pub details: String,
    pub bad: bool,
    /// Seconds since the program began.
    pub since: f64,
}

/// Column of the table of probe pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PairColumn {
    #[default]
    Row,
    FirstDifference,
    Edits,
    Chosen,
    Rejected,
    Margin,
    Penalty,
    Since,
    Ches,
    WrongWay,
    Heading,
}

/// A person's own prompt, and what the base model and every arm answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub prompt: String,
    /// Updates made by the arms.
    pub step: usize,
    pub reference: Option<SampleText>,
    pub arms: BTreeMap<String, SampleText>,
}

/// What Inspect shows of a run.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// The run opened in Runs, not the window's own.
    pub opened: bool,
    /// Answers instead of pairs.
    pub answers: bool,
    /// The prompt that a person writes.
    pub question: String,
    pub asked: Loaded<Asked>,
    /// The probe after so many updates; `None` for the newest.
    pub step: Option<usize>,
    /// Number of the arm whose pairs are listed.
    pub arm: usize,
    pub sort: (PairColumn, bool),
    /// Words that a pair must hold.
    pub filter: String,
    pub penalty_only: bool,
    /// Number of the pair whose tokens are shown.
    pub pair: usize,
}

/// A run opened from its folder.
#[derive(Clone, Debug)]
pub struct Opened {
    pub folder: PathBuf,
    pub view: RunView,
    /// What its `run.json` says, as rows of a table.
    pub settings: Vec<(String, String)>,
    pub notes: Vec<Note>,
}

/// Runs side by side.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// In the order in which they were chosen.
    pub runs: Vec<(PathBuf, Loaded<Opened>)>,
    /// Arms that are not drawn, by run and name.
    pub hidden: HashSet<(PathBuf, String)>,
}

impl Comparison {
    pub fn holds(&self, folder: &Path) -> bool {
        self.runs.iter().any(|(own, _)| own == folder)
    }

    /// The runs that were read.
    pub fn opened(&self) -> Vec<(&Path, &Arc<Opened>)> {
        self.runs.iter().filter_map(|(folder, run)| Some((&**folder, run.ready()?))).collect()
    }

    /// There is something to compare.
    pub fn is_on(&self) -> bool {
        self.runs.len() > 1
    }
}

/// Everything the window shows.
#[derive(Debug, Default)]
pub struct State {
    pub place: Place,
    pub form: Form,
    /// Where the bundled demo was unpacked.
    pub demo: Option<Demo>,
    /// The run of this window: live, or the last one.
    pub run: RunView,
    /// What it was started with, where that is known.
    pub config: Option<RunConfig>,
    /// Forecasts, advice and warnings on it.
    pub notes: Vec<Note>,
    pub memory: Memory,
    pub log_tail: Vec<String>,
    /// Seconds since the worker was last heard of.
    pub silent_for: f64,
    /// A stop was asked for and is not yet confirmed.
    pub stopping: bool,
    pub data: Loaded<DataReport>,
    pub model: Loaded<ModelSummary>,
    /// The pairs under the model, before training.
    pub foresight: Foresight,
    /// What a run with the form's settings would need; `None` while that is not known.
    pub memory_need: Option<MemoryLine>,
    pub runs: Loaded<Vec<RunRow>>,
    pub opened: Loaded<Opened>,
    pub selected_run: Option<PathBuf>,
    pub compare: Comparison,
    pub scale: Scale,
    pub axis: Axis,
    /// Draw the main charts' moving averages.
    pub smooth: bool,
    /// Place on the x axis under the pointer, shared by all charts.
    pub hover: Option<f64>,
    pub inspect: Inspection,
    /// `Nothing`: the run has no records of single tokens.
    pub probe: Loaded<ProbeView>,
    pub dialog: Option<Dialog>,
    pub notices: Vec<Notice>,
    /// Text of the palette while it is open.
    pub palette: Option<String>,
    pub more_settings: bool,
    pub dismissed_collapse: bool,
    /// The stop at which the tour is.
    pub tour: Option<usize>,
    /// Every short message since the start, oldest first.
    pub messages: Vec<Notice>,
}

/// Without a sign of life for so long (seconds), the window warns; heartbeats come every second.
pub const SILENT_AFTER: f64 = 5.0;

impl State {
    /// Folds events of the live run in.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        self.silent_for = 0.0;
        let mut said = false;
        for event in events {
            said |= matches!(
                event,
                Event::Probe { .. } | Event::Forecast { .. } | Event::Warning { .. }
            );
            self.run.apply(event);
        }
        // Once for all of them: a probe comes with a forecast for every arm.
        if said {
            self.notes = labelled_notes(&self.run, self.config.as_ref());
        }
        if !self.run.status.is_active() {
            self.stopping = false;
        }
    }

    /// A worker was started: the charts begin afresh, or go on where a resumed run stopped.
    pub fn begin(&mut self, resumed: bool) {
        if !resumed {
            self.run = RunView::default();
            self.notes.clear();
        }
        self.run.status = Status::Starting("Starting the trainer".into());
        self.silent_for = 0.0;
        self.stopping = false;
        self.dismissed_collapse = false;
        self.log_tail.clear();
    }

    /// The worker's pipe closed; without an ending among its events that is a failure.
    pub fn worker_gone(&mut self, log_tail: Vec<String>, how: &str) {
        self.log_tail = log_tail;
        self.stopping = false;
        if self.run.status.is_active() {
            self.run.status = Status::Failed {
                message: format!(
                    "The trainer ended without saying why ({how}). Its last words are below; \
                     if memory ran out, start again with fewer pairs per pass or shorter sequences."
                ),
            };
        }
    }

    /// Start would do something.
    pub fn can_start(&self) -> bool {
        !self.run.status.is_active() && self.start_hindrances().is_empty()
    }

    /// The pairs can be put through the model: both are read, and no run needs the device.
    pub fn can_forecast(&self) -> bool {
        let read = self.data.ready().is_some_and(|data| data.usable > 0);
        let idle = !self.run.status.is_active();
        let scoring = matches!(self.foresight.scored, Loaded::Loading);
        read && self.model.ready().is_some() && idle && !scoring
    }

    /// Why Start is off, in sentences.
    pub fn start_hindrances(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self
            .form
            .complaints()
            .iter()
            .map(|c| format!("{}: {}", crate::config::field(c.field).label, c.message))
            .collect();
        if let Loaded::Failed(message) = &self.data {
            reasons.push(format!("Preference file: {message}"));
        }
        if let Loaded::Failed(message) = &self.model {
            reasons.push(format!("Model: {message}"));
        }
        if let Some(report) = self.data.ready()
            && report.usable == 0
        {
            reasons.push("Preference file: no usable pair in it".into());
        }
        // The plan refuses what the trainer would refuse.
        reasons.extend(self.memory_need.as_ref().and_then(|need| need.refusal.clone()));
        reasons
    }

    /// The run whose figures Inspect and the commands speak of: one opened in Runs while that place is
    /// shown, otherwise the window's own.
    pub fn shown_run(&self) -> &RunView {
        let opened =
            self.place == Place::Runs || (self.place == Place::Inspect && self.inspect.opened);
        match &self.opened {
            Loaded::Ready(run) if opened => &run.view,
            _ => &self.run,
        }
    }

    pub fn notify(&mut self, now: f64, text: impl Into<String>, bad: bool) {
        let notice = Notice { text: text.into(), details: String::new(), bad, since: now };
        self.messages.push(notice.clone());
        self.show(notice);
    }

    /// Keeps what the run said among the messages; where its charts are out of sight it is shown as well.
    pub fn hear(&mut self, now: f64, event: &Event) {
        let said = match event {
            Event::Collapse { step, arm, message, .. } => {
                let text = format!("{} collapses at step {step}", arm_title(arm));
                Some((text, message.clone(), true))
            }
            Event::Finished { step, message, .. } => {
                Some((format!("The run ended after {step} steps"), message.clone(), false))
            }
            Event::Failed { message } => Some(("The run failed".to_owned(), message.clone(), true)),
            Event::Warning { message } => Some(("The run warns".to_owned(), message.clone(), true)),
            _ => None,
        };
        if let Some((text, details, bad)) = said {
            let notice = Notice { text, details, bad, since: now };
            self.messages.push(notice.clone());
            if self.place != Place::Train {
                self.show(notice);
            }
        }
    }

    fn show(&mut self, notice: Notice) {
        self.notices.push(notice);
        if self.notices.len() > 4 {
            self.notices.remove(0);
        }
    }
}

/// What is to be said of a run, with options under the labels of their fields.
pub fn labelled_notes(run: &RunView, config: Option<&RunConfig>) -> Vec<Note> {
    let labelled = |note: Note| Note { text: in_labels(&note.text), ..note };
    notes(run, config).into_iter().map(labelled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_off_while_a_field_complains_or_a_run_is_on() {
        let mut state = State::default();
        assert!(!state.can_start(), "no model is chosen yet");
        assert!(state.start_hindrances().iter().any(|r| r.starts_with("Model")));
        state.begin(false);
        assert!(state.run.status.is_active());
        assert!(!state.can_start());
    }

    #[test]
    fn a_worker_that_vanishes_is_a_failure_but_not_after_its_ending() {
        let mut state = State::default();
        state.begin(false);
        state.worker_gone(vec!["killed".into()], "signal 9");
        assert!(
            matches!(&state.run.status, Status::Failed { message } if message.contains("signal 9"))
        );
        assert_eq!(state.log_tail, ["killed"]);

        state.begin(false);
        state.apply([Event::Stopped { step: 3, checkpoint: "c".into() }]);
        state.worker_gone(vec![], "exit code 3");
        assert!(matches!(state.run.status, Status::Stopped { .. }));
    }

    #[test]
    fn resuming_keeps_the_curves() {
        let mut state = State::default();
        state.run.store.push(crate::report::series::Source::Probe, "dpop", "loss", 1, 2.0);
        state.begin(true);
        assert!(!state.run.store.is_empty());
        state.begin(false);
        assert!(state.run.store.is_empty());
    }
}

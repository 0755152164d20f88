//! Work off the window's thread, and the mailbox its results come back through.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use eframe::egui::Context;

use super::backend;
use super::demo::{self, Demo};
use super::errand::{Errand, Trouble};
use super::export::{Export, Parcel};
use super::probe::{self, ProbeSource, ProbeView};
use super::state::{Asked, Opened, Wanted};
use super::summaries::{DataReport, MemoryLine, ModelSummary, PreviewPair, RunRow};
use crate::insight::forecast::Forecast;
use crate::worker::client;

/// New tokens of an answer to a person's own prompt at most.
const ANSWER_TOKENS: &str = "256";

/// A result of background work.
#[derive(Debug)]
pub enum Message {
    /// `ticket` tells whether it is still the file the window wants.
    Data {
        ticket: u64,
        result: Result<DataReport, String>,
    },
    Model {
        ticket: u64,
        result: Result<ModelSummary, String>,
    },
    Plan {
        ticket: u64,
        line: Option<MemoryLine>,
    },
    Runs(Result<Vec<RunRow>, String>),
    Opened {
        folder: PathBuf,
        result: Result<Box<Opened>, String>,
    },
    /// A run to compare.
    Compared {
        folder: PathBuf,
        result: Result<Box<Opened>, String>,
    },
    Deleted {
        folder: PathBuf,
        result: Result<(), String>,
    },
    Demo(Result<Demo, String>),
    Probe {
        ticket: u64,
        result: Result<Option<Box<ProbeView>>, String>,
    },
    /// How far the forecast before training is.
    Scoring {
        ticket: u64,
        progress: String,
    },
    Scored {
        ticket: u64,
        result: Result<Box<Forecast>, String>,
    },
    /// The text of one pair of the data file.
    Pair {
        row: usize,
        result: Result<PreviewPair, String>,
    },
    Asked {
        ticket: u64,
        result: Result<Asked, String>,
    },
    /// Where an export is to be written.
    SaveTo {
        export: Export,
        path: Option<PathBuf>,
        no_dialog: bool,
    },
    Saved {
        path: PathBuf,
        result: Result<(), String>,
    },
    Picked {
        wanted: Wanted,
        path: Option<PathBuf>,
        no_dialog: bool,
    },
}

/// Sends results and wakes the window.
#[derive(Clone)]
pub struct Mailbox {
    sender: Sender<Message>,
    ctx: Context,
}

impl Mailbox {
    pub fn new(ctx: Context) -> (Self, Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, ctx }, receiver)
    }

    pub fn send(&self, message: Message) {
        // The window may be gone already; then nobody wants the result.
        let _ = self.sender.send(message);
        self.ctx.request_repaint();
    }

    /// Runs `work` on a thread of its own and sends what it answers.
    fn spawn(&self, work: impl FnOnce() -> Message + Send + 'static) {
        let mailbox = self.clone();
        thread::spawn(move || mailbox.send(work()));
    }

    pub fn inspect(&self, ticket: u64, data: PathBuf, model: Option<PathBuf>, max_length: usize) {
        self.spawn(move || Message::Data {
            ticket,
            result: backend::inspect(&data, model.as_deref(), max_length),
        });
    }

    pub fn read_model(&self, ticket: u64, folder: PathBuf) {
        self.spawn(move || Message::Model { ticket, result: backend::model_summary(&folder) });
    }

    /// What a run with these options would need, or why it would be refused.
    pub fn plan(&self, ticket: u64, program: &Path, options: &[OsString]) -> Errand {
        let mut command = client::command(program);
        command.arg("plan").args(options).arg("--json");
        let mailbox = self.clone();
        Errand::start(command, String::new(), drop, move |said| {
            let line = match said {
                Ok(said) => backend::memory_line(&said),
                Err(Trouble::Told(reason)) => Some(MemoryLine::refused(&reason)),
                Err(Trouble::Untold(_)) => None,
            };
            mailbox.send(Message::Plan { ticket, line });
        })
    }

    /// The forecast before training, of pairs and model that `options` name as `inspect` takes them.
    pub fn forecast(&self, ticket: u64, program: &Path, options: &[OsString]) -> Errand {
        let mut command = client::command(program);
        command.arg("inspect").args(options).args(["--forecast", "--json"]);
        let (mailbox, teller) = (self.clone(), self.clone());
        let progress = move |line: String| {
            if line.ends_with("scored") {
                teller.send(Message::Scoring { ticket, progress: line });
            }
        };
        Errand::start(command, String::new(), progress, move |said| {
            let said = said.map_err(Trouble::message);
            let result = said.and_then(|said| backend::forecast(&said)).map(Box::new);
            mailbox.send(Message::Scored { ticket, result });
        })
    }

    /// Lets the base model and every arm of a run answer a person's own prompt.
    pub fn ask(&self, ticket: u64, program: &Path, run: &Path, prompt: String) -> Errand {
        let mut command = client::command(program);
        command.args(["generate", "--json", "--max-new-tokens", ANSWER_TOKENS]);
        command.args(["--prompt-file", "-"]).arg("--run").arg(run);
        let mailbox = self.clone();
        // A newline at the end does not count.
        Errand::start(command, format!("{prompt}\n"), drop, move |said| {
            let said = said.map_err(Trouble::message);
            let result = said.and_then(|said| backend::answers(&said, prompt));
            mailbox.send(Message::Asked { ticket, result });
        })
    }

    pub fn list_runs(&self, root: PathBuf) {
        self.spawn(move || Message::Runs(backend::list_runs(&root)));
    }

    pub fn open_run(&self, folder: PathBuf) {
        self.spawn(move || {
            let result = backend::open_run(&folder).map(Box::new);
            Message::Opened { folder, result }
        });
    }

    pub fn compare_run(&self, folder: PathBuf) {
        self.spawn(move || {
            let result = backend::open_run(&folder).map(Box::new);
            Message::Compared { folder, result }
        });
    }

    pub fn delete_run(&self, folder: PathBuf) {
        self.spawn(move || {
            let result = backend::delete_run(&folder);
            Message::Deleted { folder, result }
        });
    }

    pub fn read_probe(
        &self,
        ticket: u64,
        folder: PathBuf,
        step: Option<usize>,
        known: Option<Arc<ProbeSource>>,
    ) {
        self.spawn(move || {
            let result = probe::load(&folder, step, known).map(|view| view.map(Box::new));
            Message::Probe { ticket, result }
        });
    }

    pub fn read_pair(&self, data: PathBuf, model: Option<PathBuf>, row: usize) {
        self.spawn(move || Message::Pair {
            row,
            result: backend::pair(&data, model.as_deref(), row),
        });
    }

    pub fn write(&self, parcel: Parcel, path: PathBuf) {
        self.spawn(move || {
            let result = parcel.write(&path);
            Message::Saved { path, result }
        });
    }

    pub fn unpack_demo(&self, root: PathBuf) {
        self.spawn(move || Message::Demo(demo::unpack(&root)));
    }
}

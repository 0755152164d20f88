//! Work off the window's thread, and the mailbox its results come back through.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use eframe::egui::Context;

use super::backend;
use super::demo::{self, Demo};
use super::export::{Export, Parcel};
use super::probe::{self, ProbeSource, ProbeView};
use super::state::{Asked, Opened, Wanted};
use super::summaries::{DataReport, MemoryLine, ModelSummary, PreviewPair, RunRow};
use crate::insight::forecast::Forecast;

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

    pub fn plan(&self, ticket: u64, program: PathBuf, options: Vec<OsString>) {
        self.spawn(move || Message::Plan { ticket, line: backend::plan(&program, &options) });
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

    pub fn ask(&self, ticket: u64, program: PathBuf, run: PathBuf, prompt: String) {
        self.spawn(move || Message::Asked {
            ticket,
            result: backend::ask(&program, &run, &prompt),
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

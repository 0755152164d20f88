//! The worker as the window sees it, so that tests can put recorded events in its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::train::event::{Command, Event};

/// A running trainer.
pub trait Trainer {
    /// Events since the last call.
    fn try_events(&mut self) -> Vec<Event>;
    fn send(&mut self, command: Command) -> Result<(), String>;
    /// The last lines of its log.
    fn log_tail(&self) -> Vec<String>;
    /// Seconds since it was last heard.
    fn silent_for(&self) -> f64;
    /// What it says it is busy with.
    fn phase(&self) -> String;
    /// The process ended and every event was passed on.
    fn has_ended(&self) -> bool;
}

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Arguments of the program, from `train` on.
    pub args: Vec<OsString>,
    pub run: PathBuf,
}

impl Job {
    /// A new run in `run` with the options of the form.
    pub fn start(options: Vec<OsString>, run: &Path) -> Self {
        let mut args: Vec<OsString> = vec!["train".into()];
        args.extend(options);
        args.extend(["--run".into(), run.into(), "--json".into(), "--worker".into()]);
        Self { args, run: run.to_owned() }
    }

    /// Goes on from the newest checkpoint in `run`.
    pub fn resume(run: &Path) -> Self {
        let args =
            vec!["train".into(), "--resume".into(), run.into(), "--json".into(), "--worker".into()];
        Self { args, run: run.to_owned() }
    }
}

/// Starts trainers; `wake` asks the window to look.
pub type Launcher =
    Box<dyn Fn(&Job, Box<dyn Fn() + Send + Sync>) -> Result<Box<dyn Trainer>, String>>;

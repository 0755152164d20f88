//! What views ask of the app. Views draw and push; the app acts between frames, in one place.

use std::path::PathBuf;

use super::command::Command;
use super::drop::Dropped;
use super::export::Export;
use super::state::Wanted;

/// A wish of a view.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Run(Command),
    /// Ask for a file or folder.
    Open(Wanted),
    /// Use this path; asks first while a run is on.
    Take(Dropped),
    /// Use this path now.
    TakeAnyway(Dropped),
    /// A path typed for `wanted`.
    TakeTyped(Wanted, String),
    Preset(String),
    /// Keep the form's settings under this name.
    SaveSettings(String),
    UseSettings(String),
    ForgetSettings(String),
    SelectRun(PathBuf),
    /// Put a run beside others, or take it away.
    Compare(PathBuf),
    CompareNothing,
    /// Look into the pairs of the opened run, or of the window's own.
    Inspect {
        opened: bool,
    },
    /// Let the models of a run answer a prompt.
    Ask {
        run: PathBuf,
        prompt: String,
    },
    /// Its answers are not wanted any more.
    StopAsking,
    ResumeRun(PathBuf),
    AskDelete(PathBuf),
    Delete(PathBuf),
    /// Show in the file manager.
    Reveal(PathBuf),
    Save(Export),
    /// The forecast before training is not wanted any more.
    StopForecast,
    /// Show the text of this row of the data file.
    ShowPair(usize),
    EndTour,
    DismissCollapse,
    CloseDialog,
    /// Stop and save, then close the window.
    SaveAndClose,
}

/// The wishes of one frame.
pub type Actions = Vec<Action>;

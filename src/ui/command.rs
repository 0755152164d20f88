//! Every action a person can take without arguments, in one table: menu, palette, shortcuts and
//! tooltips all read it.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};

use crate::report::charts::Scale;
use crate::report::ruler::Axis;

use super::export::{Export, Format, What};
use super::state::{Place, State};

/// A user-visible action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Start,
    PauseOrResume,
    Stop,
    OpenData,
    OpenModel,
    OpenModelFile,
    OpenFolder,
    OpenAdapter,
    UseDemo,
    ForecastPairs,
    ShowTrain,
    ShowData,
    ShowInspect,
    ShowRuns,
    ScalePerToken,
    ScaleSum,
    ScaleChange,
    AxisStep,
    AxisEpoch,
    AxisTime,
    ToggleSmooth,
    Undo,
    Redo,
    SaveSettings,
    Tour,
    Messages,
    ZoomIn,
    ZoomOut,
    MoveBack,
    MoveOn,
    CursorBack,
    CursorOn,
    ResetCharts,
    Larger,
    Smaller,
    UsualSize,
    ToggleTheme,
    Palette,
    SaveMainPng,
    SaveMainSvg,
    SaveAllPng,
    SaveAllSvg,
    SaveValues,
    SaveReport,
    SaveTensorBoard,
    OpenRunFolder,
    RefreshRuns,
    Quit,
}

/// What the table says of one command.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub command: Command,
    pub label: &'static str,
    pub tooltip: &'static str,
    pub shortcut: Option<KeyboardShortcut>,
}

const fn ctrl(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

const fn ctrl_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

const fn alt(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::ALT, key))
}

const fn alt_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::ALT.plus(Modifiers::SHIFT), key))
}

const fn entry(
    command: Command,
    label: &'static str,
    tooltip: &'static str,
    shortcut: Option<KeyboardShortcut>,
) -> Entry {
    Entry { command, label, tooltip, shortcut }
}

/// The table, in the order of the palette.
pub const TABLE: &[Entry] = &[
    entry(Command::Start, "Start", "Train with the settings of the cards", ctrl(Key::Enter)),
    entry(
        Command::PauseOrResume,
        "Pause or resume",
        "Hold the run after the step it is at, or let it go on",
        ctrl(Key::Space),
    ),
    entry(Command::Stop, "Stop and save", "Write a checkpoint and end the run", ctrl(Key::Period)),
    entry(
        Command::OpenData,
        "Open pairs…",
        "Choose a preference file (.jsonl or .json); dropping it on the window does the same",
        ctrl(Key::O),
    ),
    entry(
        Command::OpenModel,
        "Open model…",
        "Choose a Hugging Face model folder; dropping it on the window does the same",
        ctrl_shift(Key::O),
    ),
    entry(
        Command::OpenModelFile,
        "Open GGUF file…",
        "Choose a model that is a .gguf file; dropping it on the window does the same",
        None,
    ),
    entry(
        Command::OpenFolder,
        "Open run…",
        "Choose the folder of an earlier run",
        ctrl_shift(Key::R),
    ),
    entry(
        Command::OpenAdapter,
        "Start from adapter…",
        "Choose a PEFT adapter folder to go on from",
        None,
    ),
    entry(Command::UseDemo, "Use the demo", "Choose the bundled model, pairs and preset", None),
    entry(
        Command::ForecastPairs,
        "Forecast the pairs",
        "Put every pair through the model once and see which plain DPO is likely to hurt first",
        ctrl_shift(Key::F),
    ),
    entry(Command::ShowTrain, "Go to Train", "Settings, charts and the run", ctrl(Key::Num1)),
    entry(
        Command::ShowData,
        "Go to Data",
        "The pairs and what is wrong with them",
        ctrl(Key::Num2),
    ),
    entry(Command::ShowInspect, "Go to Inspect", "Every probe pair of the run", ctrl(Key::Num3)),
    entry(Command::ShowRuns, "Go to Runs", "Earlier runs", ctrl(Key::Num4)),
    entry(
        Command::ScalePerToken,
        "Chart per token",
        "Mean log-likelihood of an answer's token",
        ctrl_shift(Key::T),
    ),
    entry(Command::ScaleSum, "Chart sums", "Log-likelihood of whole answers", ctrl_shift(Key::S)),
    entry(
        Command::ScaleChange,
        "Chart change from reference",
        "Log-likelihood of whole answers less the reference model's",
        ctrl_shift(Key::C),
    ),
    entry(Command::AxisStep, "Chart over steps", "Updates along the x axis", None),
    entry(Command::AxisEpoch, "Chart over epochs", "Passes over the pairs along the x axis", None),
    entry(
        Command::AxisTime,
        "Chart over time",
        "Training time along the x axis, pauses left out",
        None,
    ),
    entry(
        Command::ToggleSmooth,
        "Smooth the main charts",
        "Draw the moving average over a hundredth of the run, the measured values faint behind it",
        None,
    ),
    entry(Command::Undo, "Undo", "Take back the last change of a setting", ctrl(Key::Z)),
    entry(
        Command::Redo,
        "Redo",
        "Make the change that was taken back once more",
        ctrl_shift(Key::Z),
    ),
    entry(
        Command::SaveSettings,
        "Save settings as…",
        "Keep the settings under a name, to be chosen under Preset",
        None,
    ),
    entry(Command::Tour, "Take the tour", "Three things to know, in three steps", None),
    entry(Command::Messages, "Messages", "Everything the window said since it was opened", None),
    entry(Command::ZoomIn, "Zoom charts in", "Half of what is in sight", alt(Key::ArrowUp)),
    entry(Command::ZoomOut, "Zoom charts out", "Twice what is in sight", alt(Key::ArrowDown)),
    entry(
        Command::MoveBack,
        "Move charts back",
        "Towards the start of the run",
        alt_shift(Key::ArrowLeft),
    ),
    entry(
        Command::MoveOn,
        "Move charts on",
        "Towards the end of the run",
        alt_shift(Key::ArrowRight),
    ),
    entry(
        Command::CursorBack,
        "Cursor back",
        "Read the charts at the measured step before",
        alt(Key::ArrowLeft),
    ),
    entry(
        Command::CursorOn,
        "Cursor on",
        "Read the charts at the measured step after",
        alt(Key::ArrowRight),
    ),
    entry(Command::ResetCharts, "Show the whole run", "Reset the charts' zoom", alt(Key::Num0)),
    entry(Command::Larger, "Larger", "Scale the window up, to 200 % at most", ctrl(Key::Plus)),
    entry(
        Command::Smaller,
        "Smaller",
        "Scale the window down, to 100 % at least",
        ctrl(Key::Minus),
    ),
    entry(Command::UsualSize, "Usual size", "Scale the window to 100 %", ctrl(Key::Num0)),
    entry(
        Command::SaveMainPng,
        "Save main chart as PNG…",
        "Chosen and rejected answers as a picture",
        None,
    ),
    entry(
        Command::SaveMainSvg,
        "Save main chart as SVG…",
        "Chosen and rejected answers as a drawing that scales",
        None,
    ),
    entry(Command::SaveAllPng, "Save all charts as PNG…", "Every chart in one picture", None),
    entry(
        Command::SaveAllSvg,
        "Save all charts as SVG…",
        "Every chart in one drawing that scales",
        None,
    ),
    entry(
        Command::SaveValues,
        "Save values as CSV…",
        "Every series: a row a step, a column a metric",
        None,
    ),
    entry(
        Command::SaveReport,
        "Save report as HTML…",
        "The whole run as one page: charts, collapse, final figures, settings",
        ctrl_shift(Key::H),
    ),
    entry(
        Command::SaveTensorBoard,
        "Save for TensorBoard…",
        "Every series as event files, a folder for each arm",
        None,
    ),
    entry(Command::OpenRunFolder, "Open run folder", "Show the run's files", None),
    entry(Command::RefreshRuns, "Refresh runs", "Read the list of runs again", None),
    entry(Command::ToggleTheme, "Switch light and dark", "Change the colours", ctrl(Key::L)),
    entry(Command::Palette, "Command palette", "Find any command by name", ctrl(Key::K)),
    entry(Command::Quit, "Quit", "Close the window", ctrl(Key::Q)),
];

impl Command {
    /// The row of this command.
    pub fn entry(self) -> &'static Entry {
        TABLE.iter().find(|entry| entry.command == self).unwrap_or(&TABLE[0])
    }

    /// Whether the command would do something now.
    pub fn enabled(self, state: &State) -> bool {
        let active = state.run.status.is_active();
        match self {
            Command::Start => state.can_start(),
            Command::PauseOrResume | Command::Stop => active,
            Command::ForecastPairs => state.can_forecast(),
            Command::Undo => !active && state.form.can_undo(),
            Command::Redo => !active && state.form.can_redo(),
            Command::OpenRunFolder => state.shown_run().folder.is_some(),
            _ if self.export().is_some() => state.shown_run().folder.is_some(),
            _ => true,
        }
    }

    /// The place a command leads to, or the scale it sets.
    pub fn place(self) -> Option<Place> {
        match self {
            Command::ShowTrain => Some(Place::Train),
            Command::ShowData => Some(Place::Data),
            Command::ShowInspect => Some(Place::Inspect),
            Command::ShowRuns => Some(Place::Runs),
            _ => None,
        }
    }

    pub fn scale(self) -> Option<Scale> {
        match self {
            Command::ScalePerToken => Some(Scale::PerToken),
            Command::ScaleSum => Some(Scale::Sum),
            Command::ScaleChange => Some(Scale::Change),
            _ => None,
        }
    }

    /// What the command saves.
    pub fn export(self) -> Option<Export> {
        let picture = |what, format| Some(Export::Picture { what, format });
        match self {
            Command::SaveMainPng => picture(What::Main, Format::Png),
            Command::SaveMainSvg => picture(What::Main, Format::Svg),
            Command::SaveAllPng => picture(What::All, Format::Png),
            Command::SaveAllSvg => picture(What::All, Format::Svg),
            Command::SaveValues => Some(Export::Values),
            Command::SaveReport => Some(Export::Report),
            Command::SaveTensorBoard => Some(Export::TensorBoard),
            _ => None,
        }
    }

    pub fn axis(self) -> Option<Axis> {
        match self {
            Command::AxisStep => Some(Axis::Step),
            Command::AxisEpoch => Some(Axis::Epoch),
            Command::AxisTime => Some(Axis::Time),
            _ => None,
        }
    }
}

/// Rows whose label or tooltip holds every word of `query`, those found in the label first.
pub fn search(query: &str) -> Vec<&'static Entry> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let holds = |text: &str| {
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let (mut found, rest): (Vec<&'static Entry>, Vec<&'static Entry>) =
        TABLE.iter().partition(|entry: &&Entry| holds(entry.label));
    found.extend(rest.into_iter().filter(|entry| holds(entry.tooltip)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_shortcut_and_label_is_used_once() {
        let mut labels = HashSet::new();
        let mut keys = HashSet::new();
        for entry in TABLE {
            assert!(labels.insert(entry.label), "{}", entry.label);
            assert!(!entry.tooltip.is_empty());
            if let Some(s) = entry.shortcut {
                assert!(keys.insert((s.modifiers, s.logical_key)), "{}", entry.label);
            }
            assert_eq!(entry.command.entry().label, entry.label);
        }
    }

    #[test]
    fn the_palette_finds_by_words() {
        assert_eq!(search("pairs")[0].command, Command::OpenData);
        assert!(search("zzz").is_empty());
        assert_eq!(search("").len(), TABLE.len());
    }
}

//! The options of every command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{BasePrecision, RunDraft};

/// Fine-tune language models with LoRA and DPO-Positive, and see where plain DPO collapses.
///
/// Without a command the window opens; files and folders given are opened as if dropped on it.
#[derive(Debug, Parser)]
#[command(name = "dpop-studio", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Preference files, model folders, run folders or adapters to open in the window.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an adapter on preference pairs.
    Train(Box<TrainArgs>),
    /// Print the log-probability of every completion token, one JSON line a pair.
    Logprobs(LogprobsArgs),
    /// Say what a preference file holds: rows, schema, skipped rows with reasons, lengths.
    Inspect(InspectArgs),
    /// List the devices that can train, and which one would be taken.
    Devices(JsonArgs),
    /// List the presets.
    Presets(JsonArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 failure, 2 bad usage or input, 3 stopped by a signal after saving.\n\
    Ctrl-C and SIGTERM save a checkpoint; a second Ctrl-C aborts."
)]
pub struct TrainArgs {
    #[command(flatten)]
    pub draft: RunDraft,
    /// Folder of the run; without it one is made, named by time and data file.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub run: Option<PathBuf>,
    /// Go on with the run in this folder, from its newest whole checkpoint, with its own configuration.
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Print events as JSON lines.
    #[arg(long)]
    pub json: bool,
    /// Speak the window's protocol: events on stdout, commands on stdin; stop when stdin closes.
    #[arg(long, hide = true)]
    pub worker: bool,
}

#[derive(Debug, Args)]
pub struct LogprobsArgs {
    /// Folder of the base model.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Preference file.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// PEFT adapter to apply.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// `auto`, `cpu`, `wgpu`, `wgpu:INDEX` or `wgpu:NAME`.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    /// How the base weights are stored on the device.
    #[arg(long, value_enum, default_value = "f32")]
    pub base_precision: BasePrecision,
    /// Tokens of prompt and completion together; the model's own limit without it.
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Write here instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Preference file.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Folder of the base model, whose tokenizer gives lengths in tokens.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Tokens of prompt and completion together, as in training.
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

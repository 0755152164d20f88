//! The options of every command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{BasePrecision, ComputePrecision, RunDraft, WeightPlace};

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
    /// Let a model write: the base model, with an adapter, or beside the arms of a run.
    Generate(GenerateArgs),
    /// Say what a preference file holds: rows, schema, skipped rows with reasons, lengths.
    Inspect(InspectArgs),
    /// Write a run as one HTML page (charts, collapse, final figures, settings) or as TensorBoard event files.
    Report(ReportArgs),
    /// Write the adapter of any arm of a run, in PEFT's format, into a folder of its own.
    Export(ExportArgs),
    /// Say what a run's record tells: where likelihood was lost, whether forecasts came true, what to try next.
    Review(ReviewArgs),
    /// Forecast the memory of a run: what it needs by part, whether it fits, and what would make it fit.
    Plan(Box<PlanArgs>),
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
pub struct PlanArgs {
    #[command(flatten)]
    pub draft: RunDraft,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct LogprobsArgs {
    /// Folder of the base model, or a .gguf file.
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
    /// In what a GPU multiplies with them.
    #[arg(long, value_enum, default_value = "f32")]
    pub compute_precision: ComputePrecision,
    /// Tokens of prompt and completion together; the model's own limit without it.
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Write here instead of to stdout.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Greedy unless --temperature is above 0: the same prompt gives the same text."
)]
pub struct GenerateArgs {
    /// Folder of the base model.
    #[arg(long, value_name = "DIR", required_unless_present = "run")]
    pub model: Option<PathBuf>,
    /// PEFT adapter to apply.
    #[arg(long, value_name = "DIR", requires = "model", conflicts_with = "run")]
    pub adapter: Option<PathBuf>,
    /// Folder of a run: its base model, then every arm of its newest checkpoint.
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub run: Option<PathBuf>,
    /// The prompt.
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_file")]
    pub prompt: Option<String>,
    /// Take the prompt from a text file, `-` for stdin; a newline at its end does not count.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompt_file: Option<PathBuf>,
    /// New tokens at most.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token always; 1 draws with the model's probabilities.
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// Draw from the likeliest tokens that together have this probability.
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true, value_parser = share)]
    pub top_p: f64,
    /// Draw from the N likeliest tokens; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// The same seed draws the same text.
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Put the prompt through the model's chat template, as a user's message. Usual where the model has one.
    #[arg(long)]
    pub chat: bool,
    /// Take the prompt as it stands.
    #[arg(long, conflicts_with = "chat")]
    pub no_chat: bool,
    /// End the text before this one; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// `auto`, `cpu`, `wgpu`, `wgpu:INDEX` or `wgpu:NAME`; `auto`, or the run's own, without it.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// How the base weights are stored on the device; f32, or as the run has it, without it.
    #[arg(long, value_enum)]
    pub base_precision: Option<BasePrecision>,
    /// Where the base model's blocks lie.
    #[arg(long, value_enum, default_value = "auto")]
    pub weights: WeightPlace,
    /// Print one JSON object when all is written.
    #[arg(long)]
    pub json: bool,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    let allowed = (0.0..=100.0).contains(&value);
    allowed.then_some(value).ok_or_else(|| "it must be at least 0, at most 100".to_owned())
}

fn finite(text: &str) -> Result<f64, String> {
    let value: Option<f64> = text.parse().ok();
    value.filter(|value| value.is_finite()).ok_or_else(|| "it is no number".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let value: Option<usize> = text.parse().ok();
    value.filter(|value| *value > 0).ok_or_else(|| "it must be a whole number above 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    let allowed = value > 0.0 && value <= 1.0;
    allowed.then_some(value).ok_or_else(|| "it must be above 0, at most 1".to_owned())
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Preference file.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Folder of the base model or a .gguf file, whose tokenizer gives lengths in tokens.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// How the base weights are stored on the device that scores the forecast.
    #[arg(long, value_enum, default_value = "f32")]
    pub base_precision: BasePrecision,
    /// Tokens of prompt and completion together, as in training.
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Put every pair through the model once and say what plain DPO is likely to do to it.
    #[arg(long, requires = "model")]
    pub forecast: bool,
    /// Look at the first N usable pairs only.
    #[arg(long, value_name = "N", requires = "forecast", conflicts_with = "output", value_parser = at_least_one)]
    pub pairs: Option<usize>,
    /// `auto`, `cpu`, `wgpu`, `wgpu:INDEX` or `wgpu:NAME`, for the forecast.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
    #[command(flatten)]
    pub keep: KeepArgs,
}

/// Which rows go into a new file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keep some rows")]
pub struct KeepArgs {
    /// Write the usable rows that pass the rules below to a new file, as they stand in the old one.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub output: Option<PathBuf>,
    /// Smallest edit distance between the answers, as a share of the longer one.
    #[arg(long, value_name = "F", requires = "output", value_parser = finite)]
    pub min_edit_distance: Option<f64>,
    /// Largest length-normalised CHES score.
    #[arg(long, value_name = "F", requires = "output", allow_negative_numbers = true, value_parser = finite)]
    pub max_ches: Option<f64>,
    /// Largest share of tokens that DPO pushes the wrong way.
    #[arg(long, value_name = "F", requires = "output", value_parser = finite)]
    pub max_wrong_way: Option<f64>,
    /// Largest surprise of the model at the chosen answer, nats per token from the first difference on.
    #[arg(long, value_name = "F", requires = "output", value_parser = finite)]
    pub max_surprise: Option<f64>,
    /// Leave out rows that repeat or contradict an earlier one.
    #[arg(long, requires = "output")]
    pub drop_duplicates: bool,
    /// Leave out pairs whose rejected answer the model finds the likelier one.
    #[arg(long, requires = "output")]
    pub drop_swapped: bool,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the run, finished or going on.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// The page to write; a file of this name is replaced.
    #[arg(long, value_name = "FILE", required_unless_present = "tensorboard")]
    pub output: Option<PathBuf>,
    /// Write TensorBoard event files below this folder, one folder an arm.
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of the run, finished or going on.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Name of the arm, as in the run's charts and checkpoints: `dpo`, `dpop-lambda-5`, ..
    #[arg(long, value_name = "NAME")]
    pub arm: String,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// Folder of the run.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
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

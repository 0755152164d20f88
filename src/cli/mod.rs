//! The command line: the same worker as the window's, with text or JSON lines as its voice.
//!
//! Exit codes: 0 done, 1 failure, 2 bad usage or input, 3 stopped by a signal after saving.

mod args;
mod devices;
mod export;
mod forecast_text;
mod generate;
mod inspect;
mod logprobs;
mod output;
mod plan;
mod presets;
mod progress;
mod report;
mod review;
mod stop_text;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

pub use args::{Cli, Command};
pub use output::{CliError, Out};

/// Opens the window with what was given, as if it had been dropped on it.
pub type OpenWindow = fn(Vec<PathBuf>) -> anyhow::Result<()>;

/// Stopped by a signal after saving.
pub const STOPPED: u8 = 3;

/// Runs the program; `window` is `None` in a build without it.
pub fn main(window: Option<OpenWindow>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come here too, with exit code 0. A closed pipe is no news.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        None => open_window(window, cli.paths).map(|()| 0),
        Some(Command::Train(args)) => train::run(*args),
        Some(Command::Logprobs(args)) => logprobs::run(&args).map(|()| 0),
        Some(Command::Generate(args)) => generate::run(&args).map(|()| 0),
        Some(Command::Inspect(args)) => inspect::run(&args).map(|()| 0),
        Some(Command::Report(args)) => report::run(&args).map(|()| 0),
        Some(Command::Export(args)) => export::run(&args).map(|()| 0),
        Some(Command::Review(args)) => review::run(&args).map(|()| 0),
        Some(Command::Plan(args)) => plan::run(&args).map(|()| 0),
        Some(Command::Devices(args)) => devices::run(&args).map(|()| 0),
        Some(Command::Presets(args)) => presets::run(&args).map(|()| 0),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => error.print(),
    }
}

fn open_window(window: Option<OpenWindow>, paths: Vec<PathBuf>) -> Result<(), CliError> {
    for path in &paths {
        if !path.exists() {
            return Err(CliError::input(anyhow::anyhow!(
                "there is no command, file or folder named {}. See `dpop-studio --help`.",
                path.display()
            )));
        }
    }
    let Some(window) = window else {
        return Err(CliError::input(anyhow::anyhow!(
            "this build has no window. Use a command (`dpop-studio --help`), or build with `--features window`."
        )));
    };
    let paths = paths.into_iter().map(|path| full(&path)).collect();
    window(paths).map_err(CliError::failure)
}

fn full(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

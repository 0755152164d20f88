//! `dpop-studio report`: a run as one HTML page, or as TensorBoard event files.

use std::path::{Path, PathBuf};

use super::args::ReportArgs;
use super::output::{CliError, Out};
use crate::report::page::{self, ReportError};
use crate::report::tensorboard;
use crate::run::durable;

pub fn run(args: &ReportArgs) -> Result<(), CliError> {
    let mut out = Out::new();
    if let Some(output) = &args.output {
        let html = page::report(&args.run).map_err(CliError::input)?;
        durable::replace_file(&full(output), html.as_bytes()).map_err(CliError::failure)?;
        out.line(&format!("The report is in {}", output.display()))?;
    }
    if let Some(target) = &args.tensorboard {
        let written =
            tensorboard::write(&args.run, &full(target)).map_err(|error| match error {
                ReportError::File(error) => CliError::failure(error),
                other => CliError::input(other),
            })?;
        out.line(&format!(
            "{} event files are below {}: tensorboard --logdir {}",
            written.len(),
            target.display(),
            target.display()
        ))?;
    }
    out.finish()
}

fn full(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

//! `dpop-studio export`: the adapter of any arm of a run.

use super::args::ExportArgs;
use super::output::{CliError, Out};
use crate::run::export::{ExportError, export_arm};

pub fn run(args: &ExportArgs) -> Result<(), CliError> {
    let target = std::path::absolute(&args.output).unwrap_or_else(|_| args.output.clone());
    let step = export_arm(&args.run, &args.arm, &target).map_err(|error| match error {
        ExportError::File(error) => CliError::failure(error),
        refused => CliError::input(refused),
    })?;
    let mut out = Out::new();
    out.line(&format!(
        "The adapter of {} after {step} updates is in {}",
        args.arm,
        args.output.display()
    ))?;
    out.finish()
}

//! `dpop-studio report`: a run as one HTML page.

use super::args::ReportArgs;
use super::output::{CliError, Out};
use crate::report::page;
use crate::run::durable;

pub fn run(args: &ReportArgs) -> Result<(), CliError> {
    let html = page::report(&args.run).map_err(CliError::input)?;
    let output = std::path::absolute(&args.output).unwrap_or_else(|_| args.output.clone());
    durable::replace_file(&output, html.as_bytes()).map_err(CliError::failure)?;
    let mut out = Out::new();
    out.line(&format!("The report is in {}", args.output.display()))?;
    out.finish()
}

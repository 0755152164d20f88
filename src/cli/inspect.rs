//! `dpop-studio inspect`: what a preference file holds.

use super::args::InspectArgs;
use super::output::{CliError, Out};
use crate::config::defaults;
use crate::data::inspect::inspect;

pub fn run(args: &InspectArgs) -> Result<(), CliError> {
    let max_length = args.max_length.unwrap_or(defaults::MAX_LENGTH);
    let report = inspect(&args.data, args.model.as_deref(), max_length).map_err(CliError::input)?;
    let mut out = Out::new();
    if args.json {
        out.json(&report)?;
    } else {
        out.line(report.to_string().trim_end())?;
    }
    out.finish()
}

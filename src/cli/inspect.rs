//! `dpop-studio inspect`: what a preference file holds, and what training on it is likely to do.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{InspectArgs, KeepArgs};
use super::forecast_text::forecast_text;
use super::output::{CliError, Out, note, refuse_existing, write_file};
use crate::config::defaults;
use crate::data::analysis::duplicates;
use crate::data::inspect::{InspectReport, inspect};
use crate::data::source;
use crate::data::source_rows::{WriteRowsError, write_rows};
use crate::insight::forecast::{Filter, Forecast};
use crate::model::Model;
use crate::worker::device;
use crate::worker::forecast::score_pairs;
use crate::worker::pairs::read_pairs;

/// With `--json`: the report and, where asked for, the forecast in one object.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a InspectReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<&'a Forecast>,
    /// Rows written to --output.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a [usize]>,
}

pub fn run(args: &InspectArgs) -> Result<(), CliError> {
    args.keep.output.as_deref().map_or(Ok(()), refuse_existing)?;
    let max_length = args.max_length.unwrap_or(defaults::MAX_LENGTH);
    let report = inspect(&args.data, args.model.as_deref(), max_length).map_err(CliError::input)?;
    let wanted = args.forecast || args.keep.output.is_some();
    let forecast = match (&args.model, wanted) {
        (_, false) => None,
        (Some(model), true) => Some(forecast(args, model, max_length)?),
        (None, true) => {
            return Err(CliError::input(anyhow::anyhow!(
                "a forecast needs the model that is to be trained. Give its folder as --model."
            )));
        }
    };
    let kept = match (&forecast, &args.keep.output) {
        (Some(forecast), Some(output)) => Some(keep(args, forecast, output)?),
        _ => None,
    };
    let mut out = Out::new();
    if args.json {
        let kept = kept.as_deref();
        out.json(&Printed { report: &report, forecast: forecast.as_ref(), kept })?;
    } else {
        out.line(report.to_string().trim_end())?;
        if let Some(forecast) = &forecast {
            out.line(&forecast_text(forecast))?;
        }
        if let (Some(kept), Some(output)) = (&kept, &args.keep.output) {
            out.line(&format!("\nkept      {} rows in {}", kept.len(), output.display()))?;
        }
    }
    out.finish()
}

fn forecast(args: &InspectArgs, model: &Path, max_length: usize) -> Result<Forecast, CliError> {
    let dataset = source::load(&args.data).map_err(CliError::input)?;
    let repeated = duplicates(&dataset.pairs);
    let mut pairs = read_pairs(&args.data, model, max_length).map_err(CliError::input)?.pairs;
    pairs.truncate(args.pairs.unwrap_or(pairs.len()));
    let choice = device::choose(&args.device).map_err(CliError::input)?;
    let device = choice.open().map_err(CliError::failure)?;
    let options = choice.load_options(args.base_precision);
    let model = Model::load(model, &device, options).map_err(CliError::input)?;
    let total = pairs.len();
    let mut told = Instant::now();
    let scored = score_pairs(&model, &pairs, |done| {
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            note(&format!("{done} of {total} pairs scored"));
        }
    });
    Ok(Forecast::new(scored.map_err(CliError::failure)?, repeated))
}

/// Between two words of progress on stderr.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// Writes the rows that pass the rules; answers them.
fn keep(args: &InspectArgs, forecast: &Forecast, output: &Path) -> Result<Vec<usize>, CliError> {
    let rows = Filter::from(&args.keep).rows(forecast);
    if rows.is_empty() {
        return Err(CliError::input(anyhow::anyhow!(
            "no pair of {} passes every rule, so {} is not written. Loosen one.",
            args.data.display(),
            output.display()
        )));
    }
    write_file(output, |out| {
        write_rows(&args.data, &rows, out).map(drop).map_err(|error| match error {
            WriteRowsError::Data(error) => CliError::input(error),
            WriteRowsError::Write(error) => CliError::failure(error),
        })
    })?;
    Ok(rows)
}

impl From<&KeepArgs> for Filter {
    fn from(args: &KeepArgs) -> Filter {
        Filter {
            min_edit_distance: args.min_edit_distance,
            max_ches: args.max_ches,
            max_wrong_way: args.max_wrong_way,
            max_surprise: args.max_surprise,
            drop_duplicates: args.drop_duplicates,
            drop_swapped: args.drop_swapped,
        }
    }
}
